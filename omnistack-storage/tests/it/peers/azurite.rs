//! Tests against Azurite, Microsoft's emulator of Azure Blob Storage. It verifies signatures.

use std::time::Duration;

use omnistack_core::clock::{Clock, MockClock};
use omnistack_storage::{Azure, ObjectKey, PresignRequest, Storage};
use omnistack_testkit::{storage::StorageProviderUnderTest, storage_conformance};
use tokio::process::Command;

use super::{Peer, client, setting};

const KEY: &str = "bm90IGEgc2VjcmV0LCBhbmQgbG9uZyBlbm91Z2g=";

struct Server {
    _peer: Peer,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let script = format!("{}/serve.mjs", setting("TEST_PEERS_AZURITE"));
        let mut peer = Peer::run(Command::new("node").args([script.as_str(), KEY]));
        let port = peer.line().await["port"].as_u64().unwrap();
        Self { _peer: peer, url: format!("http://127.0.0.1:{port}/account") }
    }

    fn open(&self, clock: Clock) -> Azure {
        Azure::with_endpoint(&self.url, "account", "files", Some(&KEY.into()), client(), clock).unwrap()
    }
}

async fn azure() -> StorageProviderUnderTest {
    let server = Server::start().await;
    StorageProviderUnderTest::new(server.open(Clock::system())).with_storage_class("Cool").with_resource(server)
}

storage_conformance!(
    #[ignore = "a peer: `cargo xtask test --peers`"]
    azure
);

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn links_are_taken_and_others_are_not() {
    let server = Server::start().await;
    let storage = Storage::new(server.open(Clock::system()));
    let (key, minute): (ObjectKey, _) = ("a b/Grüße+~.txt".parse().unwrap(), Duration::from_secs(60));
    let put = storage.presign(&PresignRequest::put(key.clone(), minute).content_type("text/x-test")).await.unwrap();
    let send = |url: String| {
        let request = client().put(url).body("Hello.");
        put.headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let forged = |url: &str| {
        let at = url.find("sig=").unwrap() + 8;
        let other = if url.as_bytes()[at] == b'a' { "b" } else { "a" };
        format!("{}{other}{}", &url[..at], &url[at + 1..])
    };
    assert_eq!(send(forged(&put.url)).await.unwrap().status(), 403);
    assert!(!storage.exists(&key).await.unwrap());
    assert_eq!(send(put.url.clone()).await.unwrap().status(), 201);
    assert_eq!(storage.head(&key).await.unwrap().content_type.as_deref(), Some("text/x-test"));
    let named = "attachment; filename=\"a b.txt\"; filename*=UTF-8''%C3%BC.txt";
    let get = storage.presign(&PresignRequest::get(key.clone(), minute).content_disposition(named)).await.unwrap();
    let answer = client().get(&get.url).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], named);
    assert_eq!(answer.text().await.unwrap(), "Hello.");
    assert_eq!(client().get(forged(&get.url)).send().await.unwrap().status(), 403);
    assert_eq!(send(get.url.clone()).await.unwrap().status(), 403, "a URL for reading can't be used for storing");
    let before = MockClock::at(Clock::system().now() - 2 * minute).clock();
    let over = Storage::new(server.open(before)).presign_get(&key, minute).await.unwrap();
    assert_eq!(client().get(&over.url).send().await.unwrap().status(), 403, "it has expired");
}
