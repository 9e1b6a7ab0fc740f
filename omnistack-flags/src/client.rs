//! The app's handle to its flags.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, broadcast::error::RecvError, watch};

use crate::{
    Evaluation, EvaluationContext, FlagChange, FlagDefinition, FlagError, FlagRecord, FlagSet, Segment, TenantOverride,
    TenantOverrideRecord, UnleashImport, change::ChangeRequest, context::AttributeReader, exposure::ExposureRecorder,
    store::FlagStore,
};
use omnistack_core::{
    BoxError, ShutdownToken,
    audit::AuditLog,
    clock::Clock,
    db::{self, Db},
    identity::{Entitlements, Identity, TenantId},
    metrics::FLAG_RELOADS,
    pubsub::PubSub,
};

/// Topic on which replicas announce changes of flags; the message is the revision.
const TOPIC: &str = "omnistack:flags";

/// Interval at which flags outside an app are read again, in case no replica has announced a change.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Delay before flags are read again after reading them failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The app's flags. Cheap to clone; evaluating a flag does no I/O and takes no lock.
#[derive(Clone)]
pub struct Flags(Arc<FlagsInner>);

struct FlagsInner {
    current: ArcSwap<FlagSet>,
    /// `None` if the flags are fixed.
    store: Option<FlagStore>,
    /// Held while flags are read, so that an older state does not replace a newer one.
    reading: Mutex<()>,
    revision: watch::Sender<i64>,
    publisher: PubSub,
    clock: Clock,
    poll: Duration,
    entitlements: Entitlements,
    environment: String,
    attributes: Option<AttributeReader>,
    recorder: ExposureRecorder,
}

/// Parts that a handle is created from.
pub(crate) struct FlagsParts {
    pub(crate) store: Option<FlagStore>,
    pub(crate) publisher: PubSub,
    pub(crate) clock: Clock,
    pub(crate) poll: Duration,
    pub(crate) entitlements: Entitlements,
    pub(crate) environment: String,
    pub(crate) attributes: Option<AttributeReader>,
    pub(crate) recorder: ExposureRecorder,
}

