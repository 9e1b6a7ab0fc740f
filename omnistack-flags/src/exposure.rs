//! Exposures: which user was shown which flag and variant, for analytics.

use std::{
    collections::HashSet,
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use crate::{Evaluation, unleash_share};
use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    db::Db,
    events::{Event, Events, PublishError},
    identity::{Identity, TenantId, UserId},
};

/// Exposures that wait to be published, at most; further ones are dropped.
const MAX_QUEUED_EXPOSURES: usize = 4096;
/// Exposures published in one transaction, at most.
const MAX_EXPOSURES_PER_BATCH: usize = 256;
/// Recent exposures remembered to skip repetitions, at most.
const MAX_RECENT_EXPOSURES: usize = 100_000;

/// Event: a flag was evaluated for a user. Subscribe to it for analytics; without a subscriber nothing is
/// stored.
///
/// It is published at most once per flag, variant and user within `FLAGS_EXPOSURE_WINDOW` and process, for
/// `FLAGS_EXPOSURE_SAMPLE` percent of the users. Delivery is best effort: exposures are dropped when the queue
/// is full, and those still queued when the process ends may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlagExposure {
    /// Key of the flag.
    pub flag: String,
    /// Whether the flag was on.
    pub enabled: bool,
    /// Name of the variant.
    pub variant: Option<String>,
    /// Id of the user.
    pub user: UserId,
    /// Id of the user's tenant.
    pub tenant: Option<TenantId>,
    /// Time of the evaluation.
    pub at: Timestamp,
}

impl Event for FlagExposure {
    const NAME: &'static str = "flag.exposed";

    fn key(&self) -> String {
        self.user.to_string()
    }
}

/// Queued form of an exposure. Creating it copies no text.
#[derive(Debug)]
struct QueuedExposure {
    flag: Arc<str>,
    enabled: bool,
    variant: Option<Arc<crate::FlagVariant>>,
    user: UserId,
    tenant: Option<TenantId>,
    at: Timestamp,
}

/// A recorder of exposures where flags are evaluated, which publishes them in the background.
#[derive(Clone, Default)]
pub(super) struct ExposureRecorder(Option<Arc<ExposureQueue>>);

struct ExposureQueue {
    sender: mpsc::Sender<QueuedExposure>,
    receiver: Mutex<mpsc::Receiver<QueuedExposure>>,
    dropped: AtomicU64,
    window: Duration,
    sample: u32,
}

impl ExposureRecorder {
    /// Creates a recorder that publishes each exposure once per window, for a sample of users in percent.
    pub(super) fn new(window: Duration, sample: u32) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_EXPOSURES);
        let receiver = Mutex::new(receiver);
        Self(Some(Arc::new(ExposureQueue { sender, receiver, dropped: AtomicU64::new(0), window, sample })))
    }

    pub(super) fn record(&self, flag: Arc<str>, shown: &Evaluation, caller: Option<&Identity>, clock: &Clock) {
        let (Some(queue), Some(caller)) = (&self.0, caller) else { return };
        let (user, tenant) = (caller.user, caller.tenant);
        let variant = shown.variant.clone();
        let seen = QueuedExposure { flag, enabled: shown.enabled, variant, user, tenant, at: clock.now() };
        if queue.sender.try_send(seen).is_err() {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Publishes recorded exposures until `shutdown` is cancelled.
    pub(super) async fn publish(&self, db: &Db, events: &Events, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let Some(queue) = &self.0 else { return Ok(()) };
        let mut receiver = queue.receiver.lock().await;
        let mut recent = RecentExposures::default();
        let mut batch = Vec::with_capacity(MAX_EXPOSURES_PER_BATCH);
        loop {
            let ending = tokio::select! {
                biased;
                () = shutdown.cancelled() => true,
                _ = receiver.recv_many(&mut batch, MAX_EXPOSURES_PER_BATCH) => false,
            };
            if ending {
                return Ok(());
            }
            let fresh: Vec<_> =
                batch.drain(..).filter(|seen| queue.is_sampled(seen) && recent.is_new(seen, queue.window)).collect();
            let told: Vec<_> = fresh.into_iter().map(QueuedExposure::into_event).collect();
            if !told.is_empty()
                && let Err(error) = publish(db, events, &told).await
            {
                tracing::warn!(target: "omnistack::flags", %error, exposures = told.len(), "exposures can't be stored");
            }
            let left_out = queue.dropped.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(target: "omnistack::flags", left_out, "exposures were dropped: the queue was full");
            }
        }
    }
}

async fn publish(db: &Db, events: &Events, told: &[FlagExposure]) -> Result<(), PublishError> {
    let mut tx = db.begin().await?;
    events.publish_all_in(&mut tx, told).await?;
    Ok(tx.commit().await?)
}

impl ExposureQueue {
    fn is_sampled(&self, seen: &QueuedExposure) -> bool {
        self.sample >= 100 || unleash_share("flag.exposed", &seen.user.to_string()) <= self.sample
    }
}

impl QueuedExposure {
    fn into_event(self) -> FlagExposure {
        let Self { flag, enabled, variant, user, tenant, at } = self;
        let variant = variant.map(|variant| variant.name.clone());
        FlagExposure { flag: flag.to_string(), enabled, variant, user, tenant, at }
    }
}

/// Exposures published in the current window.
#[derive(Default)]
struct RecentExposures {
    told: HashSet<u64>,
    hasher: RandomState,
    began: Timestamp,
}

impl RecentExposures {
    fn is_new(&mut self, seen: &QueuedExposure, window: Duration) -> bool {
        if seen.at.duration_since(self.began) >= window || self.told.len() >= MAX_RECENT_EXPOSURES {
            self.told.clear();
            self.began = seen.at;
        }
        let variant = seen.variant.as_ref().map(|variant| variant.name.as_str());
        self.told.insert(self.hasher.hash_one((&seen.flag, seen.enabled, variant, seen.user, seen.tenant)))
    }
}

impl fmt::Debug for ExposureRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
