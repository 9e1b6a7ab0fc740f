//! Tests of response compression.

use axum::routing::get;
use omnistack_core::module::Api;

use super::support::public;

#[tokio::test]
async fn only_what_gains_by_it_is_compressed() {
    let long = "hello ".repeat(500);
    let image = long.clone();
    let events = long.clone();
    let tagged = |etag: &'static str| {
        let long = long.clone();
        get(move || async move { ([("etag", etag)], long) })
    };
    let (strong, weak) = (tagged("\"v1\""), tagged("W/\"v1\""));
    let api = Api::new()
        .hidden("/long", get(move || async { long }))
        .hidden("/short", get(|| async { "hello" }))
        .hidden("/strong", strong)
        .hidden("/weak", weak)
        .hidden("/image", get(move || async { ([("content-type", "image/png")], image) }))
        .hidden("/events", get(move || async { ([("content-type", "text/event-stream")], events) }));
    let client = public(api).await.anonymous();
    for (path, accepted, compressed) in [
        ("/api/v1/public/long", Some("gzip, br"), true),
        ("/api/v1/public/long", Some("br"), false),
        ("/api/v1/public/long", Some("gzip;q=0"), false),
        ("/api/v1/public/long", Some("identity"), false),
        ("/api/v1/public/long", None, false),
        ("/api/v1/public/short", Some("gzip"), false),
        ("/api/v1/public/image", Some("gzip"), false),
        ("/api/v1/public/events", Some("gzip"), false),
        // A strong entity tag identifies exact bytes.
        ("/api/v1/public/strong", Some("gzip"), false),
        ("/api/v1/public/weak", Some("gzip"), true),
        ("/openapi.json", Some("gzip"), true),
        // An error is rendered before compression.
        ("/nowhere", Some("gzip"), true),
    ] {
        let request = client.get(path);
        let answer = match accepted {
            Some(accepted) => request.header("accept-encoding", accepted).await,
            None => request.await,
        };
        assert_eq!(answer.header("content-encoding"), compressed.then_some("gzip"), "{path} {accepted:?}");
        assert_eq!(answer.body.starts_with(&[0x1f, 0x8b]), compressed, "{path} {accepted:?}");
        if compressed {
            let varies =
                answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("accept-encoding"));
            assert!(varies, "{path}");
        }
    }
}
