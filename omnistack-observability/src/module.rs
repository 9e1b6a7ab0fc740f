//! The module [`Observability`].

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use omnistack_core::{
    BoxError, SecretString, ShutdownToken,
    db::Db,
    identity::AccessLevel,
    metrics::HttpMetrics,
    module::{Module, Mount, Registry},
};
use tokio::net::TcpListener;

use crate::{
    database::{PoolMetrics, StatementMetrics},
    process::ProcessMetrics,
    recorder::Recorder,
    routes::{self, MetricsSource, MetricsState},
};

omnistack_core::settings! {
    /// Metrics.
    pub struct MetricsSettings {
        /// Whether the app records metrics and serves them.
        pub enabled: bool = "METRICS_ENABLED", default "true";
        /// The token that a server must present to read `/metrics`, as `Authorization: Bearer TOKEN`. Without it,
        /// `/metrics` answers operators only; in development, every caller.
        pub token: Option<SecretString> = "METRICS_TOKEN";
        /// The address on which `/metrics` is served instead of the app's, such as `127.0.0.1:9100`. It answers every
        /// client that reaches it.
        pub address: Option<SocketAddr> = "METRICS_ADDRESS";
    }
}

/// Interval at which recorded values are moved into the buckets of histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The module of observability: `.with(Observability::from_env())`.
///
/// It records the metrics of requests, SQL statements, jobs and the process, and serves them at `/metrics`. See the
/// [crate's documentation](crate) for who may read them.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Observability(());

impl Observability {
    /// Creates the module, which reads [`MetricsSettings`].
    pub fn from_env() -> Self {
        Self(())
    }
}

impl Module for Observability {
    fn name(&self) -> &'static str {
        "observability"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<MetricsSettings>().filter(|settings| settings.enabled) else { return };
        let Some(recorder) = Recorder::install() else {
            registry.report_problem(
                "the program has installed a recorder for metrics before the module `observability`",
                "remove that recorder, or set METRICS_ENABLED=false",
            );
            return;
        };
        // Without a database, the missing settings are reported already.
        let Some(db) = registry.provided::<Db>() else { return };
        db.observe(StatementMetrics::default());
        registry.provide(HttpMetrics::default());
        let source = MetricsSource {
            recorder,
            process: ProcessMetrics::new(registry.clock(), registry.app_version()),
            pool: PoolMetrics::new(db),
        };
        let upkeep = source.recorder.clone();
        registry.background_service("metrics upkeep", move |_| {
            Ok(move |shutdown: ShutdownToken| {
                let recorder = upkeep.clone();
                async move {
                    while tokio::time::timeout(UPKEEP_INTERVAL, shutdown.cancelled()).await.is_err() {
                        recorder.run_upkeep();
                    }
                    Ok(())
                }
            })
        });
        match settings.address {
            Some(address) => {
                registry.background_service("metrics server", move |_| {
                    Ok(move |shutdown| serve(address, source.clone(), shutdown))
                });
            }
            None => {
                let open = settings.token.is_some() || !registry.environment().is_production();
                let access = if open { AccessLevel::Public } else { AccessLevel::Admin };
                let state = MetricsState { source, token: settings.token };
                registry.routes(Mount::root("/metrics", access), routes::api(), |_| Ok(state));
            }
        }
    }
}

/// Serves the metrics on an address of their own.
async fn serve(address: SocketAddr, source: MetricsSource, shutdown: ShutdownToken) -> Result<(), BoxError> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(target: "omnistack::metrics", address = %listener.local_addr()?, "metrics are served at /metrics");
    let router = Router::new().route("/metrics", get(async move || source.scrape()));
    Ok(axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?)
}
