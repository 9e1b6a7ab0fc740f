//! Tests of `X-Request-Id`.

use axum::routing::get;
use omnistack_core::{
    http::{Json, Meta, layer::RequestId},
    module::Api,
};
use uuid::{Uuid, Version};

use super::support::public;

#[tokio::test]
async fn it_is_kept_when_plain_and_replaced_when_not() {
    let echo = |axum::Extension(id): axum::Extension<RequestId>| async move { id.as_str().to_owned() };
    let client = public(Api::new().hidden("/id", get(echo))).await.anonymous();
    let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
    let cases: &[(&[u8], bool)] = &[
        (b"abc-1.2_3", true),
        (longest.as_bytes(), true),
        (too_long.as_bytes(), false),
        (b"", false),
        (b"a b", false),
        (b"a\tlevel=error", false),
        (b"\x1b[31m", false),
        ("é".as_bytes(), false),
        (b"\xff", false),
        (b"a\"}", false),
    ];
    for (given, kept) in cases {
        let name = String::from_utf8_lossy(given);
        // HTTP libraries reject this control character, so it can't be sent.
        if http::HeaderValue::from_bytes(given).is_err() {
            assert!(!kept, "{name}");
            continue;
        }
        for (path, status) in [("/api/v1/public/id", 200), ("/nowhere", 404)] {
            let answer = client.get(path).header("x-request-id", given).await.expect(status);
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id.as_bytes() == *given, *kept, "{name}");
            assert!(*kept || Uuid::parse_str(id).unwrap().get_version() == Some(Version::SortRand), "{name}: {id}");
            assert!(status == 404 || answer.text() == id, "{name}: the handler sees the same");
        }
    }
}

#[tokio::test]
async fn each_request_has_its_own_and_the_time_it_came() {
    let echo = |meta: Meta| async move { Json(meta.wrap(())) };
    let app = public(Api::new().hidden("/meta", get(echo))).await;
    let client = app.anonymous();
    let first = client.get("/api/v1/public/meta").await.expect(200);
    app.clock().advance(std::time::Duration::from_secs(1));
    let second = client.get("/api/v1/public/meta").await.expect(200);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(second.json()["meta"]["timestamp"], "2030-01-01T00:00:01Z");
    assert_eq!(second.json()["meta"]["request_id"].as_str(), second.header("x-request-id"));
}
