//! Runs the checks of services, and returns their health.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use omnistack_core::{
    cache::Cache,
    clock::Clock,
    health::{Health, HealthCheck},
    http::{CursorPage, Error},
    metrics::{SERVICE_CHECK_DURATION, SERVICE_UP},
};

use super::{
    CHECK_INTERVAL, ServiceHealthSettings, ServiceState,
    model::{
        AppStatus, ServiceCheckResult, ServiceDetails, ServiceHealth, ServiceReport, ServiceReports, ServiceStatus,
    },
    state::CheckOutcome,
    store::{MeasuredCheck, ServiceStore, StoredService},
};

/// Age from which the last result of a service is stale.
const STALE_AFTER: Duration = CHECK_INTERVAL.saturating_mul(2);
/// Time for which a requested check of a service serves all requests.
const REQUESTED_CHECK_TTL: Duration = Duration::from_secs(5);
/// Longest error that is stored, in characters.
const MAX_ERROR_CHARS: usize = 500;
/// Number of results in the details of a service.
const DETAILS_HISTORY_LENGTH: u32 = 100;

/// The checks of the app's services. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ServiceChecks {
    pub(crate) health: Health,
    pub(crate) store: ServiceStore,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) settings: ServiceHealthSettings,
}

impl ServiceChecks {
    /// Returns the checks of all services, sorted by name. Of two checks with the same name, one is returned: the
    /// required one, if there is one.
    fn services(&self) -> Vec<HealthCheck> {
        let mut checks = self.health.checks();
        checks.sort_by_key(|check| (check.name(), !check.is_required()));
        checks.dedup_by_key(|check| check.name());
        checks
    }

    /// Returns the check of a service. Fails with 404 if there is none with this name.
    fn service(&self, name: &str) -> Result<HealthCheck, Error> {
        let check = self.services().into_iter().find(|check| check.name() == name);
        check.ok_or_else(|| Error::not_found("the service"))
    }

    /// Runs the checks of all services at once, and records their results. Fails after all of them if a result could
    /// not be recorded.
    pub(crate) async fn run_all(&self) -> Result<(), Error> {
        let services = self.services().into_iter();
        let results = join_all(services.map(|check| async move { self.run(&check).await })).await;
        results.into_iter().try_for_each(|result| result.map(drop))
    }

    /// Deletes results that are older than the settings allow.
    pub(crate) async fn purge(&self) -> Result<(), Error> {
        Ok(self.store.purge(self.clock.now() - self.settings.keep).await?)
    }

    /// Runs a check within its deadline, and records its result.
    async fn run(&self, check: &HealthCheck) -> Result<StoredService, Error> {
        let service = check.name();
        let began = self.clock.elapsed();
        let error = check.run(self.settings.check_timeout).await.err().map(|error| error_text(&error.to_string()));
        let elapsed = self.clock.elapsed().saturating_sub(began);
        SERVICE_CHECK_DURATION.histogram([service]).record(elapsed);
        let outcome = match &error {
            Some(_) => CheckOutcome::Failure,
            None if elapsed >= self.settings.slow_after => CheckOutcome::SlowSuccess,
            None => CheckOutcome::Success,
        };
        let measured = MeasuredCheck { outcome, at: self.clock.now(), response_ms: millis(elapsed), error };
        let (stored, from) = self.store.record(service, measured).await?;
        SERVICE_UP.gauge([service]).set(stored.state.gauge_value());
        if stored.state != from {
            let (from, to, error) = (from.as_str(), stored.state.as_str(), stored.error.as_deref());
            tracing::warn!(target: "omnistack::health", service, from, to, error, "the state of a service changed");
        }
        Ok(stored)
    }

    /// Runs a check for a request. Requests within five seconds, on all replicas, share one check.
    async fn run_requested(&self, check: &HealthCheck) -> Result<StoredService, Error> {
        let key = format!("service-health:{}", check.name());
        let checked = self.cache.get_or_insert_with(&key, REQUESTED_CHECK_TTL, || self.run(check)).await;
        Ok(checked?)
    }