impl Flags {
    pub(crate) fn new(parts: FlagsParts, set: FlagSet) -> Self {
        let FlagsParts { store, publisher, clock, poll, entitlements, environment, attributes, recorder } = parts;
        let revision = watch::Sender::new(set.revision());
        Self(Arc::new(FlagsInner {
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

    /// Creates flags that are not stored and can't be changed, for tests: they replace the app's flags with
    /// [`replace`](omnistack_core::app::AppBuilder::replace).
    pub fn fixed(set: FlagSet, clock: Clock) -> Self {
        let parts = FlagsParts {
            store: None,
            publisher: PubSub::default(),
            clock,
            poll: RETRY_DELAY,
            entitlements: Entitlements::default(),
            environment: String::new(),
            attributes: None,
            recorder: ExposureRecorder::default(),
        };
        Self::new(parts, set)
    }

    /// Creates flags that are stored in this database, for a program without an [`App`](omnistack_core::app::App), such
    /// as an axum app that was there before. The migrations of core and [`MIGRATIONS`](crate::MIGRATIONS) must have run
    /// in it. All flags are off until [`refresh`](Self::refresh) or [`follow`](Self::follow) has read them. Changes are
    /// recorded in `log`, and told to other replicas through `publisher`, if it reaches them. Exposures are not recorded.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use omnistack_core::{audit::AuditLog, clock::Clock, db::{CORE_MIGRATIONS, Db}, pubsub::PubSub};
    /// use omnistack_flags::{CallerFlags, FlagDefinition, Flags, MIGRATIONS};
    /// # use axum::{body::Body, http::Request};
    /// # use omnistack_core::{id::Id, identity::Identity};
    /// # use tower::ServiceExt as _;
    ///
    /// async fn page(flags: CallerFlags) -> &'static str {
    ///     if flags.is_on("new-ui") { "the new page" } else { "the old page" }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// let (db, clock) = (Db::memory()?, Clock::system());
    /// db.migrate("core", CORE_MIGRATIONS).await?;
    /// db.migrate("flags", MIGRATIONS).await?;
    /// let log = AuditLog::to_database(clock.clone());
    /// let flags = Flags::in_database(db, log, PubSub::default(), clock.clone());
    /// flags.refresh().await?;
    /// // In the background, for changes by other replicas: `tokio::spawn(flags.follow(shutdown))`.
    /// let app = Router::new().route("/", get(page)).with_state(flags.clone());
    ///
    /// let operator = Identity::user(Id::new(clock.now()));
    /// flags.create(FlagDefinition::new("new-ui"), &operator).await?;
    /// let response = app.oneshot(Request::get("/").body(Body::empty())?).await?;
    /// assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, "the new page");
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_database(db: Db, log: AuditLog, publisher: PubSub, clock: Clock) -> Self {
        let parts = FlagsParts {
            store: Some(FlagStore { db, clock: clock.clone(), log }),
            publisher,
            clock,
            poll: POLL_INTERVAL,
            entitlements: Entitlements::default(),
            environment: String::new(),
            attributes: None,
            recorder: ExposureRecorder::default(),
        };
        Self::new(parts, FlagSet::default())
    }

    /// Returns whether a flag is on for a context; an unknown flag is off.
    #[inline]
    pub fn is_on(&self, key: &str, context: &EvaluationContext<'_>) -> bool {
        self.0.current.load().is_on(key, context)
    }

    /// Returns whether a flag is on for a context, which variant it gives, and why.
    pub fn evaluate(&self, key: &str, context: &EvaluationContext<'_>) -> Evaluation {
        self.0.current.load().evaluate(key, context)
    }

    /// Returns all flags as of now, for several evaluations of the same state.
    pub fn snapshot(&self) -> Arc<FlagSet> {
        self.0.current.load_full()
    }

    /// Returns an evaluation context with the current time and the app's environment, and without a user: the
    /// base of contexts outside of requests, such as in jobs.
    pub fn context(&self) -> EvaluationContext<'_> {
        let environment = self.0.environment.as_str();
        EvaluationContext::now(&self.0.clock).environment((!environment.is_empty()).then_some(environment))
    }

    /// Returns a receiver of the revision in force, notified whenever it changes.
    pub fn subscribe_revisions(&self) -> watch::Receiver<i64> {
        self.0.revision.subscribe()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn entitlements(&self) -> &Entitlements {
        &self.0.entitlements
    }

    pub(crate) fn environment(&self) -> &str {
        &self.0.environment
    }

    pub(crate) fn attributes(&self) -> Option<&AttributeReader> {
        self.0.attributes.as_ref()
    }

    pub(crate) fn recorder(&self) -> &ExposureRecorder {
        &self.0.recorder
    }

    /// Reads the flags from the database if their revision differs from the one in force.
    ///
    /// # Errors
    ///
    /// Fails if the database fails; the state in force is kept.
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

    /// Applies the changes of all replicas until `shutdown` is cancelled. The module runs this for as long as
    /// the app serves.
    ///
    /// # Errors
    ///
    /// Never fails: if flags can't be read, they are read again after one second, and the state in force is
    /// kept.
    pub async fn follow(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        if self.0.store.is_none() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let mut changes = self.0.publisher.subscribe(TOPIC).await;
        let mut failing = false;
        loop {
            let refreshed = self.refresh().await;
            FLAG_RELOADS.counter([if refreshed.is_ok() { "ok" } else { "error" }]).increment(1);
            match refreshed {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!(target: "omnistack::flags", "flags can be read again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(target: "omnistack::flags", %error, "can't read flags; the state in force is kept");
                }
                Err(_) => {}
            }
            let pause = tokio::time::sleep(if failing { RETRY_DELAY } else { self.0.poll });
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = &mut pause => break,
                    change = changes.recv() => match change {
                        Ok(number) if self.is_current(&number) => {}
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

    /// Returns whether the state in force is that of the revision.
    fn is_current(&self, number: &[u8]) -> bool {
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<i64>().ok());
        number == Some(self.0.current.load().revision())
    }

    fn store(&self) -> Result<&FlagStore, FlagError> {
        self.0.store.as_ref().ok_or(FlagError::Fixed)
    }

    async fn change(&self, change: ChangeRequest, caller: &Identity) -> Result<i64, FlagError> {
        let revision = self.store()?.apply(change, caller).await?;
        if let Err(error) = self.refresh().await {
            // The change is committed, and the next poll reads it.
            tracing::warn!(target: "omnistack::flags", %error, revision, "a stored change is not yet in force here");
        }
        self.0.publisher.publish(TOPIC, revision.to_string()).await;
        Ok(revision)
    }

    /// Makes a change and returns the flag as stored afterwards.
    async fn change_and_get(
        &self,
        change: ChangeRequest,
        key: &str,
        caller: &Identity,
    ) -> Result<FlagRecord, FlagError> {
        self.change(change, caller).await?;
        self.get(key).await
    }

    /// Creates a flag.
    ///
    /// Every change is written with its history and an audit entry in one transaction, and is in force in this
    /// process when the method returns.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Invalid`], [`FlagError::Exists`], [`FlagError::Fixed`] or
    /// [`FlagError::Database`]; nothing is changed then.
    pub async fn create(&self, flag: FlagDefinition, caller: &Identity) -> Result<FlagRecord, FlagError> {
        let key = flag.key.clone();
        self.change_and_get(ChangeRequest::Create(Box::new(flag)), &key, caller).await
    }

    /// Replaces a flag. If a `revision` is given, the flag must still have that revision.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::NotFound`], [`FlagError::Changed`] if the revision differs,
    /// [`FlagError::Invalid`], [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn replace(
        &self,
        flag: FlagDefinition,
        revision: Option<i64>,
        caller: &Identity,
    ) -> Result<FlagRecord, FlagError> {
        let key = flag.key.clone();
        self.change_and_get(ChangeRequest::Replace(Box::new(flag), revision), &key, caller).await
    }

    /// Deletes a flag with its overrides. Its history is kept.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::InUse`] while other flags depend on it, and with [`FlagError::NotFound`],
    /// [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn delete(&self, key: &str, caller: &Identity) -> Result<(), FlagError> {
        self.change(ChangeRequest::Remove(key.into()), caller).await.map(drop)
    }

    /// Sets a flag's kill switch: off for every caller if `killed`, otherwise as defined.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::NotFound`], [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn set_kill_switch(&self, key: &str, killed: bool, caller: &Identity) -> Result<FlagRecord, FlagError> {
        self.change_and_get(ChangeRequest::Kill(key.into(), killed), key, caller).await
    }

    /// Sets a flag's override for a tenant, or deletes it if `given` is `None`.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::NotFound`] if the flag, or the override to delete, does not exist, with
    /// [`FlagError::Invalid`] if the variant is not one of the flag's, and with [`FlagError::Fixed`] or
    /// [`FlagError::Database`].
    pub async fn set_tenant_override(
        &self,
        key: &str,
        tenant: TenantId,
        given: Option<TenantOverride>,
        caller: &Identity,
    ) -> Result<(), FlagError> {
        self.change(ChangeRequest::Override(key.into(), tenant, given), caller).await.map(drop)
    }

    /// Creates or replaces a segment.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Invalid`], [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn save_segment(&self, segment: Segment, caller: &Identity) -> Result<(), FlagError> {
        self.change(ChangeRequest::SaveSegment(segment), caller).await.map(drop)
    }

    /// Deletes a segment.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::InUse`] while rules name it, and with [`FlagError::NotFound`],
    /// [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn delete_segment(&self, name: &str, caller: &Identity) -> Result<(), FlagError> {
        self.change(ChangeRequest::RemoveSegment(name.into()), caller).await.map(drop)
    }

    /// Imports flags and segments. They replace those with the same names; either all are imported or none.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Invalid`], [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn import(&self, import: UnleashImport, caller: &Identity) -> Result<(), FlagError> {
        self.change(ChangeRequest::Import(Box::new(import)), caller).await.map(drop)
    }

    /// Returns a flag as it is stored.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::NotFound`], [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn get(&self, key: &str) -> Result<FlagRecord, FlagError> {
        let found = self.store()?.get(key).await?;
        found.ok_or_else(|| FlagError::NotFound(format!("the flag `{key}`")))
    }

    /// Returns at most `limit` flags as they are stored, sorted by key, starting after the key `after`.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn list(&self, after: &str, limit: u32) -> Result<Vec<FlagRecord>, FlagError> {
        Ok(self.store()?.list(after, limit).await?)
    }

    /// Returns at most `limit` changes of a flag, newest first, starting before the revision `before`. Deleted
    /// flags have a history too.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn history(&self, key: &str, before: Option<i64>, limit: u32) -> Result<Vec<FlagChange>, FlagError> {
        Ok(self.store()?.history(key, before.unwrap_or(i64::MAX), limit).await?)
    }

    /// Returns a flag's overrides of all tenants, sorted by tenant.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Fixed`] or [`FlagError::Database`].
    pub async fn overrides(&self, key: &str) -> Result<Vec<TenantOverrideRecord>, FlagError> {
        Ok(self.store()?.overrides(key).await?)
    }

    /// Returns all segments, sorted by name.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Fixed`] or [`FlagError::Database`].
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
