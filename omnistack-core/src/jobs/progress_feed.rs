//! The progress of a job, as connected clients see it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::JobId;
use crate::{
    clock::Clock,
    identity::TenantId,
    realtime::{RealtimeChannel, RealtimePublisher},
};

/// Shortest time between two messages with the same percentage.
const MIN_NOTE_INTERVAL: Duration = Duration::from_millis(250);

/// The messages of one attempt in the channel `job:ID` of the job's tenant. The default sends none. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ProgressFeed(Option<Arc<ProgressFeedInner>>);

struct ProgressFeedInner {
    realtime: RealtimePublisher,
    channel: RealtimeChannel,
    job: JobId,
    clock: Clock,
    last: Mutex<Option<SentProgress>>,
}

/// The last progress.
struct SentProgress {
    percent: u8,
    /// The last note, also if it came too soon to be sent.
    note: String,
    /// When a message was sent, by the clock's elapsed time.
    at: Duration,
}

/// A message of the channel.
#[derive(Serialize)]
struct ProgressMessage<'a> {
    job: JobId,
    state: &'static str,
    percent: u8,
    note: &'a str,
}

impl ProgressFeed {
    /// Creates the feed. A job without a tenant has none.
    pub(super) fn new(realtime: RealtimePublisher, tenant: Option<TenantId>, job: JobId, clock: Clock) -> Self {
        let Some(tenant) = tenant.filter(|_| realtime.is_enabled()) else { return Self(None) };
        let channel = RealtimeChannel::of_tenant(tenant, format!("job:{job}"));
        let last = Mutex::new(None);
        Self(channel.ok().map(|channel| Arc::new(ProgressFeedInner { realtime, channel, job, clock, last })))
    }

    /// Sends the progress, unless only the note has changed a moment ago.
    pub(super) async fn progress(&self, percent: u8, note: &str) {
        let Some(feed) = &self.0 else { return };
        let at = feed.clock.elapsed();
        {
            let mut last = feed.last();
            if let Some(sent) = last.as_mut()
                && sent.percent == percent
                && at.saturating_sub(sent.at) < MIN_NOTE_INTERVAL
            {
                note.clone_into(&mut sent.note);
                return;
            }
            *last = Some(SentProgress { percent, note: note.to_owned(), at });
        }
        feed.send("running", percent, note).await;
    }

    /// Returns whether the attempt has reported progress, so that clients are to be told of its end.
    pub(super) fn has_progress(&self) -> bool {
        self.0.as_ref().is_some_and(|feed| feed.last().is_some())
    }

    /// Sends the state in which the attempt has ended, if it has reported progress. Call it after the result is stored:
    /// a client that gets the message reads the result.
    pub(super) async fn end(&self, state: &'static str) {
        let Some(feed) = &self.0 else { return };
        let Some(SentProgress { percent, note, .. }) = feed.last().take() else { return };
        feed.send(state, if state == "done" { 100 } else { percent }, &note).await;
    }
}

impl ProgressFeedInner {
    fn last(&self) -> MutexGuard<'_, Option<SentProgress>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message. An error is only logged: the progress is stored, and clients may read it.
    async fn send(&self, state: &'static str, percent: u8, note: &str) {
        let message = ProgressMessage { job: self.job, state, percent, note };
        if let Err(error) = self.realtime.publish(self.channel.clone(), &message).await {
            tracing::debug!(target: "omnistack::jobs", job = %self.job, %error, "the progress could not be sent to clients");
        }
    }
}

impl fmt::Debug for ProgressFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProgressFeed").field(&self.0.as_ref().map(|feed| &feed.channel)).finish()
    }
}
