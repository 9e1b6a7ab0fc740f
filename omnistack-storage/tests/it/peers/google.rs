//! The requests of Google Cloud Storage, to moto by way of a translation of the headers' names: nothing on the shelf that can be
//! installed speaks its XML API. Its links are not judged here.

use omnistack_core::clock::Clock;
use omnistack_storage::Gcs;
use omnistack_testkit::{storage::Subject, storage_conformance};

use super::{Peer, client};

async fn gcs() -> Subject {
    let mut peer = Peer::start("serve-google");
    let port = peer.line().await["port"].as_u64().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    Subject::new(Gcs::at(&url, "files", None, client(), Clock::system()).unwrap()).keep(peer)
}

storage_conformance!(
    #[ignore = "a peer: `cargo xtask test --peers`"]
    gcs
);
