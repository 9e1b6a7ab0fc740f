//! The health of providers: latencies, failures, and the time for which a provider asks to wait.

mod account;
mod limits;
mod target;
mod trial;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    metrics::{AI_BREAKER_OPENINGS, AI_PROVIDER_RATE_LIMITS},
    pubsub::PubSub,
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

pub(super) use self::trial::HealthTrial;
use self::{
    account::AccountState,
    target::{Circuit, TargetState},
};
use super::RouteTarget;
use crate::{
    error::{LlmError, LlmErrorKind},
    provider::{LlmProvider, RateLimitLevels},
};

/// The most models whose health is kept.
const MAX_WATCHED_TARGETS: usize = 1_000;
/// The time without calls after which the health of a model may be forgotten.
const IDLE_AFTER: Duration = Duration::from_secs(3_600);
/// The topic on which replicas tell each other that a provider asks to wait.
const WAIT_TOPIC: &str = "ai.provider-waits";

/// The health of providers and models in this process. Clones share it.
///
/// After consecutive failures a model at a provider is avoided until its provider answers a probe, and then until one
/// call succeeds. A rate limit is no failure: the account at the provider is left alone for the time that the provider
/// asks for, by all replicas. Before that, a model is called after others once its provider says that a rate limit is
/// nearly used up.
#[derive(Clone, Debug)]
pub struct ProviderHealth(Arc<HealthState>);

#[derive(Debug)]
struct HealthState {
    clock: Clock,
    /// The number of consecutive failures after which a model is avoided.
    failures: u32,
    messages: Option<PubSub>,
    /// The states by account, of the accounts of the app's providers only.
    accounts: Mutex<HashMap<String, AccountState>>,
    /// The states by provider and model.
    targets: Mutex<HashMap<(String, String), TargetState>>,
}

/// The place of a target among those of a route, by its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It can be called.
    Ready,
    /// One call may find out whether it works again.
    Trial,
    /// It is called after those that are ready, because its rate limit is nearly used up.
    NearLimit,
    /// It is called only if no other is left.
    Avoided,
    /// Its account must not be called for this time.
    Waiting(Duration),
}

/// The health of a model at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct ModelHealth {
    /// The model.
    pub model: String,
    /// The number of calls since the start of this process.
    pub calls: u64,
    /// The number of calls that failed by a fault of the provider.
    pub failures: u64,
    /// The number of such failures since the last answer.
    pub consecutive_failures: u32,
    /// The mean time to the first byte of the last answers, in milliseconds; `null` before the first.
    #[schema(required)]
    pub latency_ms: Option<u64>,
    /// Whether it is avoided because its last calls failed.
    pub avoided: bool,
    /// The number of requests that its provider accepts before a rate limit is reached; `null` if it is not known.
    #[schema(required)]
    pub remaining_requests: Option<u64>,
    /// The number of tokens that its provider accepts before a rate limit is reached; `null` if it is not known.
    #[schema(required)]
    pub remaining_tokens: Option<u64>,
}

/// The message to other replicas. It carries a duration, because clocks of replicas differ.
#[derive(Serialize, Deserialize)]
struct WaitMessage {
    account: String,
    wait_ms: u64,
}

impl ProviderHealth {
    /// Creates the health of providers that have not been called.
    pub(crate) fn new(
        clock: Clock,
        failures: u32,
        providers: &[Arc<dyn LlmProvider>],
        messages: Option<PubSub>,
    ) -> Self {
        let accounts = providers.iter().map(|provider| (provider.account().to_owned(), AccountState::default()));
        let accounts = Mutex::new(accounts.collect());
        Self(Arc::new(HealthState { clock, failures, messages, accounts, targets: Mutex::default() }))
    }

