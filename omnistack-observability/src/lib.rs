//! Metrics of an app for Prometheus.
//!
//! The module [`Observability`] installs a recorder for the metrics that core and the feature crates emit, and serves
//! them at `/metrics` in the Prometheus text format. The names, units and labels are those of
//! [`omnistack_core::metrics`]; an app's own metrics, emitted through the `metrics` facade, are served beside them.
//!
//! ```
//! use omnistack_core::{app::App, config::Config};
//! use omnistack_observability::Observability;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! let app = App::builder(config).with(Observability::from_env()).build()?;
//! assert!(app.routes().iter().any(|route| route.path == "/metrics"));
//! # Ok(())
//! # }
//! ```
//!
//! # Access to the metrics
//!
//! | setting | `/metrics` |
//! |---|---|
//! | `METRICS_TOKEN` | answers requests with `Authorization: Bearer TOKEN` |
//! | `METRICS_ADDRESS` | is served on this address instead of the app's, to every client that reaches it |
//! | neither, in development | answers every request |
//! | neither, in production | answers operators who are signed in |
//!
//! # Error analytics
//!
//! Errors of requests, jobs and deliveries are grouped, counted and analysed in the app's database; operators read them
//! at `/api/v1/admin/errors`, and tenants their own at `/api/v1/app/errors`. A group that is new, regressed or escalating
//! is an event ([`ErrorGroupNew`], [`ErrorGroupRegressed`], [`ErrorGroupEscalating`]), and with [`ErrorSettings`] a mail
//! or a webhook.
//!
//! # Costs
//!
//! A request costs a lookup of its handles by method, route pattern and status. Requests that match no route share the
//! path `unmatched`, and there are at most 2,000 combinations, so clients can't create time series. The memory of
//! histograms does not grow if no server reads them.
//!
//! The recorder is the process's: if a program builds several apps, they share it.
//!
//! # Service health
//!
//! A job runs the checks of all modules every five minutes, once for all replicas, and keeps their results. Operators
//! read them at `/api/v1/admin/health`, and signed-in callers at `/api/v1/app/services/{name}/health`. The states alone are
//! public, at `/api/v1/public/status`. A change of a state is the event [`ServiceStateChanged`].

#![cfg_attr(docsrs, feature(doc_cfg))]

mod counts;
mod dashboard;
mod database;
mod errors;
mod log_level;
mod module;
mod outage;
mod panics;
mod period;
mod process;
mod push;
mod recorder;
mod routes;
#[cfg(feature = "sentry")]
mod sentry;
#[cfg(not(feature = "sentry"))]
#[path = "sentry/settings.rs"]
mod sentry;
mod services;
mod text;
mod traces;

pub use counts::{CountNumbers, Counts};
pub use errors::{
    AlertReason, ErrorGroupAlert, ErrorGroupEscalating, ErrorGroupId, ErrorGroupMarker, ErrorGroupNew,
    ErrorGroupRegressed, ErrorGroupStatus, ErrorOriginKind, ErrorRecorder, ErrorSettings, ErrorSeverity,
};
pub use module::{MetricsSettings, Observability};
pub use push::MetricsExportSettings;
#[cfg(feature = "sentry")]
pub use sentry::SentrySettings;
pub use services::{ServiceHealthSettings, ServiceState, ServiceStateChanged};
pub use traces::{OtlpProtocol, SamplingRatio, TraceExporter, TraceSettings};
