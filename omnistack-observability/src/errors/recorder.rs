//! The recorder of errors: counts each error in memory, and stores the counts once a second.

use std::{
    cell::OnceCell,
    error::Error as StdError,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use omnistack_core::{
    BoxError, ShutdownToken,
    clock::Clock,
    db,
    error_event::{ErrorEvent, ErrorObserver, ErrorOrigin},
    log,
};

use super::{
    batch::{Batch, Buffer, CountedError, PendingSample},
    fingerprint,
    model::{ErrorOriginKind, ErrorSeverity, hour_of},
    normalize::{normalize, truncate},
    signal::{signal_of_status, signal_of_text},
    store::ErrorStore,
};
use crate::panics::{self, PanicPlace};

/// Interval at which errors are stored.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the groups with new errors are checked for escalation.
const ESCALATION_INTERVAL: Duration = Duration::from_secs(60);

/// Largest number of characters of a message and its causes that are read.
const MAX_TEXT_CHARS: usize = 2_000;

/// Largest number of characters of a sample's message.
const MAX_SAMPLE_CHARS: usize = 1_000;

/// Largest number of characters of a group's title.
const MAX_TITLE_CHARS: usize = 300;

/// Largest number of characters of an operation, an error code, or the id of a request.
const MAX_NAME_CHARS: usize = 300;

/// The jobs that send alerts. Their failures are not recorded: they would cause alerts themselves.
const OWN_JOBS: &str = "errors.";

/// The recorder of an app's errors. The module provides it. Cheap to clone.
///
/// [`observe`](ErrorObserver::observe) counts an error in memory. A background service stores the counts once a second,
/// and a last time at shutdown; [`flush`](Self::flush) stores them at once.
#[derive(Clone)]
pub struct ErrorRecorder(Arc<RecorderInner>);

struct RecorderInner {
    buffer: Mutex<Buffer>,
    store: ErrorStore,
    clock: Clock,
    /// Serializes flushes. Its value is the time of the last check for escalation, since the clock was created.
    flushing: tokio::sync::Mutex<Option<Duration>>,
}

impl ErrorRecorder {
    pub(super) fn new(store: ErrorStore, clock: Clock) -> Self {
        Self(Arc::new(RecorderInner {
            buffer: Mutex::default(),
            store,
            clock,
            flushing: tokio::sync::Mutex::new(None),
        }))
    }

    /// Stores the errors that were recorded since the last flush.
    ///
    /// # Errors
    /// The errors of the database. The errors that were recorded are then stored by a later flush.
    pub async fn flush(&self) -> Result<(), db::Error> {
        let mut checked = self.0.flushing.lock().await;
        let batch = self.buffer(Buffer::take);
        if batch.is_empty() {
            return Ok(());
        }
        let elapsed = self.0.clock.elapsed();
        let checks = checked.is_none_or(|last| elapsed.saturating_sub(last) >= ESCALATION_INTERVAL);
        let mut unstored = PutBack { recorder: self, batch: Some(batch) };
        if let Some(batch) = &unstored.batch {
            self.0.store.write(batch, checks).await?;
        }
        unstored.batch = None;
        if checks {
            *checked = Some(elapsed);
        }
        Ok(())
    }

    /// Stores errors once a second, until shutdown.
    pub(super) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut failing = false;
        loop {
            let stops = tokio::time::timeout(FLUSH_INTERVAL, shutdown.cancelled()).await.is_ok();
            let flushed = self.flush().await;
            if let Err(error) = &flushed
                && !failing
            {
                tracing::warn!(target: "omnistack::errors", %error, "errors can't be stored, and are kept in memory");
            }
            failing = flushed.is_err();
            if stops {
                return Ok(());
            }
        }
    }

    fn buffer<T>(&self, use_it: impl FnOnce(&mut Buffer) -> T) -> T {
        use_it(&mut self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for ErrorRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorRecorder").finish_non_exhaustive()
    }
}

/// A guard that returns the batch to the buffer if the flush fails or is cancelled.
struct PutBack<'a> {
    recorder: &'a ErrorRecorder,
    batch: Option<Batch>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.recorder.buffer(|buffer| buffer.put_back(batch));
        }
    }
}

impl ErrorObserver for ErrorRecorder {
    fn observe(&self, event: &ErrorEvent<'_>) {
        self.record(event, panics::take(event).as_ref());
    }
}