    /// Returns the health of a service. If its last result is stale, runs its check first.
    pub(crate) async fn health_of(&self, name: &str) -> Result<ServiceHealth, Error> {
        let check = self.service(name)?;
        let now = self.clock.now();
        let stored = self.store.get(name).await?;
        let stored = match stored.filter(|stored| now.duration_since(stored.checked_at) <= STALE_AFTER) {
            Some(fresh) => fresh,
            None => self.run_requested(&check).await?,
        };
        Ok(ServiceHealth::new(name, &stored))
    }

    /// Runs the check of a service for an operator, and returns its report.
    pub(crate) async fn check_now(&self, name: &str) -> Result<ServiceReport, Error> {
        let check = self.service(name)?;
        let stored = self.run_requested(&check).await?;
        let uptime = self.store.uptimes(self.clock.now()).await?.remove(name).unwrap_or_default();
        Ok(ServiceReport::new(name, check.is_required(), Some(&stored), uptime))
    }

    /// Returns the reports of all services.
    pub(crate) async fn reports(&self) -> Result<ServiceReports, Error> {
        let (checks, stored) = (self.services(), self.store.all().await?);
        let uptimes = self.store.uptimes(self.clock.now()).await?;
        let report = |check: &HealthCheck| {
            let name = check.name();
            let uptime = uptimes.get(name).copied().unwrap_or_default();
            ServiceReport::new(name, check.is_required(), stored.get(name), uptime)
        };
        Ok(ServiceReports { state: overall_state(&checks, &stored), services: checks.iter().map(report).collect() })
    }

    /// Returns the report of a service with its last results.
    pub(crate) async fn details(&self, name: &str) -> Result<ServiceDetails, Error> {
        let check = self.service(name)?;
        let stored = self.store.get(name).await?;
        let uptime = self.store.uptimes(self.clock.now()).await?.remove(name).unwrap_or_default();
        let history = self.store.history(name, i64::MAX, DETAILS_HISTORY_LENGTH).await?;
        Ok(ServiceDetails { service: ServiceReport::new(name, check.is_required(), stored.as_ref(), uptime), history })
    }

    /// Returns a page of at most `limit` results of a service with numbers below `before`, newest first.
    pub(crate) async fn history(
        &self,
        name: &str,
        before: i64,
        limit: u32,
    ) -> Result<CursorPage<ServiceCheckResult>, Error> {
        self.service(name)?;
        let mut items = self.store.history(name, before, limit + 1).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > most;
        items.truncate(most);
        let next_cursor = items.last().filter(|_| more).map(|last| last.number.to_string());
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns the states of the app and all services.
    pub(crate) async fn status(&self) -> Result<AppStatus, Error> {
        let (checks, stored) = (self.services(), self.store.all().await?);
        let status = |check: &HealthCheck| ServiceStatus {
            name: check.name().to_owned(),
            state: stored.get(check.name()).map(|stored| stored.state),
        };
        Ok(AppStatus { state: overall_state(&checks, &stored), services: checks.iter().map(status).collect() })
    }

    /// Sets the gauges of this process to the stored states, which another replica may have changed.
    pub(crate) async fn update_gauges(&self) {
        match self.store.all().await {
            Ok(stored) => {
                for check in self.services() {
                    if let Some(stored) = stored.get(check.name()) {
                        SERVICE_UP.gauge([check.name()]).set(stored.state.gauge_value());
                    }
                }
            }
            Err(error) => {
                tracing::debug!(target: "omnistack::health", %error, "the states of services could not be read");
            }
        }
    }
}

/// Returns the state of the app: down if a required service is down, degraded if another service is not healthy.
fn overall_state(checks: &[HealthCheck], stored: &BTreeMap<String, StoredService>) -> ServiceState {
    let effect = |check: &HealthCheck| match stored.get(check.name())?.state {
        ServiceState::Down if !check.is_required() => Some(ServiceState::Degraded),
        state => Some(state),
    };
    checks.iter().filter_map(effect).max().unwrap_or_default()
}

/// Returns the first 500 characters of an error, with control characters replaced by spaces.
fn error_text(error: &str) -> String {
    error.chars().map(|character| if character.is_control() { ' ' } else { character }).take(MAX_ERROR_CHARS).collect()
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
