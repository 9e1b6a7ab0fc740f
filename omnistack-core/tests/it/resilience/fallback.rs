//! Tests of the fallback.

use omnistack_core::resilience::{Fallback, RetrySafety};
use tower::{ServiceBuilder, ServiceExt as _};

use super::{BUSY, CallResult, DECLINED, LOST, Peer, err, label, ok};

#[tokio::test]
async fn the_other_is_asked_when_the_first_failed_for_certain() {
    use RetrySafety::{Idempotent, Never, ReadOnly};
    let all = Fallback::new();
    let transient = Fallback::new().only_transient();
    let (busy, declined, lost) = (|| err("busy", BUSY), || err("declined", DECLINED), || err("lost", LOST));
    let cases: Vec<(&str, Fallback, CallResult, CallResult, RetrySafety, &str, usize)> = vec![
        ("a success", all, ok("done"), ok("other"), ReadOnly, "done", 0),
        ("a failure that may pass", all, busy(), ok("other"), Never, "other", 1),
        ("a failure for good", all, declined(), ok("other"), Never, "other", 1),
        ("which is not for the other", transient, declined(), ok("other"), Never, "declined", 0),
        ("but one that may pass is", transient, busy(), ok("other"), Never, "other", 1),
        ("it may have happened", all, lost(), ok("other"), Never, "lost", 0),
        ("twice is once", all, lost(), ok("other"), Idempotent, "other", 1),
        ("nothing is changed", all, lost(), ok("other"), ReadOnly, "other", 1),
        ("both failed", all, busy(), declined(), Never, "declined", 1),
        ("the other may have happened", all, busy(), lost(), Never, "lost", 1),
        ("the first may have happened", all, lost(), declined(), Idempotent, "lost", 1),
        ("unless nothing can have", all, lost(), declined(), ReadOnly, "declined", 1),
        ("or the other knows", all, lost(), err("no", DECLINED.settled()), Idempotent, "no", 1),
    ];
    for (name, fallback, first, second, repeat, expected, calls) in cases {
        let other = Peer::new([second]);
        let said = fallback.repeating(repeat).run(async { first.clone() }, || other.call()).await;
        assert_eq!((label(&said), other.calls()), (expected, calls), "{name}");
        if repeat == Never {
            let said = fallback.run(async { first.clone() }, || other.call()).await;
            assert_eq!((label(&said), other.calls()), (expected, calls * 2), "{name}, by itself");
        }

        let asked = other.calls();
        let layer = fallback.by_request(move |(): &()| repeat).to(other.service());
        let said = ServiceBuilder::new().layer(layer).service(Peer::new([first]).service()).oneshot(()).await;
        assert_eq!((label(&said), other.calls() - asked), (expected, calls), "{name}, as a layer");
    }
}
