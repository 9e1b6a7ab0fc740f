//! The connection to Redis, and its availability.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error as FredError, ErrorKind as FredKind},
    interfaces::ClientLike,
};
use metrics::Gauge;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    cache::{Error, ErrorKind},
    clock::Clock,
    metrics::{NO_LABELS, REDIS_CONNECTIONS},
    resilience::Breaker,
    trace::{Span, SpanKind, attribute},
};

/// Interval in which the same kind of rejection is logged at most once.
const MIN_REJECTION_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Connection to Redis. While Redis is unavailable, no caller waits for it: one task checks whether it is
/// available again, and all other uses fail immediately.
pub(crate) struct RedisConnection {
    client: Client,
    pub(crate) timeout: Duration,
    clock: Clock,
    opened: OnceLock<ConnectionTask>,
    breaker: Breaker,
    last_rejection_logged: Mutex<Option<Duration>>,
}

impl RedisConnection {
    pub(crate) fn new(client: Client, timeout: Duration, clock: Clock) -> Arc<Self> {
        let probed = client.clone();
        let probe = move || {
            let client = probed.clone();
            async move { responds(&client).await }
        };
        let breaker = Breaker::new(clock.clone(), probe, |after| {
            tracing::info!(target: "omnistack::redis", ?after, "Redis is available again");
        });
        let (opened, complained) = (OnceLock::new(), Mutex::new(None));
        Arc::new(Self { client, timeout, clock, opened, breaker, last_rejection_logged: complained })
    }

    pub(crate) fn commands(&self) -> &Client {
        &self.client
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        self.breaker.is_open()
    }

    /// Opens the connection if it was never opened. Fails immediately while Redis is unavailable.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        if self.is_unavailable() {
            return Err(unavailable());
        }
        if !self.client.is_connected() {
            self.opened.get_or_init(|| ConnectionTask::new(&self.client)).wait_for_first_attempt(self.timeout).await;
            if !self.client.is_connected() {
                self.mark_unavailable("not connected");
                return Err(unavailable());
            }
        }
        Ok(())
    }

    /// Runs a command, which is a span by its name. An error that shows an outage begins one.
    pub(crate) async fn run<T>(
        &self,
        name: &'static str,
        command: impl Future<Output = Result<T, FredError>> + Send,
    ) -> Result<T, Error> {
        self.ready().await?;
        let span = command_span(name);
        span.run(command).await.map_err(|error| {
            let error = self.classify_error(error);
            span.set_error(error.kind().as_str());
            error
        })
    }

    fn classify_error(&self, error: FredError) -> Error {
        use FredKind as K;
        let says = |words: &[&str]| words.iter().any(|word| error.details().contains(word));
        let kind = if says(&["WRONGTYPE", "is not an integer", "would overflow"]) {
            ErrorKind::WrongType
        } else if says(&["LOADING", "MASTERDOWN", "BUSY", "OOM", "READONLY", "MISCONF", "NOAUTH", "NOPERM"]) {
            self.log_rejection(error.details());
            ErrorKind::Unavailable
        } else {
            match error.kind() {
                K::Unknown if error.details().starts_with("ERR") => ErrorKind::Other,
                K::Timeout | K::IO | K::Canceled | K::Routing | K::Backpressure | K::Protocol | K::Tls | K::Unknown => {
                    self.mark_unavailable(error.details());
                    ErrorKind::Unknown
                }
                _ => ErrorKind::Other,
            }
        };
        Error::new(kind, error)
    }

    /// Begins an outage: all uses fail until Redis responds again.
    pub(crate) fn mark_unavailable(&self, reason: &str) {
        if self.breaker.open() {
            tracing::warn!(target: "omnistack::redis", reason, "Redis is unavailable; continuing without it");
        }
    }

    /// Logs that Redis is reachable but rejects commands, because it is full, read-only or denies access.
    pub(crate) fn log_rejection(&self, reason: &str) {
        let now = self.clock.elapsed();
        let mut complained = self.last_rejection_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|last| now.saturating_sub(last) >= MIN_REJECTION_LOG_INTERVAL) {
            *complained = Some(now);
            tracing::error!(target: "omnistack::redis", reason, "Redis rejects commands");
        }
    }

    pub(crate) async fn responds(&self) -> bool {
        responds(&self.client).await
    }
}

/// A connection that is counted as open.
struct OpenConnection(Gauge);

impl OpenConnection {
    fn count() -> Self {
        let gauge = REDIS_CONNECTIONS.gauge(NO_LABELS);
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl Drop for RedisConnection {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.get() {
            opened.close(&self.client);
        }
    }
}

/// Connection that a task of its own keeps open, so that callers that wait for it do not block each other.
pub(crate) struct ConnectionTask {
    keeping: JoinHandle<()>,
    tried: watch::Receiver<bool>,
}

impl ConnectionTask {
    /// Connects, and connects again whenever the client gives up.
    pub(crate) fn new<C: ClientLike + 'static>(client: &C) -> Self {
        let client = client.clone();
        let (trying, tried) = watch::channel(false);
        let keeping = tokio::spawn(async move {
            let mut pause = Duration::from_millis(50);
            loop {
                let connected = client.init().await;
                trying.send_replace(true);
                if let Ok(connection) = connected {
                    let _open = OpenConnection::count();
                    // Ends on an error that the client considers permanent, such as a changed password.
                    _ = connection.await;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        });
        Self { keeping, tried }
    }

    /// Waits until the first attempt to connect has ended.
    async fn wait_for_first_attempt(&self, patience: Duration) {
        _ = timeout(patience, self.tried.clone().wait_for(|tried| *tried)).await;
    }

    pub(crate) fn close<C: ClientLike + 'static>(&self, client: &C) {
        self.keeping.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = client.clone();
            runtime.spawn(async move { client.quit().await });
        }
    }
}

/// Starts the span of a command. Its keys and values are not recorded.
fn command_span(name: &'static str) -> Span {
    let span = Span::child(SpanKind::Client, || name.into());
    span.set(attribute::DB_SYSTEM_NAME, "redis");
    span.set(attribute::DB_OPERATION_NAME, name);
    span
}

async fn responds(client: &Client) -> bool {
    client.is_connected() && client.ping::<()>(None).await.is_ok()
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "Redis is unavailable")
}
