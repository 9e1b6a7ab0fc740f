//! Tests of the health of providers.

use omnistack_core::clock::MockClock;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::{
    provider::RateLimitLevel,
    router::tests::{ProbedProvider, mock_clock},
};

const LIMIT: u32 = 3;

struct Watched {
    health: ProviderHealth,
    clock: MockClock,
    provider: Arc<ProbedProvider>,
    probes: UnboundedReceiver<()>,
    target: RouteTarget,
}

fn watched() -> Watched {
    let clock = mock_clock();
    let (provider, probes) = ProbedProvider::new("acme", "acme");
    let providers: Vec<Arc<dyn LlmProvider>> = vec![provider.clone()];
    let health = ProviderHealth::new(clock.clock(), LIMIT, &providers, None);
    let target = RouteTarget::new(provider.clone(), "large");
    Watched { health, clock, provider, probes, target }
}

impl Watched {
    fn record(&self, kind: Option<LlmErrorKind>) {
        let error = kind.map(|kind| LlmError::new(kind, "acme", "failed"));
        let result = error.as_ref().map_or(Ok(()), Err);
        self.health.record(&self.target, result, Duration::from_millis(100));
    }

    fn availability(&self) -> Availability {
        self.health.availability(self.provider.as_ref(), "large", 1)
    }

    fn take_trial(&self) -> Option<HealthTrial> {
        self.health.take_trial(self.provider.as_ref(), "large")
    }

    /// Lets the provider answer the next probe.
    async fn recover(&mut self) {
        self.provider.respond(true);
        self.probes.recv().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_is_avoided_after_failures_until_a_call_succeeds() {
    let mut watched = watched();
    watched.provider.respond(false);
    for kind in [
        Some(LlmErrorKind::Failed),
        Some(LlmErrorKind::Overloaded),
        // A request that is rejected is an answer.
        Some(LlmErrorKind::InvalidRequest),
        Some(LlmErrorKind::Unreachable),
        Some(LlmErrorKind::Interrupted),
    ] {
        watched.record(kind);
        assert_eq!(watched.availability(), Availability::Ready, "{kind:?}");
    }
    watched.record(Some(LlmErrorKind::Protocol));
    assert_eq!(watched.availability(), Availability::Avoided);
    // No call of a caller is a probe while the provider does not answer.
    for _ in 0..3 {
        watched.probes.recv().await.unwrap();
        assert_eq!(watched.availability(), Availability::Avoided);
    }

    watched.recover().await;
    assert_eq!(watched.availability(), Availability::Trial);
    let trial = watched.take_trial().unwrap();
    assert_eq!(watched.availability(), Availability::Avoided, "a single call finds out");
    assert!(watched.take_trial().is_none());
    drop(trial);
    assert_eq!(watched.availability(), Availability::Trial, "a call that was not sent gives its trial back");
    let forgotten = watched.take_trial().unwrap();
    watched.clock.advance(Duration::from_secs(60));
    assert_eq!(watched.availability(), Availability::Trial, "a trial without a result is repeated");
    let trial = watched.take_trial().unwrap();
    drop(forgotten);
    assert_eq!(watched.availability(), Availability::Avoided, "an old trial does not end a later one");
    // A single failure is enough after an outage.
    watched.provider.respond(false);
    watched.record(Some(LlmErrorKind::Failed));
    assert_eq!(watched.availability(), Availability::Avoided);
    drop(trial);
    assert_eq!(watched.availability(), Availability::Avoided, "a trial ends with its result");
    watched.recover().await;
    assert_eq!(watched.availability(), Availability::Trial);
    watched.record(None);
    assert_eq!(watched.availability(), Availability::Ready);
    watched.record(Some(LlmErrorKind::Failed));
    assert_eq!(watched.availability(), Availability::Ready);

    let models = watched.health.models("acme");
    assert_eq!(models.len(), 1);
    let health = &models[0];
    assert_eq!((health.model.as_str(), health.calls, health.failures), ("large", 9, 7));
    assert_eq!((health.consecutive_failures, health.latency_ms, health.avoided), (1, Some(100), false));
}

#[tokio::test(start_paused = true)]
async fn a_model_near_its_rate_limit_is_called_later() {
    let watched = watched();
    let requests = |remaining| {
        let level = RateLimitLevel::new(remaining).limit(100).renewed_after(Duration::from_secs(60));
        watched.health.state_limits(&watched.target, &RateLimitLevels::default().requests(level));
    };
    watched.health.begin_call(&watched.target, 10);
    assert!(watched.health.models("acme").is_empty());
    requests(7);
    assert_eq!(watched.availability(), Availability::Ready);
    watched.health.begin_call(&watched.target, 10);
    watched.health.begin_call(&watched.target, 10);
    assert_eq!(watched.availability(), Availability::NearLimit);
    let health = &watched.health.models("acme")[0];
    assert_eq!((health.calls, health.remaining_requests, health.remaining_tokens), (0, Some(5), None));
    watched.clock.advance(Duration::from_secs(60));
    assert_eq!(watched.availability(), Availability::Ready);
    assert_eq!(watched.health.models("acme")[0].remaining_requests, None);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_no_failure() {
    let watched = watched();
    for _ in 0..100 {
        watched.record(Some(LlmErrorKind::RateLimited));
    }
    assert!(matches!(watched.availability(), Availability::Waiting(_)));
    assert!(watched.health.wait(&watched.target).is_some_and(|wait| wait <= Duration::from_secs(3)));
    watched.clock.advance(Duration::from_secs(3));
    assert_eq!((watched.availability(), watched.health.wait(&watched.target)), (Availability::Ready, None));
    assert_eq!(
        (watched.health.models("acme")[0].failures, watched.health.account(watched.provider.as_ref())),
        (0, (None, false))
    );
}

#[tokio::test]
async fn replicas_tell_each_other_to_wait() {
    let (clock, messages) = (mock_clock(), PubSub::default());
    let (provider, _probes) = ProbedProvider::new("acme", "paid");
    let providers: Vec<Arc<dyn LlmProvider>> = vec![provider.clone()];
    let replica = || ProviderHealth::new(clock.clock(), LIMIT, &providers, Some(messages.clone()));
    let (first, second) = (replica(), replica());
    let target = RouteTarget::new(provider.clone(), "large");

    let mut received = messages.subscribe(WAIT_TOPIC).await;
    let mut error = LlmError::new(LlmErrorKind::RateLimited, "acme", "slow down");
    error.retry_after = Some(Duration::from_secs(2));
    first.record(&target, Err(&error), Duration::ZERO);
    assert_eq!(second.wait(&target), None);
    second.apply(&received.recv().await.unwrap());
    assert!(second.wait(&target).is_some_and(|wait| wait >= Duration::from_secs(2)));

    second.apply(b"nonsense");
    second.apply(br#"{"account":"of another app","wait_ms":1000}"#);
    assert_eq!(second.accounts().len(), 1);
    let shutdown = ShutdownToken::new();
    shutdown.cancel();
    second.listen(&shutdown).await.unwrap();
}

#[test]
fn the_health_of_a_limited_number_of_models_is_kept() {
    let watched = watched();
    let mut target = watched.target.clone();
    for number in 0..MAX_WATCHED_TARGETS + 10 {
        target.model = format!("model-{number}");
        watched.health.record(&target, Ok(()), Duration::ZERO);
    }
    assert_eq!(watched.health.targets().len(), MAX_WATCHED_TARGETS);
    watched.clock.advance(IDLE_AFTER);
    watched.health.record(&target, Ok(()), Duration::ZERO);
    assert_eq!(watched.health.targets().len(), 1);
}
