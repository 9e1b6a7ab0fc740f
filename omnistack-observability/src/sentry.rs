//! Reports of errors to Sentry, or a service that speaks its protocol.
//!
//! Errors of requests with a status of 500 or more, of jobs and of deliveries are sent with the error's causes, the
//! route or job, the ids of user and tenant, the release and the trace. Secrets in messages are replaced as in the log,
//! and addresses, headers, cookies and bodies are not sent.

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError};

use omnistack_core::{
    BoxError, ExposeSecret as _, SecretString, ShutdownToken,
    error_event::{ErrorEvent, ErrorObserver, ErrorOrigin},
    http::client::Client,
    log,
    module::Registry,
};
use sentry_types::{
    Dsn,
    protocol::v7::{Context, Envelope, Event, Exception, Level, TraceContext, User, Values},
};
use tokio::sync::mpsc;

use crate::traces::Service;

omnistack_core::settings! {
    /// Reports of errors to Sentry.
    pub struct SentrySettings {
        /// The DSN of the project, to which errors are reported. Without it, none are.
        pub dsn: Option<SecretString> = "SENTRY_DSN";
        /// The release that Sentry shows. Default: the app's name and version, as in `shop@1.2.0`.
        pub release: Option<String> = "SENTRY_RELEASE";
    }
}

/// Number of errors that wait to be sent. Further ones are dropped.
const MAX_WAITING: usize = 256;
/// Most errors in the chain of causes that are sent.
const MAX_CAUSES: usize = 10;
/// The name of this client in Sentry.
const CLIENT: &str = concat!("omnistack/", env!("CARGO_PKG_VERSION"));

/// Observes errors and queues their reports.
#[derive(Clone)]
pub(crate) struct Sentry {
    queue: mpsc::Sender<Event<'static>>,
    release: String,
    environment: String,
}

/// Registers the service that sends reports, if `SENTRY_DSN` is set. Returns the observer.
pub(crate) fn register(registry: &mut Registry, service: &Service) -> Option<Sentry> {
    let settings = registry.config::<SentrySettings>()?;
    let dsn = settings.dsn?;
    let dsn: Dsn = match dsn.expose_secret().parse() {
        Ok(dsn) => dsn,
        Err(_) => {
            // The parser's error is left out, since it may quote the secret.
            registry.report_problem("`SENTRY_DSN` is not a DSN", "copy it from the project's settings in Sentry");
            return None;
        }
    };
    let (queue, waiting) = mpsc::channel(MAX_WAITING);
    let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
    registry.require::<Client>();
    registry.background_service("sentry", move |ctx| {
        let client: Client = ctx.get()?;
        Ok(move |shutdown| {
            let (client, dsn, waiting) = (client.clone(), dsn.clone(), waiting.clone());
            async move { send_all(&client, &dsn, &mut *waiting.lock().await, shutdown).await }
        })
    });
    let release = settings.release.unwrap_or_else(|| format!("{}@{}", service.name, service.version));
    Some(Sentry { queue, release, environment: service.environment.clone() })
}

impl ErrorObserver for Sentry {
    fn observe(&self, event: &ErrorEvent<'_>) {
        if matches!(event.origin, ErrorOrigin::Request { status, .. } if status < 500) {
            return;
        }
        // A full queue means that Sentry is slow or down. Errors are counted by the metric `errors_total`.
        if let Ok(place) = self.queue.try_reserve() {
            place.send(self.report(event));
        }
    }
}

impl Sentry {
    fn report(&self, event: &ErrorEvent<'_>) -> Event<'static> {
        let (origin, transaction) = match event.origin {
            ErrorOrigin::Request { method, route, .. } => {
                ("request", format!("{method} {}", route.unwrap_or("unmatched")))
            }
            ErrorOrigin::Job { name, .. } => ("job", name.to_owned()),
            ErrorOrigin::Delivery { subscriber, .. } => ("delivery", subscriber.to_owned()),
            _ => ("other", String::new()),
        };
        let mut tags = BTreeMap::from([("origin".to_owned(), origin.to_owned()), ("code".into(), event.code.into())]);
        tags.extend(event.tenant.map(|tenant| ("tenant".to_owned(), tenant.to_string())));
        tags.extend(event.request_id.map(|id| ("request_id".to_owned(), id.to_owned())));
        let mut contexts = BTreeMap::new();
        if let Some(trace) = event.trace_id.and_then(|id| id.parse().ok()) {
            contexts.insert("trace".to_owned(), Context::from(TraceContext { trace_id: trace, ..Default::default() }));
        }
        Event {
            level: if event.panicked { Level::Fatal } else { Level::Error },
            transaction: Some(transaction),
            platform: Cow::Borrowed("other"),
            timestamp: std::time::UNIX_EPOCH + micros(event.at.as_micros()),
            release: Some(self.release.clone().into()),
            environment: Some(self.environment.clone().into()),
            user: event.user.map(|user| User { id: Some(user.to_string()), ..User::default() }),
            exception: Values { values: exceptions(event) },
            tags,
            contexts,
            ..Event::default()
        }
    }
}

/// Returns the chain of causes, the innermost first, as Sentry expects it.
fn exceptions(event: &ErrorEvent<'_>) -> Vec<Exception> {
    let mut texts = vec![event.message.to_owned()];
    let mut source = event.source;
    while let Some(cause) = source.filter(|_| texts.len() < MAX_CAUSES) {
        texts.push(cause.to_string());
        source = StdError::source(cause);
    }
    let exception = |text: String| Exception {
        ty: event.code.to_owned(),
        value: Some(log::redact(&text).into_owned()),
        ..Exception::default()
    };
    texts.into_iter().rev().map(exception).collect()
}

fn micros(micros: i64) -> std::time::Duration {
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// Sends reports until shutdown, and then those that wait.
async fn send_all(
    client: &Client,
    dsn: &Dsn,
    waiting: &mut mpsc::Receiver<Event<'static>>,
    shutdown: ShutdownToken,
) -> Result<(), BoxError> {
    let mut failing = false;
    loop {
        let event = match shutdown.run_until_cancelled(waiting.recv()).await {
            Some(Some(event)) => event,
            Some(None) => return Ok(()),
            None => match waiting.try_recv() {
                Ok(event) => event,
                Err(_) => return Ok(()),
            },
        };
        let sent = send(client, dsn, event).await;
        if sent.is_err() != failing {
            failing = sent.is_err();
            match sent {
                Ok(()) => tracing::info!(target: "omnistack::sentry", "errors are reported to Sentry again"),
                Err(error) => {
                    tracing::warn!(target: "omnistack::sentry", error, "errors can't be reported to Sentry, and are lost");
                }
            }
        }
    }
}

async fn send(client: &Client, dsn: &Dsn, event: Event<'static>) -> Result<(), String> {
    let mut body = Vec::new();
    Envelope::from(event).to_writer(&mut body).map_err(|error| error.to_string())?;
    let request = client
        .post(dsn.envelope_api_url())
        .header("content-type", "application/x-sentry-envelope")
        .header("x-sentry-auth", dsn.to_auth(Some(CLIENT)).to_string())
        .timeout(std::time::Duration::from_secs(5))
        .body(body);
    let response = request.send().await.map_err(|error| error.without_url().to_string())?;
    if response.status().is_success() { Ok(()) } else { Err(format!("Sentry responded with {}", response.status())) }
}

impl std::fmt::Debug for Sentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentry").field("release", &self.release).finish_non_exhaustive()
    }
}
