//! Tests of clients that are slow, idle or disconnect.

use std::time::Duration;

use super::{PATIENT, SHORT_TIMEOUTS, peer::RawClient, wire};
use crate::http::support::soon;

#[tokio::test]
async fn one_byte_at_a_time_is_cut_off() {
    let wire = wire().await;
    let listening = wire.app.listen(SHORT_TIMEOUTS).await;
    let mut slow = RawClient::connect(listening.address).await;
    let mut other = RawClient::connect(listening.address).await;
    let mut pace = tokio::time::interval(SHORT_TIMEOUTS.header_timeout / 8);
    let head = "GET /health HTTP/1.1\r\nhost: test\r\nx-slow: ".bytes().chain(std::iter::repeat(b'a'));
    let mut sent = 0;
    let drip = async {
        for byte in head {
            pace.tick().await;
            slow.try_send([byte]).await;
            sent += 1;
            if sent == 4 {
                assert_eq!(other.get("/health").await.status, 200, "others are served meanwhile");
            }
            // Ten times the allowed time.
            assert!(sent < 80, "still connected");
            let end = tokio::time::timeout(Duration::from_millis(1), slow.rest());
            if let Ok(rest) = end.await {
                assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
                break;
            }
        }
    };
    soon(drip).await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let wire = wire().await;
    let listening = wire.app.listen(SHORT_TIMEOUTS).await;
    let mut peers = Vec::new();
    for (name, said) in [
        ("nothing", ""),
        ("the beginning of both versions", "P"),
        ("half of HTTP/2's preface", "PRI * HTTP/2.0\r\n"),
        ("half a request line", "GET /hea"),
        ("all but the last line", "GET /health HTTP/1.1\r\nhost: test\r\n"),
        ("blank lines", "\r\n\r\n"),
    ] {
        let mut peer = RawClient::connect(listening.address).await;
        peer.send(said).await;
        peers.push((name, peer));
    }
    let mut kept = RawClient::connect(listening.address).await;
    assert_eq!(kept.get("/health").await.status, 200);
    peers.push(("nothing more after a request", kept));
    for (name, peer) in &mut peers {
        println!("{name}");
        let rest = peer.rest().await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{name}: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    for path in ["/large", "/flood"] {
        let wire = wire().await;
        let listening = wire.app.listen(SHORT_TIMEOUTS).await;
        let mut deaf = RawClient::connect(listening.address).await;
        deaf.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        // The client reads nothing while another connection is opened and closed for idling, twice.
        for _ in 0..2 {
            assert!(RawClient::connect(listening.address).await.rest().await.is_empty());
        }
        // The kernel's buffers hold a few megabytes at most.
        let mut taken = 0;
        let read = async {
            loop {
                match deaf.try_some().await {
                    0 => break,
                    length => taken += length,
                }
                assert!(taken < 32 << 20, "{path}: it is still sent");
            }
        };
        soon(read).await;
    }
}

#[tokio::test]
async fn an_open_request_is_not_idle() {
    let mut wire = wire().await;
    let listening = wire.app.listen(SHORT_TIMEOUTS).await;
    let mut held = RawClient::connect(listening.address).await;
    held.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(wire.noticed().await, "held");
    let mut stream = RawClient::connect(listening.address).await;
    stream.send("GET /stream HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(String::from_utf8(stream.read_some().await).unwrap().starts_with("HTTP/1.1 200"));
    // Wait for the time it takes to close an idle connection, twice.
    for _ in 0..2 {
        assert!(RawClient::connect(listening.address).await.rest().await.is_empty());
    }
    wire.release.notify_waiters();
    assert_eq!(held.reply().await.body, "released");
    let rest = stream.read_some().await;
    assert!(String::from_utf8_lossy(&rest).contains("piece 1"), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed() {
    let mut wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut peer = RawClient::connect(listening.address).await;
        peer.send(format!("POST /body HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{head}\r\n\r\n"))
            .await;
        peer.send("5\r\n\"abcd").await;
        drop(peer);
        assert_eq!(wire.noticed().await, "INCOMPLETE_BODY", "in the middle of a body, {head}");
    }
    let mut peer = RawClient::connect(listening.address).await;
    peer.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(wire.noticed().await, "held");
    drop(peer);
    assert_eq!(wire.noticed().await, "dropped", "no client waits for the answer");
    assert_eq!(RawClient::connect(listening.address).await.get("/health").await.status, 200);
}
