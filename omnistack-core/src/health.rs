//! Liveness and readiness of the app.
//!
//! - `GET /health` responds as long as the process runs, and checks nothing: for liveness probes, which restart the
//!   process.
//! - `GET /health/ready` reports whether everything that the app requires is available: for readiness probes, which
//!   decide about traffic.
//! - `GET /api/v1/public/health` (and v2) reports the same to people and dashboards, with uptime and latencies.
//!
//! Modules add checks with [`Registry::health`](crate::module::Registry::health). Results are cached for five seconds,
//! so that many callers put no load on what is checked; the response contains their age.
//!
//! Checks that call a provider over the network are added with
//! [`Registry::service_check`](crate::module::Registry::service_check). The routes above do not run them. The module of
//! the feature `observability` runs all checks every five minutes and keeps their history.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::{BoxError, clock::Clock};

/// Time for which a result is cached.
const RESULT_TTL: Duration = Duration::from_secs(5);
/// Timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Effect of a check on readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadinessEffect {
    /// The app is not ready while the check fails.
    Required,
    /// The app is ready, in a degraded state, while the check fails.
    Optional,
    /// Readiness does not run the check.
    None,
}

/// A health check of something that the app needs.
#[derive(Clone)]
pub struct HealthCheck {
    name: &'static str,
    readiness: ReadinessEffect,
    run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>,
}

impl HealthCheck {
    /// Creates a required check. `name` is shown in the health report.
    pub fn new<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self { name, readiness: ReadinessEffect::Required, run: Arc::new(move || Box::pin(run())) }
    }

    /// Makes the check optional: the app serves without it, in a degraded state.
    pub fn optional(mut self) -> Self {
        self.readiness = ReadinessEffect::Optional;
        self
    }

    /// Excludes the check from readiness, so that only service health runs it.
    pub fn outside_readiness(mut self) -> Self {
        self.readiness = ReadinessEffect::None;
        self
    }

    /// Returns the name of the check.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns whether the check is required: the app is not ready while it fails.
    pub fn is_required(&self) -> bool {
        self.readiness == ReadinessEffect::Required
    }

    /// Runs the check.
    ///
    /// # Errors
    /// Fails with the error of the check, or if the check has no result within `deadline`.
    pub async fn run(&self, deadline: Duration) -> Result<(), BoxError> {
        let result = tokio::time::timeout(deadline, (self.run)()).await;
        result.unwrap_or_else(|_| Err(format!("no result within {deadline:?}").into()))
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The app's checks and their last results. Cheap to clone.
#[doc(alias("liveness", "readiness"))]
#[derive(Clone)]
pub struct Health {
    clock: Clock,
    checks: Arc<std::sync::Mutex<Vec<HealthCheck>>>,
    last: Arc<Mutex<Option<(Duration, Vec<CheckResult>)>>>,
}

impl Health {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, checks: Arc::default(), last: Arc::default() }
    }

    pub(crate) fn add(&self, check: HealthCheck) {
        self.checks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(check);
    }

    /// Returns all checks, including those that readiness does not run. Empty until the app is built.
    pub fn checks(&self) -> Vec<HealthCheck> {
        self.checks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Returns the time since the app was created.
    pub fn uptime(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Returns the state of every check that readiness runs, at most five seconds old. Concurrent callers share one run of the checks.
    pub async fn report(&self) -> HealthReport {
        let mut last = self.last.lock().await;
        let now = self.clock.elapsed();
        let (at, checks) = match &*last {
            Some((at, checks)) if now.saturating_sub(*at) < RESULT_TTL => (*at, checks.clone()),
            _ => {
                let checks = self.run().await;
                *last = Some((now, checks.clone()));
                (now, checks)
            }
        };
        HealthReport {
            status: checks.iter().map(|check| check.status).max().unwrap_or(HealthStatus::Ok),
            uptime_seconds: self.uptime().as_secs(),
            age_ms: millis(now.saturating_sub(at)),
            checks,
        }
    }

    async fn run(&self) -> Vec<CheckResult> {
        let checks = self.checks().into_iter().filter(|check| check.readiness != ReadinessEffect::None);
        join_all(checks.map(|check| self.run_one(check))).await
    }

    async fn run_one(&self, check: HealthCheck) -> CheckResult {
        let began = self.clock.elapsed();
        let error = check.run(CHECK_TIMEOUT).await.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::warn!(target: "omnistack::health", check = check.name, error, "a health check failed");
        }
        CheckResult {
            name: check.name.into(),
            status: match error {
                None => HealthStatus::Ok,
                Some(_) if check.is_required() => HealthStatus::Failing,
                Some(_) => HealthStatus::Degraded,
            },
            latency_ms: millis(self.clock.elapsed().saturating_sub(began)),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// Result of a check, or of all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
pub enum HealthStatus {
    /// The check passes.
    Ok,
    /// The check fails, and the app serves without what it checks.
    Degraded,
    /// The check fails, and the app can't serve without what it checks.
    Failing,
}

/// Health of the app.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// Status of the worst check.
    pub status: HealthStatus,
    /// Seconds since the app started.
    pub uptime_seconds: u64,
    /// Milliseconds since the checks ran.
    pub age_ms: f64,
    /// Result of each check. The reason of a failure is in the log, not here.
    pub checks: Vec<CheckResult>,
}

/// Result of one health check.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckResult {
    /// Name of the check.
    #[schema(examples("database"))]
    pub name: String,
    /// Whether the check passes.
    pub status: HealthStatus,
    /// Duration of the check, in milliseconds.
    pub latency_ms: f64,
}