    /// Records the result of an attempt. `latency` is the time to the first byte of the answer, or to the error.
    pub fn record(&self, target: &RouteTarget, result: Result<(), &LlmError>, latency: Duration) {
        let now = self.0.clock.now();
        let kind = result.err().map(|error| error.kind);
        match (kind, result) {
            (Some(LlmErrorKind::RateLimited), Err(error)) => {
                AI_PROVIDER_RATE_LIMITS.counter([target.provider.name().to_owned()]).increment(1);
                self.cool_down(target.provider.account(), error.retry_after, now);
            }
            (Some(LlmErrorKind::QuotaExhausted | LlmErrorKind::Unauthorized), _) => {
                self.update_account(target.provider.account(), |account| account.avoid(now));
            }
            (None, _) => self.update_account(target.provider.account(), AccountState::answered),
            _ => {}
        }
        let has_opened = self.change_target(target, now, |state| match result {
            Err(error) if error.is_failure_of_provider() => state.failed(self.0.failures, now),
            Err(error) if error.kind == LlmErrorKind::RateLimited => {
                state.was_limited(now);
                false
            }
            Err(_) => {
                state.answered(None, now);
                false
            }
            Ok(()) => {
                state.answered(Some(latency), now);
                false
            }
        });
        if has_opened == Some(true) {
            let (provider, model) = (target.provider.name(), target.model.as_str());
            AI_BREAKER_OPENINGS.counter([provider.to_owned()]).increment(1);
            tracing::warn!(target: "omnistack::ai", provider, model, "the last calls of a model failed; it is avoided until its provider answers");
        }
    }

    /// Returns the time for which the account of a target must not be called.
    pub fn wait(&self, target: &RouteTarget) -> Option<Duration> {
        let now = self.0.clock.now();
        self.accounts().get(target.provider.account()).and_then(|account| account.wait(now))
    }

    /// Records that a call of a target begins, which needs so many tokens.
    pub(crate) fn begin_call(&self, target: &RouteTarget, tokens: u64) {
        if let Some(state) = self.targets().get_mut(&(target.provider.name().to_owned(), target.model.clone())) {
            state.limits.begin_call(tokens);
        }
    }

    /// Records the rate limits that a response of a target has stated.
    pub(crate) fn state_limits(&self, target: &RouteTarget, levels: &RateLimitLevels) {
        let now = self.0.clock.now();
        self.change_target(target, now, |state| state.limits.state(levels, now));
    }

    /// Returns how available a target is for a call that needs so many tokens. While a trial is under way, it is
    /// avoided.
    pub(super) fn availability(&self, provider: &dyn LlmProvider, model: &str, tokens: u64) -> Availability {
        let now = self.0.clock.now();
        let (wait, is_avoided) = {
            let accounts = self.accounts();
            let account = accounts.get(provider.account());
            (account.and_then(|account| account.wait(now)), account.is_some_and(|account| account.is_avoided(now)))
        };
        if let Some(wait) = wait {
            return Availability::Waiting(wait);
        }
        if is_avoided {
            return Availability::Avoided;
        }
        let targets = self.targets();
        let Some(state) = targets.get(&(provider.name().to_owned(), model.to_owned())) else {
            return Availability::Ready;
        };
        match state.circuit(now) {
            Circuit::Closed if state.limits.are_nearly_used_up(tokens, now) => Availability::NearLimit,
            Circuit::Closed => Availability::Ready,
            Circuit::Open => Availability::Avoided,
            Circuit::HalfOpen => Availability::Trial,
        }
    }

    /// Grants the trial of a target to one call. Returns `None` if another call has it. It is given back when it is
    /// dropped without a result.
    pub(super) fn take_trial(&self, provider: &dyn LlmProvider, model: &str) -> Option<HealthTrial> {
        let key = (provider.name().to_owned(), model.to_owned());
        let number = self.targets().get_mut(&key)?.begin_trial(self.0.clock.now())?;
        Some(HealthTrial::new(self.clone(), key, number))
    }