impl ErrorRecorder {
    /// Counts an error, which is a panic if there is a place.
    pub(crate) fn record(&self, event: &ErrorEvent<'_>, place: Option<&PanicPlace>) {
        if matches!(event.origin, ErrorOrigin::Job { name, .. } if name.starts_with(OWN_JOBS)) {
            return;
        }
        let text = LazyText::new(event, place);
        let error = counted(event, place, &text);
        let title = || title(&text, place);
        let Some(group) = self.buffer(|buffer| buffer.add(&error, title)) else { return };
        let message = log::redact(text.get()).into_owned();
        let sample = PendingSample {
            group,
            at: error.at,
            operation: error.operation,
            tenant: error.tenant,
            message: truncate(&message, MAX_SAMPLE_CHARS).to_owned(),
            request_id: event.request_id.map(|id| plain(id, MAX_NAME_CHARS)),
            trace_id: event.trace_id.map(|id| plain(id, MAX_NAME_CHARS)),
        };
        self.buffer(|buffer| buffer.add_sample(sample));
    }
}

/// The message of an error and its causes, which is composed when it is first read.
struct LazyText<'a> {
    event: &'a ErrorEvent<'a>,
    panic: Option<&'a PanicPlace>,
    text: OnceCell<String>,
}

impl<'a> LazyText<'a> {
    fn new(event: &'a ErrorEvent<'a>, panic: Option<&'a PanicPlace>) -> Self {
        Self { event, panic, text: OnceCell::new() }
    }

    fn get(&self) -> &str {
        self.text.get_or_init(|| {
            let mut text = self.event.message.to_owned();
            if let Some(panic) = self.panic {
                // Writing to a text does not fail.
                _ = write!(text, ": {}", panic.message);
            }
            let mut cause: Option<&(dyn StdError + 'static)> = self.event.source;
            while let Some(error) = cause.filter(|_| text.len() < MAX_TEXT_CHARS) {
                _ = write!(text, ": {error}");
                cause = error.source();
            }
            plain(&text, MAX_TEXT_CHARS)
        })
    }
}

/// Returns the first characters of a text, without NUL, which PostgreSQL can't store.
fn plain(text: &str, most: usize) -> String {
    truncate(text, most).replace('\0', "")
}

/// Returns the title of a new group.
fn title(text: &LazyText<'_>, place: Option<&PanicPlace>) -> String {
    let normalized = normalize(&log::redact(text.get()));
    let title = match place {
        Some(panic) => format!("panic in {}: {}", panic.place, normalize(&log::redact(&panic.message))),
        None => normalized,
    };
    plain(&title, MAX_TITLE_CHARS)
}

/// Returns an error as it is counted.
fn counted(event: &ErrorEvent<'_>, place: Option<&PanicPlace>, text: &LazyText<'_>) -> CountedError {
    let (origin, operation, status) = match event.origin {
        ErrorOrigin::Request { method, route, status } => {
            let operation = format!("{method} {}", route.unwrap_or("unmatched"));
            (ErrorOriginKind::Request, operation, Some(status))
        }
        ErrorOrigin::Job { name, .. } => (ErrorOriginKind::Job, name.to_owned(), None),
        ErrorOrigin::Delivery { subscriber, .. } => (ErrorOriginKind::Delivery, subscriber.to_owned(), None),
        // A kind of a later release of core.
        _ => (ErrorOriginKind::Request, "unknown".to_owned(), None),
    };
    let is_warning = status.is_some_and(|status| (400..500).contains(&status));
    let severity = if is_warning { ErrorSeverity::Warning } else { ErrorSeverity::Error };
    let generic = fingerprint::is_generic(event.code);
    let has_cause = event.source.is_some() || (generic && !is_warning);
    let by_status = status.filter(|_| is_warning).and_then(signal_of_status);
    let signal = by_status.or_else(|| if has_cause { signal_of_text(text.get()) } else { None });
    let fingerprint = match place {
        _ if !generic => fingerprint::by_code(origin, event.code, signal),
        Some(panic) => fingerprint::by_panic(origin, &panic.place),
        None => fingerprint::by_message(origin, &normalize(text.get())),
    };
    CountedError {
        fingerprint: plain(&fingerprint, MAX_NAME_CHARS),
        origin,
        code: plain(event.code, MAX_NAME_CHARS),
        severity,
        signal,
        at: event.at.as_micros(),
        hour: hour_of(event.at.as_micros()),
        operation: plain(&operation, MAX_NAME_CHARS),
        tenant: event.tenant,
        user: event.user.map(|user| user.uuid()),
    }
}
