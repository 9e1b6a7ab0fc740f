//! Tests of `Gcs` against moto, behind a proxy that translates the names of headers, because no installable
//! emulator supports the XML API. Signed URLs are not tested here.

use omnistack_core::clock::Clock;
use omnistack_storage::Gcs;
use omnistack_testkit::{storage::StorageProviderUnderTest, storage_conformance};

use super::{Peer, client};

async fn gcs() -> StorageProviderUnderTest {
    let mut peer = Peer::start("serve-google");
    let port = peer.line().await["port"].as_u64().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    StorageProviderUnderTest::new(Gcs::with_endpoint(&url, "files", None, client(), Clock::system()).unwrap())
        .with_resource(peer)
}

storage_conformance!(
    #[ignore = "a peer: `cargo xtask test --peers`"]
    gcs
);
