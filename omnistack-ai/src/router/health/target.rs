//! The state of a model at a provider.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    clock::{Clock, Timestamp},
    resilience::Breaker,
};

use super::{ModelHealth, limits::StatedLimits};
use crate::{provider::LlmProvider, router::RouteTarget};

/// The time limit of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time after which a trial that has neither a result nor was given back is for another call.
const TRIAL_TTL: Duration = Duration::from_secs(60);
/// The share of a new measurement in the mean latency: one in this number.
const LATENCY_WEIGHT: u32 = 8;

/// Whether a model may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    /// It may.
    Closed,
    /// Its provider does not answer.
    Open,
    /// Its provider answers again, and no call has shown yet whether the model does.
    HalfOpen,
}

/// The state of a model at a provider.
#[derive(Debug)]
pub(super) struct TargetState {
    breaker: Breaker,
    /// Whether the breaker has been open since the last answer of the model.
    has_failed: bool,
    /// The number of the trial under way, and its end.
    trial: Option<(u64, Timestamp)>,
    trials: u64,
    pub(super) limits: StatedLimits,
    last_call: Timestamp,
    consecutive_failures: u32,
    calls: u64,
    failures: u64,
    latency: Option<Duration>,
}

impl TargetState {
    pub(super) fn new(clock: &Clock, target: &RouteTarget) -> Self {
        let (provider, model) = (Arc::clone(&target.provider), target.model.clone());
        let name = provider.name().to_owned();
        let probe = move || probe(Arc::clone(&provider));
        let on_close = move |lasted: Duration| {
            tracing::info!(target: "omnistack::ai", provider = name, model, ?lasted, "the provider of a model answers again");
        };
        Self {
            breaker: Breaker::new(clock.clone(), probe, on_close),
            has_failed: false,
            trial: None,
            trials: 0,
            limits: StatedLimits::default(),
            last_call: clock.now(),
            consecutive_failures: 0,
            calls: 0,
            failures: 0,
            latency: None,
        }
    }

    /// Records an answer, or an error that is no fault of the provider.
    pub(super) fn answered(&mut self, latency: Option<Duration>, now: Timestamp) {
        self.count(now);
        self.consecutive_failures = 0;
        self.has_failed = false;
        if let Some(latency) = latency {
            let mean = |known: Duration| (known * (LATENCY_WEIGHT - 1) + latency) / LATENCY_WEIGHT;
            self.latency = Some(self.latency.map_or(latency, mean));
        }
    }

    /// Records a rate limit, which says nothing of the health.
    pub(super) fn was_limited(&mut self, now: Timestamp) {
        self.count(now);
    }

    /// Records a failure. Returns whether the model is avoided from now on.
    pub(super) fn failed(&mut self, limit: u32, now: Timestamp) -> bool {
        self.count(now);
        self.failures = self.failures.saturating_add(1);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        // After an outage, a single failure is enough.
        let is_enough = self.consecutive_failures >= limit || self.has_failed;
        if !is_enough || tokio::runtime::Handle::try_current().is_err() {
            return false;
        }
        self.has_failed = true;
        self.breaker.open()
    }

    pub(super) fn circuit(&self, now: Timestamp) -> Circuit {
        if self.breaker.is_open() || self.trial.is_some_and(|(_, until)| until > now) {
            Circuit::Open
        } else if self.has_failed {
            Circuit::HalfOpen
        } else {
            Circuit::Closed
        }
    }

    /// Lets one call find out whether the model answers. Returns the number of the trial, or `None` if no call may.
    pub(super) fn begin_trial(&mut self, now: Timestamp) -> Option<u64> {
        if self.circuit(now) != Circuit::HalfOpen {
            return None;
        }
        self.trials += 1;
        self.trial = Some((self.trials, now + TRIAL_TTL));
        Some(self.trials)
    }

    /// Ends a trial without a result, unless it has ended already.
    pub(super) fn give_back_trial(&mut self, number: u64) {
        self.trial = self.trial.filter(|(under_way, _)| *under_way != number);
    }

    pub(super) fn is_idle(&self, now: Timestamp, after: Duration) -> bool {
        !self.breaker.is_open() && now.duration_since(self.last_call) >= after
    }

    pub(super) const fn latency(&self) -> Option<Duration> {
        self.latency
    }

    pub(super) fn summary(&self, model: &str, now: Timestamp) -> ModelHealth {
        let (remaining_requests, remaining_tokens) = self.limits.left(now);
        ModelHealth {
            model: model.to_owned(),
            calls: self.calls,
            failures: self.failures,
            consecutive_failures: self.consecutive_failures,
            latency_ms: self.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            avoided: self.has_failed,
            remaining_requests,
            remaining_tokens,
        }
    }

    fn count(&mut self, now: Timestamp) {
        (self.last_call, self.trial) = (now, None);
        self.calls = self.calls.saturating_add(1);
    }
}

/// Returns whether a provider answers, by its list of models. An error that is no fault of the provider is an answer.
async fn probe(provider: Arc<dyn LlmProvider>) -> bool {
    match tokio::time::timeout(PROBE_TIMEOUT, provider.models()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => !error.is_failure_of_provider(),
        Err(_) => false,
    }
}
