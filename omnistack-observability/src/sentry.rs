//! Reports of errors to Sentry, or a service that speaks its protocol.
//!
//! Errors of requests with a status of 500 or more, of jobs and of deliveries are sent with the error's causes, the
//! route or job, the ids of user and tenant, the release and the trace; panics also with the stack. Secrets in messages
//! are replaced as in the log, and addresses, headers, cookies and bodies are not sent.

mod settings;

use std::{
    backtrace::Backtrace,
    borrow::Cow,
    collections::BTreeMap,
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::body::Bytes;
use http::StatusCode;
use omnistack_core::{
    BoxError, ExposeSecret as _, ShutdownToken,
    error_event::{ErrorEvent, ErrorOrigin},
    http::client::Client,
    log,
    module::Registry,
};
use sentry_types::{
    Dsn,
    protocol::v7::{Context, Envelope, Event, Exception, Frame, Level, Stacktrace, TraceContext, User, Values},
};
use tokio::sync::mpsc;

use crate::{
    outage::ExportOutage,
    panics::{self, PanicPlace, StackFrame, stack_of_panic},
    traces::Service,
};

pub use settings::SentrySettings;

/// Number of errors that wait to be sent. Further ones are dropped.
const MAX_WAITING: usize = 256;
/// Longest duration of a request to Sentry.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of attempts to send a report. Sentry ignores a report that it has already, by its id.
const MAX_ATTEMPTS: u32 = 3;
/// Pause after the first failed attempt. The pause after the second one is twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Most errors in the chain of causes that are sent.
const MAX_CAUSES: usize = 10;
/// The name of this client in Sentry.
const CLIENT: &str = concat!("omnistack/", env!("CARGO_PKG_VERSION"));

/// An observer of errors, which queues their reports.
#[derive(Clone)]
pub(crate) struct Sentry {
    queue: mpsc::Sender<SentryReport>,
    release: String,
    environment: String,
}

/// A report that waits to be sent.
struct SentryReport {
    event: Event<'static>,
    /// The stack of a panic. Its functions are looked up when the report is sent.
    stack: Option<Arc<Backtrace>>,
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
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    panics::install_hook();
    panics::keep_stacks();
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

impl Sentry {
    /// Queues the report of an error, which is a panic if there is a place.
    pub(crate) fn record(&self, event: &ErrorEvent<'_>, place: Option<&PanicPlace>) {
        if matches!(event.origin, ErrorOrigin::Request { status, .. } if status < 500) {
            return;
        }
        // A full queue means that Sentry is slow or down. Errors are counted by the metric `errors_total`.
        if let Ok(slot) = self.queue.try_reserve() {
            let stack = place.and_then(|place| place.stack.clone());
            slot.send(SentryReport { event: self.event_of(event), stack });
        }
    }

    fn event_of(&self, event: &ErrorEvent<'_>) -> Event<'static> {
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
            timestamp: UNIX_EPOCH + micros(event.at.as_micros()),
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

/// Returns the stack as Sentry expects it: the outermost function first.
fn stacktrace(backtrace: &Backtrace) -> Option<Stacktrace> {
    let frame = |StackFrame { function, file, line, in_app }: StackFrame| {
        let (module, name) = match function.rsplit_once("::") {
            Some((module, name)) => (Some(module.to_owned()), name.to_owned()),
            None => (None, function),
        };
        Frame {
            function: Some(name),
            module,
            filename: file,
            lineno: line.map(u64::from),
            in_app: Some(in_app),
            ..Frame::default()
        }
    };
    Stacktrace::from_frames_reversed(stack_of_panic(&backtrace.to_string()).into_iter().map(frame).collect())
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// Sends reports until shutdown, and then those that wait, up to the first that can't be sent.
async fn send_all(
    client: &Client,
    dsn: &Dsn,
    waiting: &mut mpsc::Receiver<SentryReport>,
    shutdown: ShutdownToken,
) -> Result<(), BoxError> {
    let outage = ExportOutage::of("reports of errors");
    loop {
        let report = match shutdown.run_until_cancelled(waiting.recv()).await {
            Some(Some(report)) => report,
            Some(None) => return Ok(()),
            None => match waiting.try_recv() {
                Ok(report) => report,
                Err(_) => return Ok(()),
            },
        };
        // Fails only if the text of the stack can't be written.
        let Ok(body) = envelope(report).await else { continue };
        let sent = send(client, dsn, body, &outage, &shutdown).await;
        if sent.is_err() && shutdown.is_cancelled() {
            return Ok(());
        }
    }
}

/// Sends a report, up to three times; once during shutdown.
async fn send(
    client: &Client,
    dsn: &Dsn,
    body: Bytes,
    outage: &ExportOutage,
    shutdown: &ShutdownToken,
) -> Result<(), SendError> {
    let mut attempt = 1;
    loop {
        let sent = post(client, dsn, body.clone()).await;
        outage.observe(&sent);
        match sent {
            Err(error) if error.is_retryable && attempt < MAX_ATTEMPTS && !shutdown.is_cancelled() => {
                // Either the pause ends, or the shutdown begins.
                _ = tokio::time::timeout(RETRY_PAUSE * attempt, shutdown.cancelled()).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

async fn post(client: &Client, dsn: &Dsn, body: Bytes) -> Result<(), SendError> {
    let request = client
        .post(dsn.envelope_api_url())
        .header("content-type", "application/x-sentry-envelope")
        .header("x-sentry-auth", dsn.to_auth(Some(CLIENT)).to_string())
        .timeout(SEND_TIMEOUT)
        .body(body);
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(SendError::of_status(response.status())),
        Err(error) => {
            let is_retryable = !error.is_builder();
            Err(SendError { message: error.without_url().to_string(), is_retryable })
        }
    }
}

/// Returns the body of the request that reports an error.
async fn envelope(SentryReport { mut event, stack }: SentryReport) -> Result<Bytes, BoxError> {
    if let Some(stack) = stack {
        let stacktrace = tokio::task::spawn_blocking(move || stacktrace(&stack)).await?;
        // The panic is the innermost cause.
        if let Some(innermost) = event.exception.values.first_mut() {
            innermost.stacktrace = stacktrace;
        }
    }
    let mut body = Vec::new();
    Envelope::from(event).to_writer(&mut body)?;
    Ok(body.into())
}

/// The error of an attempt to send a report.
#[derive(Debug)]
struct SendError {
    message: String,
    is_retryable: bool,
}

impl SendError {
    fn of_status(status: StatusCode) -> Self {
        Self { message: format!("Sentry responded with {status}"), is_retryable: status.is_server_error() }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Sentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentry").field("release", &self.release).finish_non_exhaustive()
    }
}
