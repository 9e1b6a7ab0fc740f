//! Tests of the fallback.

use omnistack_core::resilience::fallback;

use super::{BUSY, CallResult, DECLINED, LOST, Peer, err, label, ok};

#[tokio::test]
async fn the_second_is_called_when_the_first_failed_for_certain() {
    let (busy, declined, lost) = (|| err("busy", BUSY), || err("declined", DECLINED), || err("lost", LOST));
    let cases: Vec<(&str, CallResult, CallResult, &str, usize)> = vec![
        ("a success", ok("done"), ok("second"), "done", 0),
        ("a failure that may pass", busy(), ok("second"), "second", 1),
        ("a failure for good", declined(), ok("second"), "declined", 0),
        ("it may have happened", lost(), ok("second"), "lost", 0),
        ("both may pass", busy(), err("busy too", BUSY), "busy too", 1),
        ("the second for good", busy(), declined(), "busy", 1),
        ("the second may have happened", busy(), lost(), "lost", 1),
    ];
    for (name, first, second, expected, calls) in cases {
        let peer = Peer::new([second]);
        let said = fallback(async { first }, |_| peer.call()).await;
        assert_eq!((label(&said), peer.calls()), (expected, calls), "{name}");
    }
}

#[tokio::test]
async fn fallbacks_nest_in_order() {
    let (second, third) = (Peer::new([err("busy", BUSY)]), Peer::new([ok("third")]));
    let said = fallback(async { err("busy", BUSY) }, |_| fallback(second.call(), |_| third.call())).await;
    assert_eq!((label(&said), second.calls(), third.calls()), ("third", 1, 1));
}
