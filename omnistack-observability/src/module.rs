//! The module [`Observability`].

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, routing::get};
use omnistack_core::{
    BoxError, SecretString, ShutdownToken, async_trait,
    config::{Config, SettingsSection as _},
    db::Db,
    error_event::{ErrorEvent, ErrorObserver, ErrorReporter},
    http::client::Client,
    identity::{AccessLevel, Authenticator},
    log::SubscriberLayer,
    metrics::HttpMetrics,
    migrations,
    module::{Context, Module, Mount, Registry},
    trace,
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::net::TcpListener;

#[cfg(feature = "sentry")]
use crate::sentry;
use crate::{
    counts, dashboard,
    database::{PoolMetrics, StatementMetrics},
    errors::{self, ErrorRecorder},
    log_level, panics,
    process::ProcessMetrics,
    push,
    recorder::Recorder,
    routes::{self, MetricsSource, MetricsState},
    services,
    traces::{self, Service, TraceSettings},
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
/// It records the metrics of requests, SQL statements, jobs and the process, and serves them at `/metrics`. With
/// `OTEL_EXPORTER`, it records and exports spans. It records errors and serves them at `/api/v1/admin/errors` and
/// `/api/v1/app/errors`, and runs the checks of all services every five minutes. Operators read and change the log levels
/// at `/api/v1/admin/log-level`. See the [crate's documentation](crate).
#[derive(Debug, Default)]
#[must_use]
pub struct Observability {
    /// The provider that sends the spans, once the module has started.
    spans: Mutex<Option<SdkTracerProvider>>,
}

impl Observability {
    /// Creates the module, which reads [`MetricsSettings`] and [`TraceSettings`].
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Registers the metrics. Returns whether they are sent by OTLP.
    fn register_metrics(registry: &mut Registry, service: &Service) -> bool {
        let Some(settings) = registry.config::<MetricsSettings>().filter(|settings| settings.enabled) else {
            return false;
        };
        let Some(recorder) = Recorder::install() else {
            registry.report_problem(
                "the program has installed a recorder for metrics before the module `observability`",
                "remove that recorder, or set METRICS_ENABLED=false",
            );
            return false;
        };
        // Without a database, the missing settings are reported already.
        let Some(db) = registry.provided::<Db>() else { return false };
        db.observe(StatementMetrics::default());
        registry.provide(HttpMetrics::default());
        let source = MetricsSource {
            recorder,
            process: ProcessMetrics::new(registry.clock(), registry.app_version()),
            pool: PoolMetrics::new(db),
        };
        let pushes = push::register(registry, &source, service);
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
                registry.routes(Mount::root("/metrics", access).during_maintenance(), routes::api(), |_| Ok(state));
            }
        }
        pushes
    }
}

#[async_trait]
impl Module for Observability {
    fn name(&self) -> &'static str {
        "observability"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations!["0001_counts", "0002_services", "0003_errors"]);
        let service = Service {
            name: registry.app_name().to_owned(),
            version: registry.app_version().to_owned(),
            environment: registry.environment().to_string(),
        };
        let pushes_metrics = Self::register_metrics(registry, &service);
        counts::register(registry);
        if let Some(settings) = registry.config::<TraceSettings>() {
            settings.report_problems(registry, pushes_metrics);
            if settings.is_on() {
                registry.require::<Client>();
                registry.provide(service.clone());
            }
            registry.provide(settings);
        }
        services::register(registry);
        let recorder = errors::register(registry);
        report_errors(registry, recorder, &service);
        registry.after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                dashboard::register(registry);
                registry.routes(Mount::admin("/log-level"), log_level::api(), |_| Ok(()));
            }
        });
    }

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let settings = ctx.get::<TraceSettings>()?;
        trace::set_propagators(settings.propagators);
        // Provided only if spans are recorded.
        if let Ok(service) = ctx.get::<Service>() {
            let provider = traces::install(&settings, &service, ctx.get()?)?;
            *self.spans.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider);
        }
        Ok(())
    }

    async fn stop(&self, ctx: &Context) {
        errors::stop(ctx).await;
        let provider = self.spans.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(provider) = provider {
            trace::disable();
            traces::flush(provider).await;
        }
    }

    fn subscriber_layer(&self, config: &Config) -> Option<SubscriberLayer> {
        let settings = TraceSettings::read(config).ok()?;
        settings.is_on().then(traces::subscriber_layer)
    }
}

/// Reports errors to the recorder of error analytics, and to Sentry.
fn report_errors(registry: &mut Registry, recorder: Option<ErrorRecorder>, service: &Service) {
    #[cfg(not(feature = "sentry"))]
    {
        // Reports each of the settings that is set.
        registry.config::<crate::sentry::SentrySettings>();
        let _ = service;
    }
    let observers = ErrorObservers {
        recorder,
        #[cfg(feature = "sentry")]
        sentry: sentry::register(registry, service),
    };
    if !observers.is_empty() {
        registry.provide(ErrorReporter::new(observers));
    }
}

/// The observers of errors. They share the panic of an error, which can be taken only once.
struct ErrorObservers {
    recorder: Option<ErrorRecorder>,
    #[cfg(feature = "sentry")]
    sentry: Option<sentry::Sentry>,
}

impl ErrorObservers {
    fn is_empty(&self) -> bool {
        #[cfg(feature = "sentry")]
        if self.sentry.is_some() {
            return false;
        }
        self.recorder.is_none()
    }
}

impl ErrorObserver for ErrorObservers {
    fn observe(&self, event: &ErrorEvent<'_>) {
        let panic = panics::take(event);
        if let Some(recorder) = &self.recorder {
            recorder.record(event, panic.as_ref());
        }
        #[cfg(feature = "sentry")]
        if let Some(sentry) = &self.sentry {
            sentry.record(event, panic.as_ref());
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
