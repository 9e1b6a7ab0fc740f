//! Tests of fallback, retries and rate limits.

#![cfg(test)]

use std::time::Duration;

use axum::response::IntoResponse as _;
use futures_util::future::join_all;
use omnistack_ai::{LlmErrorKind as K, Part, RateLimitLevel, RateLimitLevels, StopKind};
use omnistack_testkit::TestDatabase;
use serde_json::json;

use super::{
    ask, gateway, ledger, options, refusal, start, start_plain, tenant,
    test_llm::{Step, TestLlm, error, fail, reply, reply_of},
    upstream_error,
};

#[tokio::test]
async fn the_next_provider_answers_after_a_failure_and_each_attempt_is_in_the_trace() {
    for kind in
        [K::Overloaded, K::Failed, K::Unreachable, K::Protocol, K::QuotaExhausted, K::UnknownModel, K::ContextLength]
    {
        let (first, second) = (TestLlm::new("fake", [fail(kind)]), TestLlm::new("second", [reply("hi")]));
        let app = start_plain(&first, &second).await;
        let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
        assert_eq!(answer.response.text(), "hi", "{kind:?}");
        let attempts: Vec<_> = answer.call.attempts.iter().map(|one| (&*one.provider, one.error.is_some())).collect();
        assert_eq!(attempts, [("fake", true), ("second", false)], "{kind:?}");
        assert_eq!((answer.call.asked_model.as_str(), answer.call.provider.as_str()), ("main", "second"));
        assert_eq!(ledger(&app).await, ["succeeded"]);
    }
}

#[tokio::test]
async fn an_invalid_request_is_not_sent_to_the_next_provider() {
    let (first, second) = (TestLlm::new("fake", [fail(K::InvalidRequest)]), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let failed = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err();
    assert_eq!(upstream_error(failed).kind, K::InvalidRequest);
    assert_eq!(ledger(&app).await, ["failed"]);
}

#[tokio::test]
async fn the_last_provider_is_asked_again_if_that_may_help() {
    let first = TestLlm::new("fake", [fail(K::Failed)]);
    let second = TestLlm::new("second", [fail(K::Unreachable), reply("hi")]);
    let app = start_plain(&first, &second).await;
    let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert_eq!((answer.response.text().as_str(), answer.call.attempts.len()), ("hi", 3));
}

#[tokio::test]
async fn the_last_failure_is_returned_if_no_provider_answers() {
    let first = TestLlm::new("fake", [fail(K::Failed)]);
    let second = TestLlm::new("second", [fail(K::Unauthorized)]);
    let app = start_plain(&first, &second).await;
    let failed = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err();
    assert_eq!(upstream_error(failed).kind, K::Unauthorized);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    assert_eq!(ledger(&app).await, ["failed"]);
}

/// Returns a rate limit of the provider that ends after a time.
fn limited(after: Duration) -> Step {
    let mut error = error(K::RateLimited);
    error.retry_after = Some(after);
    Step::Fail(error)
}

/// Returns whether a wait is 20 seconds, or a little longer.
fn is_about_20_seconds(wait: Duration) -> bool {
    (Duration::from_secs(20)..=Duration::from_secs(23)).contains(&wait)
}

/// The caller is told the shortest wait, by the provider's error and by the app's own.
#[tokio::test]
async fn the_shortest_wait_of_all_accounts_is_passed_on() {
    let first = TestLlm::with_account("fake", "one", [limited(Duration::from_secs(20))]);
    let second = TestLlm::with_account("second", "other", [limited(Duration::from_secs(50))]);
    let app = start_plain(&first, &second).await;
    let failed = upstream_error(gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err());
    assert_eq!(failed.kind, K::RateLimited);
    assert!(failed.retry_after.is_some_and(is_about_20_seconds), "{:?}", failed.retry_after);
    let refused = refusal(gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err());
    let response = refused.into_response();
    let seconds = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(is_about_20_seconds(Duration::from_secs(seconds)), "{seconds}");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

/// A provider that limits every fifth request: retries do not make more errors of it, and it is not avoided.
#[tokio::test]
async fn callers_get_no_more_errors_than_the_provider_sends() {
    const CALLS: usize = 100;
    let step = |number: usize| if number.is_multiple_of(5) { limited(Duration::from_millis(10)) } else { reply("hi") };
    let first = TestLlm::new("fake", (0..2 * CALLS).map(step).collect::<Vec<_>>());
    let second = TestLlm::new("second", []);
    let app =
        start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app.set("AI_RATE_LIMIT_WAIT", "5s"), ai)).await;
    let gateway = gateway(&app);
    let calls = (0..CALLS).map(|_| gateway.complete(tenant(), ask("hello"), options().provider("fake")));
    let failed = join_all(calls).await.into_iter().filter(Result::is_err).count();
    let limits = first.requests().len().div_ceil(5);
    assert!(limits >= CALLS / 5 && failed <= limits / 2, "{failed} of {limits}");
    let providers = app.operator().get("/api/v1/admin/ai/providers").await.expect(200).json();
    let health = &providers["items"][0]["models"][0];
    assert_eq!((&health["consecutive_failures"], &health["avoided"]), (&json!(0), &json!(false)), "{health}");
}

