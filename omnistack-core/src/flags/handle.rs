//! The app's handle on its flags.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, broadcast::error::RecvError, watch};

use super::{
    Context, Definition, Evaluation, FlagChange, FlagError, FlagRecord, FlagSet, OverrideRecord, Segment,
    TenantOverride, UnleashImport, caller::Attributes, change::Change, exposure::Recorder, store::Store,
};
use crate::{
    app::{BoxError, Shutdown},
    clock::Clock,
    db,
    identity::{Entitlements, Identity, TenantId},
    pubsub::Publisher,
};

/// Where replicas tell each other that flags have changed; the message is the number of the change.
const TOPIC: &str = "omnistack:flags";

/// How soon a state that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// The app's flags. Cheap to clone; evaluating does no I/O and takes no lock.
#[derive(Clone)]
pub struct Flags(Arc<Inner>);

struct Inner {
    current: ArcSwap<FlagSet>,
    /// Nothing, when the flags are fixed.
    store: Option<Store>,
    /// Held while a state is read, so that none replaces a later one.
    reading: Mutex<()>,
    revision: watch::Sender<i64>,
    publisher: Publisher,
    clock: Clock,
    poll: Duration,
    entitlements: Entitlements,
    environment: String,
    attributes: Option<Attributes>,
    recorder: Recorder,
}

/// What a handle is made of.
pub(super) struct Parts {
    pub(super) store: Option<Store>,
    pub(super) publisher: Publisher,
    pub(super) clock: Clock,
    pub(super) poll: Duration,
    pub(super) entitlements: Entitlements,
    pub(super) environment: String,
    pub(super) attributes: Option<Attributes>,
    pub(super) recorder: Recorder,
}

