//! Services as the API and events show them.

use omnistack_core::{clock::Timestamp, events::Event};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ServiceState, store::StoredService};

/// The event that the state of a service has changed. A service that was never checked before counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStateChanged {
    /// Name of the service.
    pub service: String,
    /// State before the check.
    pub from: ServiceState,
    /// State after the check.
    pub to: ServiceState,
    /// Time of the check.
    pub at: Timestamp,
    /// Error of the check; `None` if it succeeded.
    #[serde(default)]
    pub error: Option<String>,
}

impl Event for ServiceStateChanged {
    const NAME: &'static str = "service.state_changed";

    fn key(&self) -> String {
        self.service.clone()
    }
}

/// Health of a service, for signed-in callers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceHealth {
    /// Name of the service.
    #[schema(examples("database"))]
    pub(crate) name: String,
    /// State of the service.
    pub(crate) state: ServiceState,
    /// Response time of the last check, in milliseconds.
    pub(crate) response_ms: f64,
    /// Time of the last check.
    pub(crate) checked_at: Timestamp,
}

impl ServiceHealth {
    pub(crate) fn new(name: &str, stored: &StoredService) -> Self {
        Self {
            name: name.to_owned(),
            state: stored.state,
            response_ms: stored.response_ms,
            checked_at: stored.checked_at,
        }
    }
}

/// Health of a service, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceReport {
    /// Name of the service.
    #[schema(examples("database"))]
    pub(crate) name: String,
    /// Whether the app is not ready while the check fails.
    pub(crate) critical: bool,
    /// State of the service; `null` if it was never checked.
    #[schema(required)]
    pub(crate) state: Option<ServiceState>,
    /// Time at which the service came into this state; `null` if it was never checked.
    #[schema(required)]
    pub(crate) since: Option<Timestamp>,
    /// Time of the last check; `null` if the service was never checked.
    #[schema(required)]
    pub(crate) checked_at: Option<Timestamp>,
    /// Response time of the last check, in milliseconds; `null` if the service was never checked.
    #[schema(required)]
    pub(crate) response_ms: Option<f64>,
    /// Error of the last check; `null` if it succeeded.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// Share of checks that succeeded.
    pub(crate) uptime: ServiceUptime,
}

impl ServiceReport {
    pub(crate) fn new(name: &str, critical: bool, stored: Option<&StoredService>, uptime: ServiceUptime) -> Self {
        Self {
            name: name.to_owned(),
            critical,
            state: stored.map(|stored| stored.state),
            since: stored.map(|stored| stored.since),
            checked_at: stored.map(|stored| stored.checked_at),
            response_ms: stored.map(|stored| stored.response_ms),
            error: stored.and_then(|stored| stored.error.clone()),
            uptime,
        }
    }
}

/// Share of the checks of a service that succeeded, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "they are the names in the API")]
pub(crate) struct ServiceUptime {
    /// Share in the last 24 hours; `null` without a check in that time.
    #[schema(required)]
    pub(crate) last_24h: Option<f64>,
    /// Share in the last 7 days; `null` without a check in that time.
    #[schema(required)]
    pub(crate) last_7d: Option<f64>,
    /// Share in the last 30 days; `null` without a check in that time.
    #[schema(required)]
    pub(crate) last_30d: Option<f64>,
}

/// Health of all services, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceReports {
    /// State of the app: `down` if a critical service is down, `degraded` if another service is not healthy.
    pub(crate) state: ServiceState,
    /// The services, sorted by name.
    pub(crate) services: Vec<ServiceReport>,
}

/// Health of a service with its last results, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceDetails {
    #[serde(flatten)]
    pub(crate) service: ServiceReport,
    /// The last 100 results, newest first.
    pub(crate) history: Vec<ServiceCheckResult>,
}

/// Result of one check of a service.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ServiceCheckResult {
    /// Number of the check, ascending for each service.
    pub(crate) number: i64,
    /// Time at which the check ended.
    pub(crate) at: Timestamp,
    /// State of the service after the check.
    pub(crate) state: ServiceState,
    /// Response time, in milliseconds.
    pub(crate) response_ms: f64,
    /// Error of the check; `null` if it succeeded.
    #[schema(required)]
    pub(crate) error: Option<String>,
}

/// State of the app and its services, for every client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppStatus {
    /// State of the app: `down` if a critical service is down, `degraded` if another service is not healthy.
    pub(crate) state: ServiceState,
    /// The services, sorted by name.
    pub(crate) services: Vec<ServiceStatus>,
}

/// State of a service, for every client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceStatus {
    /// Name of the service.
    #[schema(examples("database"))]
    pub(crate) name: String,
    /// State of the service; `null` if it was never checked.
    #[schema(required)]
    pub(crate) state: Option<ServiceState>,
}
