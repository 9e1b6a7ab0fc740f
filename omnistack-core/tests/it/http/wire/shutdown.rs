//! Tests of the server's shutdown.

use tokio::net::TcpStream;

use super::{PATIENT, SHORT_TIMEOUTS, peer::RawClient, wire};
use crate::http::support::soon;

#[tokio::test]
async fn open_requests_finish_and_nobody_new_is_let_in() {
    let mut wire = wire().await;
    let listening = wire.app.listen(PATIENT).await;
    let address = listening.address;
    let mut idle = RawClient::connect(address).await;
    assert_eq!(idle.get("/health").await.status, 200);
    let mut silent = RawClient::connect(address).await;
    let mut open = RawClient::connect(address).await;
    open.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(wire.noticed().await, "held");

    let ending = tokio::spawn(listening.shut_down());
    assert!(idle.rest().await.is_empty(), "a connection at rest is closed");
    assert!(silent.rest().await.is_empty(), "and so is one that never said anything");
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
    assert!(!ending.is_finished());
    wire.release.notify_waiters();
    let reply = open.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "released"));
    assert!(open.rest().await.is_empty());
    assert_eq!(soon(ending).await.unwrap(), 0, "none was cut");
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let mut wire = wire().await;
    let listening = wire.app.listen(SHORT_TIMEOUTS).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut peer = RawClient::connect(listening.address).await;
        peer.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert_eq!(wire.noticed().await, "held");
        open.push(peer);
    }
    assert_eq!(soon(listening.shut_down()).await, 2, "connections cut");
    for peer in &mut open {
        assert!(peer.rest().await.is_empty());
        assert_eq!(wire.noticed().await, "dropped");
    }
}