/// Two deployments of one account: after a 429 neither is asked before its time.
#[tokio::test]
async fn providers_of_one_account_wait_together() {
    let mut limited = error(K::RateLimited);
    limited.retry_after = Some(Duration::from_secs(20));
    let first = TestLlm::with_account("fake", "shared", [Step::Fail(limited.clone())]);
    let second = TestLlm::with_account("second", "shared", [reply("hi")]);
    let app = start_plain(&first, &second).await;
    let failed = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err();
    let failed = upstream_error(failed);
    assert_eq!(failed.kind, K::RateLimited);
    assert!(failed.retry_after.is_some_and(|after| after >= Duration::from_secs(20)), "{:?}", failed.retry_after);

    app.clock().advance(Duration::from_secs(10));
    let refused = refusal(gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err());
    assert_eq!((refused.status().as_u16(), refused.code()), (429, "PROVIDER_RATE_LIMITED"));
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
}

/// Another account is asked at once.
#[tokio::test]
async fn another_account_answers_at_once() {
    let mut limited = error(K::RateLimited);
    limited.retry_after = Some(Duration::from_secs(20));
    let first = TestLlm::with_account("fake", "one", [Step::Fail(limited)]);
    let second = TestLlm::with_account("second", "other", (0..20).map(|_| reply("hi")).collect::<Vec<_>>());
    let app = start_plain(&first, &second).await;
    for _ in 0..20 {
        let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
        assert_eq!(answer.call.provider, "second");
    }
    assert_eq!(first.requests().len(), 1);
}

/// The first provider accepts no further request for a minute, and says so before it refuses one.
#[tokio::test]
async fn another_provider_answers_before_a_rate_limit_is_reached() {
    let level = RateLimitLevel::new(0).limit(100).renewed_after(Duration::from_secs(60));
    let levels = RateLimitLevels::default().requests(level);
    let last = Step::ReplyWithLimits(levels, Box::new(reply_of(vec![Part::text("hi")], StopKind::Stop)));
    let (first, second) = (TestLlm::new("fake", [last, reply("hi")]), TestLlm::new("second", [reply("hi")]));
    let app = start_plain(&first, &second).await;
    for expected in ["fake", "second"] {
        let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
        assert_eq!((answer.call.provider.as_str(), answer.call.attempts.len()), (expected, 1));
    }
    let providers = app.operator().get("/api/v1/admin/ai/providers").await.expect(200).json();
    let health = &providers["items"][0]["models"][0];
    assert_eq!((&health["remaining_requests"], &health["remaining_tokens"]), (&json!(0), &json!(null)), "{health}");
    app.clock().advance(Duration::from_secs(60));
    let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert_eq!(answer.call.provider, "fake");
}

/// A limit of a moment is waited for, so that callers get no more errors than the provider sends.
#[tokio::test]
async fn a_short_rate_limit_is_waited_for() {
    let mut limited = error(K::RateLimited);
    limited.retry_after = Some(Duration::from_millis(10));
    let first = TestLlm::new("fake", [fail(K::Failed)]);
    let second = TestLlm::new("second", [Step::Fail(limited), reply("hi")]);
    let app =
        start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app.set("AI_RATE_LIMIT_WAIT", "5s"), ai)).await;
    let answer = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert_eq!(answer.response.text(), "hi");
}

#[tokio::test]
async fn models_without_a_price_are_refused_if_the_app_requires_prices() {
    let (first, second) = (TestLlm::new("fake", [fail(K::Failed), fail(K::Failed)]), TestLlm::new("second", []));
    let app =
        start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app.set("AI_REQUIRE_PRICES", "true"), ai)).await;
    let failed = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap_err();
    assert_eq!(upstream_error(failed).kind, K::Failed, "the unpriced model is no fallback");
    assert!(second.requests().is_empty());
}

/// `second` answers as a model that has no price there.
#[tokio::test]
async fn an_unknown_price_makes_the_cost_unknown() {
    let first = TestLlm::new("fake", [reply("hi"), fail(K::Failed)]);
    let second = TestLlm::new("second", [reply("hi")]);
    let app = start_plain(&first, &second).await;
    let priced = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert!(priced.call.cost.is_some());
    assert_eq!((priced.call.usage.input, priced.call.usage.output), (10, 5));
    let unpriced = gateway(&app).complete(tenant(), ask("hello"), options()).await.unwrap();
    assert_eq!((unpriced.call.cost, unpriced.call.usage.input), (None, 10));
    assert_eq!(second.requests()[0].max_output_tokens, None, "the reservation does not change the request");
}
