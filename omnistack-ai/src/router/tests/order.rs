//! Tests of the order in which models are asked.

use omnistack_core::http::StatusCode;

use super::*;

#[test]
fn the_difficulty_decides() {
    let routed = routed(|_| {});
    assert_eq!(routed.names(&ask("auto")), "acme/small bolt/words acme/large bolt/large");
    let hard = "Prove step by step that the algorithm ends, and compare it with quicksort.";
    let hard = ChatRequest::new("auto", [Message::user(hard)]);
    let targets = routed.find(&hard).unwrap();
    assert_eq!(join(&targets), "acme/large bolt/large acme/small bolt/words");
    assert_eq!(targets[0].reason, "auto: the request is complex");
}

#[test]
fn calls_that_stick_keep_their_order() {
    let mut routed = routed(|_| {});
    routed.options.sticky = Some("conversation".into());
    let first = routed.names(&ask("shared"));
    assert!((0..20).all(|_| routed.names(&ask("shared")) == first));
    let mut others = (0..50).map(|other| {
        routed.options.sticky = Some(format!("conversation {other}"));
        routed.names(&ask("shared"))
    });
    assert!(others.any(|other| other != first));
}

#[test]
fn the_fastest_comes_first() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("measured")).unwrap();
    assert_eq!(targets[0].reason, "measured: fastest: not measured yet");
    routed.record(&targets[0], None, 90);
    assert_eq!(routed.names(&ask("measured")), "bolt/large acme/large", "the other one is measured next");
    routed.record(&targets[1], None, 200);
    assert_eq!(routed.names(&ask("measured")), "acme/large bolt/large");
    for _ in 0..20 {
        routed.record(&targets[0], None, 900);
    }
    assert_eq!(routed.names(&ask("measured")), "bolt/large acme/large");
}

#[test]
fn an_account_that_must_wait_is_left_out() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("smart")).unwrap();
    let limited = |target: &RouteTarget, seconds| {
        let mut error = LlmError::new(LlmErrorKind::RateLimited, "acme", "slow down");
        error.retry_after = Some(Duration::from_secs(seconds));
        routed.router.health().record(target, Err(&error), Duration::ZERO);
    };
    limited(&targets[0], 2);
    assert_eq!(routed.names(&ask("smart")), "bolt/large");
    assert_eq!(routed.names(&ask("acme/small")), "PROVIDER_RATE_LIMITED", "another model of the account");
    routed.clock.advance(Duration::from_millis(1_999));
    assert_eq!(routed.names(&ask("smart")), "bolt/large");

    // When all wait, the shortest wait is told.
    limited(&targets[1], 60);
    let refused = routed.find(&ask("smart")).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (StatusCode::TOO_MANY_REQUESTS, "PROVIDER_RATE_LIMITED"));
    assert!(refused.to_string().contains("try again in 1 s"), "{refused}");
    routed.clock.advance(Duration::from_millis(201));
    assert_eq!(routed.names(&ask("smart")), "acme/large");
}

#[test]
fn an_account_without_money_comes_last() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("smart")).unwrap();
    routed.record(&targets[0], Some(LlmErrorKind::QuotaExhausted), 1);
    assert_eq!(routed.names(&ask("smart")), "bolt/large acme/large");
    routed.clock.advance(Duration::from_secs(60));
    assert_eq!(routed.names(&ask("smart")), "acme/large bolt/large");
}