impl Flags {
    pub(super) fn new(parts: Parts, set: FlagSet) -> Self {
        let Parts { store, publisher, clock, poll, entitlements, environment, attributes, recorder } = parts;
        let revision = watch::Sender::new(set.revision());
        Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(set),
            store,
            reading: Mutex::default(),
            revision,
            publisher,
            clock,
            poll,
            entitlements,
            environment,
            attributes,
            recorder,
        }))
    }

    /// Flags that nobody changes, kept nowhere: for tests, in place of the app's with
    /// [`replace`](crate::app::AppBuilder::replace).
    pub fn fixed(set: FlagSet, clock: Clock) -> Self {
        let parts = Parts {
            store: None,
            publisher: Publisher::default(),
            clock,
            poll: AGAIN,
            entitlements: Entitlements::default(),
            environment: String::new(),
            attributes: None,
            recorder: Recorder::default(),
        };
        Self::new(parts, set)
    }

    /// Whether a flag is on for a caller; an unknown one is off.
    #[inline]
    pub fn is_on(&self, key: &str, context: &Context<'_>) -> bool {
        self.0.current.load().is_on(key, context)
    }

    /// Whether a flag is on for a caller, which variant they get, and why.
    pub fn evaluate(&self, key: &str, context: &Context<'_>) -> Evaluation {
        self.0.current.load().evaluate(key, context)
    }

    /// All flags as they are now, for several that must be of one state.
    pub fn set(&self) -> Arc<FlagSet> {
        self.0.current.load_full()
    }

    /// Nobody in particular, now, in this app: to be told of a caller by hand, as in a job.
    pub fn context(&self) -> Context<'_> {
        let environment = self.0.environment.as_str();
        Context::now(&self.0.clock).environment((!environment.is_empty()).then_some(environment))
    }

    /// The number of the state in force, told whenever it changes.
    pub fn revisions(&self) -> watch::Receiver<i64> {
        self.0.revision.subscribe()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn entitlements(&self) -> &Entitlements {
        &self.0.entitlements
    }

    pub(super) fn environment(&self) -> &str {
        &self.0.environment
    }

    pub(super) fn attributes(&self) -> Option<&Attributes> {
        self.0.attributes.as_ref()
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// Takes over the state of the database, if it is another than the one in force.
    ///
    /// # Errors
    /// The database's; the state in force stays.
    pub async fn refresh(&self) -> Result<(), db::Error> {
        let Some(store) = &self.0.store else { return Ok(()) };
        let _reading = self.0.reading.lock().await;
        // 0 is the state before the first change, and that of a handle that has read nothing yet.
        let current = self.0.current.load().revision();
        if current != 0 && store.revision().await? == current {
            return Ok(());
        }
        let set = store.load().await?;
        let revision = set.revision();
        self.0.current.store(Arc::new(set));
        self.0.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        Ok(())
    }

    /// Follows the changes of all replicas until it is told to end. The module does this for as long as the app serves.
    ///
    /// # Errors
    /// None: a state that can't be read is read again after a second, and the one in force stays.
    pub async fn follow(&self, shutdown: Shutdown) -> Result<(), BoxError> {
        if self.0.store.is_none() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let mut changes = self.0.publisher.subscribe(TOPIC).await;
        let mut failing = false;
        loop {
            match self.refresh().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!(target: "omnistack::flags", "flags are read again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(target: "omnistack::flags", %error, "flags can't be read; those in force stay");
                }
                Err(_) => {}
            }
            let pause = tokio::time::sleep(if failing { AGAIN } else { self.0.poll });
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = &mut pause => break,
                    change = changes.recv() => match change {
                        Ok(number) if self.has(&number) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => {
                            changes = self.0.publisher.subscribe(TOPIC).await;
                            break;
                        }
                    },
                }
            }
        }
    }

    /// Whether the state in force has this change.
    fn has(&self, number: &[u8]) -> bool {
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<i64>().ok());
        number == Some(self.0.current.load().revision())
    }

    fn store(&self) -> Result<&Store, FlagError> {
        self.0.store.as_ref().ok_or(FlagError::Fixed)
    }

    async fn change(&self, change: Change, caller: &Identity) -> Result<i64, FlagError> {
        let revision = self.store()?.apply(change, caller).await?;
        if let Err(error) = self.refresh().await {
            // It is committed, and the next poll finds it.
            tracing::warn!(target: "omnistack::flags", %error, revision, "a change is stored, and not yet in force here");
        }
        self.0.publisher.publish(TOPIC, revision.to_string()).await;
        Ok(revision)
    }

    /// The flag after a change.
    async fn after(&self, change: Change, key: &str, caller: &Identity) -> Result<FlagRecord, FlagError> {
        self.change(change, caller).await?;
        self.get(key).await
    }

    /// Makes a flag. This and each other change is written with its history and an audit entry in one transaction, and is in
    /// force in this process when it returns.
    ///
    /// # Errors
    /// See [`FlagError`]; nothing is changed then.
    pub async fn create(&self, flag: Definition, caller: &Identity) -> Result<FlagRecord, FlagError> {
        let key = flag.key.clone();
        self.after(Change::Create(Box::new(flag)), &key, caller).await
    }

    /// Replaces a flag; with a revision, only if it still is at that one.
    ///
    /// # Errors
    /// See [`FlagError`].
    pub async fn replace(
        &self,
        flag: Definition,
        revision: Option<i64>,
        caller: &Identity,
    ) -> Result<FlagRecord, FlagError> {
        let key = flag.key.clone();
        self.after(Change::Replace(Box::new(flag), revision), &key, caller).await
    }

    /// Removes a flag with its overrides. Its history stays.
    ///
    /// # Errors
    /// [`FlagError::InUse`] while others depend on it.
    pub async fn remove(&self, key: &str, caller: &Identity) -> Result<(), FlagError> {
        self.change(Change::Remove(key.into()), caller).await.map(drop)
    }

    /// Turns a flag's kill switch: off for everybody, or as it was.
    ///
    /// # Errors
    /// See [`FlagError`].
    pub async fn kill(&self, key: &str, killed: bool, caller: &Identity) -> Result<FlagRecord, FlagError> {
        self.after(Change::Kill(key.into(), killed), key, caller).await
    }

    /// Decides a flag for one tenant, or no longer.
    ///
    /// # Errors
    /// See [`FlagError`].
    pub async fn override_for(
        &self,
        key: &str,
        tenant: TenantId,
        given: Option<TenantOverride>,
        caller: &Identity,
    ) -> Result<(), FlagError> {
        self.change(Change::Override(key.into(), tenant, given), caller).await.map(drop)
    }

    /// Makes or replaces a segment.
    ///
    /// # Errors
    /// See [`FlagError`].
    pub async fn save_segment(&self, segment: Segment, caller: &Identity) -> Result<(), FlagError> {
        self.change(Change::SaveSegment(segment), caller).await.map(drop)
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// [`FlagError::InUse`] while rules name it.
    pub async fn remove_segment(&self, name: &str, caller: &Identity) -> Result<(), FlagError> {
        self.change(Change::RemoveSegment(name.into()), caller).await.map(drop)
    }

    /// Takes over flags and segments, in place of those of the same names, all or none.
    ///
    /// # Errors
    /// See [`FlagError`].
    pub async fn import(&self, import: UnleashImport, caller: &Identity) -> Result<(), FlagError> {
        self.change(Change::Import(Box::new(import)), caller).await.map(drop)
    }

    /// A flag as it is kept.
    ///
    /// # Errors
    /// [`FlagError::NotFound`], and the database's.
    pub async fn get(&self, key: &str) -> Result<FlagRecord, FlagError> {
        let found = self.store()?.get(key).await?;
        found.ok_or_else(|| FlagError::NotFound(format!("the flag `{key}`")))
    }

    /// Flags as they are kept, by key, from after this one on.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, after: &str, limit: u32) -> Result<Vec<FlagRecord>, FlagError> {
        Ok(self.store()?.list(after, limit).await?)
    }

    /// A flag's changes, the newest first, from before this revision on. A flag that was removed has some too.
    ///
    /// # Errors
    /// The database's.
    pub async fn history(&self, key: &str, before: Option<i64>, limit: u32) -> Result<Vec<FlagChange>, FlagError> {
        Ok(self.store()?.history(key, before.unwrap_or(i64::MAX), limit).await?)
    }

    /// What is decided for single tenants.
    ///
    /// # Errors
    /// The database's.
    pub async fn overrides(&self, key: &str) -> Result<Vec<OverrideRecord>, FlagError> {
        Ok(self.store()?.overrides(key).await?)
    }

    /// All segments, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn segments(&self) -> Result<Vec<Segment>, FlagError> {
        Ok(self.store()?.segments().await?)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.0.current.load();
        f.debug_struct("Flags").field("flags", &set.len()).field("revision", &set.revision()).finish_non_exhaustive()
    }
}
