//! Tests of well-behaved clients that use the features of HTTP.

use super::{PATIENT, peer::RawClient, wire};

#[tokio::test]
async fn requests_may_follow_each_other_at_once() {
    let wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let mut peer = RawClient::connect(listening.address).await;
    let json = "POST /body HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n\"ab\"";
    let head = "HEAD /nowhere HTTP/1.1\r\nhost: test\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    peer.send(format!("{json}GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n{head}{json}{last}")).await;
    assert_eq!(peer.reply().await.body, "read");
    let missing = peer.reply().await;
    assert!(missing.status == 404 && missing.body.contains("NOT_FOUND"), "{missing:?}");
    let missing = peer.reply_to_head().await;
    assert!(missing.status == 404 && missing.header("x-request-id").is_some(), "{missing:?}");
    assert_eq!(peer.reply().await.body, "read");
    let last = peer.reply().await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(peer.rest().await.is_empty());
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends() {
    let mut wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let ask = |length| {
        format!(
            "POST /body HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let mut peer = RawClient::connect(listening.address).await;
    peer.send(ask(4)).await;
    assert_eq!(peer.reply().await.status, 100);
    peer.send("\"ab\"").await;
    assert_eq!(peer.reply().await.status, 200);
    assert_eq!(wire.noticed().await, "ab");
    // A body that is too large is rejected before any of it is sent.
    peer.send(ask(2_000_000)).await;
    assert_eq!(peer.reply().await.status, 413);
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let mut peer = RawClient::connect(listening.address).await;
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // RFC 9113, section 3.4: the server's preface is a SETTINGS frame (type 4).
    let frame = peer.read_some().await;
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[tokio::test]
async fn the_clients_address_is_the_last_one_a_proxy_wrote() {
    let wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let mut peer = RawClient::connect(listening.address).await;
    for (headers, expected) in [
        ("", "127.0.0.1"),
        ("x-forwarded-for: 1.2.3.4\r\n", "1.2.3.4"),
        ("x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"),
        ("x-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 127.0.0.9\r\n", "1.2.3.4"),
    ] {
        peer.send(format!("GET /address HTTP/1.1\r\nhost: test\r\n{headers}\r\n")).await;
        assert_eq!(peer.reply().await.body, expected, "{headers}");
    }
}
