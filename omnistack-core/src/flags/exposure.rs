//! Who was shown what, for whoever analyses it.

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

use super::{Evaluation, unleash_share};
use crate::{
    app::{BoxError, Shutdown},
    clock::{Clock, Timestamp},
    db::Db,
    events::{Event, Events, PublishError},
    identity::{Identity, TenantId, UserId},
};

/// Exposures that wait to be published; more are not noted.
const WAITING: usize = 4096;
/// Most exposures published at once.
const BATCH: usize = 256;
/// Most exposures remembered to leave out repetitions.
const REMEMBERED: usize = 100_000;

/// A caller was shown a flag. Subscribe to it for analytics; without a subscriber nothing is stored.
///
/// It is told once for each flag, variant and user in a while (`FLAGS_EXPOSURE_WINDOW`) and process, for a share of users
/// (`FLAGS_EXPOSURE_SAMPLE`), and at best: under more than can be stored some are left out, and those that wait when the
/// process ends may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlagExposed {
    /// Which flag.
    pub flag: String,
    /// Whether it was on.
    pub enabled: bool,
    /// Which variant.
    pub variant: Option<String>,
    /// Who.
    pub user: UserId,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// When.
    pub at: Timestamp,
}

impl Event for FlagExposed {
    const NAME: &'static str = "flag.exposed";

    fn key(&self) -> String {
        self.user.to_string()
    }
}

/// What is kept of an exposure on the way: nothing is allocated but a place in the queue.
#[derive(Debug)]
struct Seen {
    flag: Arc<str>,
    enabled: bool,
    variant: Option<Arc<super::Variant>>,
    user: UserId,
    tenant: Option<TenantId>,
    at: Timestamp,
}

/// Takes exposures where they happen, and publishes them elsewhere.
#[derive(Clone, Default)]
pub(super) struct Recorder(Option<Arc<Queue>>);

struct Queue {
    sender: mpsc::Sender<Seen>,
    receiver: Mutex<mpsc::Receiver<Seen>>,
    left_out: AtomicU64,
    window: Duration,
    sample: u32,
}

impl Recorder {
    /// Notes each once in this while, for this share of users in percent.
    pub(super) fn new(window: Duration, sample: u32) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = Mutex::new(receiver);
        Self(Some(Arc::new(Queue { sender, receiver, left_out: AtomicU64::new(0), window, sample })))
    }

    pub(super) fn note(&self, flag: Arc<str>, shown: &Evaluation, caller: Option<&Identity>, clock: &Clock) {
        let (Some(queue), Some(caller)) = (&self.0, caller) else { return };
        let (user, tenant) = (caller.user, caller.tenant);
        let variant = shown.variant.clone();
        let seen = Seen { flag, enabled: shown.enabled, variant, user, tenant, at: clock.now() };
        if queue.sender.try_send(seen).is_err() {
            queue.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Publishes what is noted, until it is told to end.
    pub(super) async fn publish(&self, db: &Db, events: &Events, shutdown: Shutdown) -> Result<(), BoxError> {
        let Some(queue) = &self.0 else { return Ok(()) };
        let mut receiver = queue.receiver.lock().await;
        let mut recent = Recent::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let ending = tokio::select! {
                biased;
                () = shutdown.cancelled() => true,
                _ = receiver.recv_many(&mut batch, BATCH) => false,
            };
            if ending {
                return Ok(());
            }
            let fresh: Vec<_> =
                batch.drain(..).filter(|seen| queue.wants(seen) && recent.is_new(seen, queue.window)).collect();
            let told: Vec<_> = fresh.into_iter().map(Seen::told).collect();
            if !told.is_empty()
                && let Err(error) = publish(db, events, &told).await
            {
                tracing::warn!(target: "omnistack::flags", %error, exposures = told.len(), "exposures are not stored");
            }
            let left_out = queue.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(target: "omnistack::flags", left_out, "more exposures than can be stored");
            }
        }
    }
}

async fn publish(db: &Db, events: &Events, told: &[FlagExposed]) -> Result<(), PublishError> {
    let mut tx = db.begin().await?;
    events.publish_all_in(&mut tx, told).await?;
    Ok(tx.commit().await?)
}

impl Queue {
    fn wants(&self, seen: &Seen) -> bool {
        self.sample >= 100 || unleash_share("flag.exposed", &seen.user.to_string()) <= self.sample
    }
}

impl Seen {
    fn told(self) -> FlagExposed {
        let Self { flag, enabled, variant, user, tenant, at } = self;
        let variant = variant.map(|variant| variant.name.clone());
        FlagExposed { flag: flag.to_string(), enabled, variant, user, tenant, at }
    }
}

/// What was told lately.
#[derive(Default)]
struct Recent {
    told: HashSet<u64>,
    hasher: RandomState,
    began: Timestamp,
}

impl Recent {
    fn is_new(&mut self, seen: &Seen, window: Duration) -> bool {
        if seen.at.since(self.began) >= window || self.told.len() >= REMEMBERED {
            self.told.clear();
            self.began = seen.at;
        }
        let variant = seen.variant.as_ref().map(|variant| variant.name.as_str());
        self.told.insert(self.hasher.hash_one((&seen.flag, seen.enabled, variant, seen.user, seen.tenant)))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
