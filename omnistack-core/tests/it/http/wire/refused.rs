//! Tests of requests that are too large or not HTTP.

use super::{PATIENT, SHORT_TIMEOUTS, peer::RawClient, wire};

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_server_goes_on() {
    let wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let many = (0..500).fold(String::new(), |all, index| all + &format!("x-{index}: a\r\n"));
    let body = "POST /body HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    for (name, request, status, code) in [
        (
            "a header of a megabyte",
            format!("GET /health HTTP/1.1\r\nx-large: {}\r\n\r\n", "a".repeat(1 << 20)),
            431,
            "HEADERS_TOO_LARGE",
        ),
        ("500 headers", format!("GET /health HTTP/1.1\r\n{many}\r\n"), 431, "HEADERS_TOO_LARGE"),
        (
            "a path of 100 KB",
            format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "a".repeat(100_000)),
            414,
            "URI_TOO_LONG",
        ),
        ("a body announced as 2 MB", format!("{body}content-length: 2000000\r\n\r\n"), 413, "PAYLOAD_TOO_LARGE"),
        (
            "a body announced as 10 EB",
            format!("{body}content-length: 10000000000000000000\r\n\r\n"),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (
            "a body announced beyond all numbers",
            format!("{body}content-length: 99999999999999999999\r\n\r\n"),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "a body of 2 MB",
            format!("{body}transfer-encoding: chunked\r\n\r\n1e8480\r\n{}\r\n0\r\n\r\n", "a".repeat(2_000_000)),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (
            "a chunk larger than all numbers",
            format!("{body}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
            400,
            "INCOMPLETE_BODY",
        ),
    ] {
        let mut peer = RawClient::connect(listening.address).await;
        peer.try_send(&request).await;
        let reply = peer.reply().await;
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        assert!(reply.body.contains(&format!(r#"{{"error":{{"code":"{code}"#)), "{name}: {reply:?}");
        assert!(reply.body.contains(r#""request_id":""#), "{name}: {reply:?}");
        assert_eq!(RawClient::connect(listening.address).await.get("/health").await.status, 200, "after {name}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let wire = wire().await;
    let listening = wire.app.listen(SHORT_TIMEOUTS).await;
    for request in [
        &b"hello\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, to a port that speaks none",
        b"POST /body HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /body HTTP/1.1\r\ncontent-length: 5, 6\r\n\r\n",
        b"POST /body HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /body HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST /body HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /nowhere/\xff HTTP/1.1\r\nhost: test\r\n\r\n",
    ] {
        let mut peer = RawClient::connect(listening.address).await;
        peer.send(request).await;
        let rest = peer.rest().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.starts_with("HTTP/1.1 4") || rest.starts_with("HTTP/1.0 4"), "{}: {rest}", request.escape_ascii());
        assert!(rest.contains(r#"{"error":{"code":""#), "{}: {rest}", request.escape_ascii());
    }
    assert_eq!(RawClient::connect(listening.address).await.get("/health").await.status, 200);
}

#[tokio::test]
async fn the_host_is_there_once_and_other_headers_at_most_once() {
    let wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    for (version, headers, code) in [
        ("1.1", "", Some("MALFORMED_REQUEST")),
        ("1.1", "host: a\r\nhost: a\r\n", Some("REPEATED_HEADER")),
        ("1.1", "Host: a\r\nHOST: b\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a, b\r\n", Some("MALFORMED_REQUEST")),
        ("1.1", "host: user@a\r\n", Some("MALFORMED_REQUEST")),
        ("1.1", "host: a/b\r\n", Some("MALFORMED_REQUEST")),
        ("1.1", "host: ä\r\n", Some("MALFORMED_REQUEST")),
        ("1.0", "host: a\r\nhost: b\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\nauthorization: Bearer a\r\nAuthorization: Bearer a\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\nx-own: 1\r\nx-own: 2\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\norigin: https://a\r\norigin: https://b\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\ncontent-type: a/b\r\ncontent-type: a/b\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a\r\nx-api-version: 1\r\nx-api-version: 1\r\n", Some("REPEATED_HEADER")),
        ("1.1", "host: a.example:8080\r\n", None),
        ("1.1", "host: [::1]:8080\r\n", None),
        ("1.1", "host: a\r\naccept: a/b\r\naccept: c/d\r\ncookie: a=b\r\ncookie: c=d\r\n", None),
        ("1.0", "", None),
    ] {
        let mut peer = RawClient::connect(listening.address).await;
        peer.send(format!("GET /health HTTP/{version}\r\n{headers}\r\n")).await;
        let reply = peer.reply().await;
        assert_eq!(reply.status, if code.is_some() { 400 } else { 200 }, "{version} {headers}: {reply:?}");
        if let Some(code) = code {
            assert!(reply.body.contains(&format!(r#"{{"error":{{"code":"{code}""#)), "{headers}: {reply:?}");
            assert!(reply.header("x-request-id").is_some(), "{headers}: {reply:?}");
        }
    }
}
