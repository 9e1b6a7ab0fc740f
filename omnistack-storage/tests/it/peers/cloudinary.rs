//! Compares the signatures with those of Cloudinary's own Python package.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::clock::MockClock;
use omnistack_storage::{Cloudinary, ObjectKey, PresignRequest, Storage};
use omnistack_testkit::mock_server::{MockResponse, MockServer};
use serde_json::{Value, json};

use super::{Peer, SECRET, client};

fn pairs(url: &str) -> BTreeMap<String, String> {
    url.parse::<reqwest::Url>().unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn signatures_are_those_of_cloudinary() {
    let mut peer = Peer::script("cloudinary_sdk.py", &[]);
    let clock = MockClock::at("2030-02-03T04:05:06Z".parse().unwrap());
    for name in ["a.txt", "a b/c+d~e_f.txt", "Grüße/🎉&x=1|y.png", "files/v1/100% sure"] {
        let upstream = MockServer::start().await;
        let id = json!({ "public_id": "a", "version": 7, "bytes": 6, "etag": "e" }).to_string();
        upstream.expect_any().times(..).reply(MockResponse::content(200, "application/json", id));
        let storage = Cloudinary::new("demo", "123", SECRET, client(), clock.clock()).unwrap();
        let storage = Storage::new(storage.with_endpoints(upstream.url(), upstream.url()).unwrap().max_retries(0));
        let key: ObjectKey = name.parse().unwrap();
        // A signed URL.
        let request = PresignRequest::get(key.clone(), Duration::from_secs(60));
        let ours = pairs(&storage.presign(&request).await.unwrap().url);
        let theirs = peer.ask(json!({ "sign": ours, "secret": SECRET })).await;
        assert_eq!(ours["signature"], theirs["signature"].as_str().unwrap(), "{name}");
        let theirs = peer.ask(json!({ "download": ours, "secret": SECRET, "cloud": "demo" })).await;
        assert_eq!(ours, pairs(theirs["url"].as_str().unwrap()), "{name}");
        // The form of an upload.
        storage.put(&key, "Hello.").await.unwrap();
        let sent = upstream.requests().pop().unwrap();
        let text = String::from_utf8_lossy(&sent.body).into_owned();
        let fields: BTreeMap<_, _> = text
            .split("Content-Disposition: form-data; name=\"")
            .skip(1)
            .filter_map(|part| part.split_once("\"\r\n\r\n"))
            .map(|(name, rest)| (name.to_owned(), rest.split("\r\n--").next().unwrap().to_owned()))
            .collect();
        let theirs = peer.ask(json!({ "sign": fields, "secret": SECRET })).await;
        assert_eq!(fields["signature"], theirs["signature"].as_str().unwrap(), "{name}");
        // The delivery URL.
        _ = storage.get(&key).await;
        let path = upstream.requests().pop().unwrap().path;
        let theirs = peer.ask(json!({ "deliver": "a", "version": 7, "secret": SECRET, "cloud": "demo" })).await;
        let theirs = theirs["url"].as_str().unwrap();
        assert!(theirs.ends_with(&path), "{path} {theirs}");
    }
    let odd: Value = peer.ask(json!({ "sign": { "a": "b&c=d" }, "secret": SECRET })).await;
    assert_eq!(odd["signature"].as_str().map(str::len), Some(64));
}