    /// Ends a trial that has no result.
    fn give_back_trial(&self, key: &(String, String), number: u64) {
        if let Some(state) = self.targets().get_mut(key) {
            state.give_back_trial(number);
        }
    }

    /// Returns the measured latency of a model at a provider.
    pub(super) fn latency(&self, provider: &str, model: &str) -> Option<Duration> {
        self.targets().get(&(provider.to_owned(), model.to_owned())).and_then(TargetState::latency)
    }

    /// Returns the remaining wait of a provider's account, and whether it is avoided.
    pub(super) fn account(&self, provider: &dyn LlmProvider) -> (Option<Duration>, bool) {
        let now = self.0.clock.now();
        let accounts = self.accounts();
        let account = accounts.get(provider.account());
        (account.and_then(|account| account.wait(now)), account.is_some_and(|account| account.is_avoided(now)))
    }

    /// Returns the health of the models of a provider that have been called, by name.
    pub(super) fn models(&self, provider: &str) -> Vec<ModelHealth> {
        let now = self.0.clock.now();
        let targets = self.targets();
        let of_provider = targets.iter().filter(|((name, _), _)| name == provider);
        let mut models: Vec<ModelHealth> = of_provider.map(|((_, model), state)| state.summary(model, now)).collect();
        models.sort_by(|a, b| a.model.cmp(&b.model));
        models
    }

    /// Leaves an account alone for the time that its provider asks for, or for a growing time if it does not say one,
    /// and tells the other replicas.
    fn cool_down(&self, account: &str, retry_after: Option<Duration>, now: Timestamp) {
        let mut wait = Duration::ZERO;
        self.update_account(account, |state| wait = state.limited(retry_after, now));
        let Some(messages) = self.0.messages.clone() else { return };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let message = serde_json::to_vec(&WaitMessage { account: account.to_owned(), wait_ms });
        if let (Ok(message), Ok(runtime)) = (message, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { messages.publish(WAIT_TOPIC, message).await });
        }
    }

    /// Receives the waits that other replicas were asked for, until the app stops.
    pub(crate) async fn listen(&self, shutdown: &ShutdownToken) -> Result<(), BoxError> {
        let Some(messages) = &self.0.messages else { return Ok(()) };
        let mut received = messages.subscribe(WAIT_TOPIC).await;
        loop {
            let message = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                message = received.recv() => message,
            };
            match message {
                Ok(bytes) => self.apply(&bytes),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err("the subscription to the waits of providers has ended".into()),
            }
        }
    }

    /// Applies the message of a replica, which may be this one.
    fn apply(&self, message: &[u8]) {
        let Ok(WaitMessage { account, wait_ms }) = serde_json::from_slice(message) else { return };
        let now = self.0.clock.now();
        self.update_account(&account, |state| state.wait_until(Duration::from_millis(wait_ms), now));
    }

    /// Changes the state of a target. Returns `None` if too many others are watched.
    fn change_target<T>(
        &self,
        target: &RouteTarget,
        now: Timestamp,
        change: impl FnOnce(&mut TargetState) -> T,
    ) -> Option<T> {
        let mut targets = self.targets();
        let key = (target.provider.name().to_owned(), target.model.clone());
        if targets.len() >= MAX_WATCHED_TARGETS && !targets.contains_key(&key) {
            targets.retain(|_, state| !state.is_idle(now, IDLE_AFTER));
            if targets.len() >= MAX_WATCHED_TARGETS {
                return None;
            }
        }
        Some(change(targets.entry(key).or_insert_with(|| TargetState::new(&self.0.clock, target))))
    }

    /// Changes the state of an account of the app's providers.
    fn update_account(&self, account: &str, change: impl FnOnce(&mut AccountState)) {
        if let Some(state) = self.accounts().get_mut(account) {
            change(state);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, AccountState>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets(&self) -> MutexGuard<'_, HashMap<(String, String), TargetState>> {
        self.0.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
