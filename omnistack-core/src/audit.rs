//! Audit log: who did what, recorded in hash chains that reveal tampering.
//!
//! An entry is recorded in the transaction of the action that it records, so either both are committed or
//! neither.
//!
//! ```
//! use omnistack_core::audit::{AuditEntry, AuditFilter, AuditLog, AuditStore};
//! # use omnistack_core::{app::App, config::Config};
//! # use omnistack_core::{clock::Clock, db::Db, id::Id, identity::Identity};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
//! # app.migrate().await?;
//! # let (db, now) = (app.db(), Clock::system().now());
//! # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
//! # let caller = Identity::user(Id::new(now)).for_tenant(Id::new(now));
//! # let tenant = caller.tenant.unwrap();
//! let mut tx = db.tenant(tenant).begin().await?;
//! // … delete the project …
//! log.record_in(&mut tx, AuditEntry::new("project.deleted").actor(&caller).resource("project", 17)).await?;
//! tx.commit().await?;
//!
//! let page = store.list(&AuditFilter::for_chain(tenant).action("project."), 20, None).await?;
//! assert_eq!(page.items[0].resource.as_deref(), Some("project:17"));
//! assert_eq!(store.verify(tenant).await?.entries, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Without an [`App`](crate::app::App), in an axum app that was there before:
//!
//! ```
//! use axum::{Router, extract::{Path, State}, http::StatusCode, routing::delete};
//! use omnistack_core::{
//!     audit::{AuditChain, AuditEntry, AuditLog, AuditStore}, clock::Clock, db::{CORE_MIGRATIONS, Db}, http::Error,
//! };
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt as _;
//!
//! async fn cancel(State((db, log)): State<(Db, AuditLog)>, Path(order): Path<i64>) -> Result<StatusCode, Error> {
//!     let mut tx = db.begin().await?;
//!     // … delete the order …
//!     log.record_in(&mut tx, AuditEntry::new("order.cancelled").resource("order", order)).await?;
//!     tx.commit().await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! let (db, clock) = (Db::memory()?, Clock::system());
//! db.migrate("core", CORE_MIGRATIONS).await?;
//! let (log, store) = (AuditLog::to_database(clock.clone()), AuditStore::new(db.clone(), clock));
//! let app = Router::new().route("/orders/{id}", delete(cancel)).with_state((db, log));
//!
//! # let request = Request::delete("/orders/7").body(Body::empty())?;
//! # assert_eq!(app.oneshot(request).await?.status(), StatusCode::NO_CONTENT);
//! assert_eq!(store.verify(AuditChain::App).await?.entries, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Each tenant has a [`AuditChain`], and so has the app. The entries of a chain are numbered without gaps, and each
//! holds the hash of the entry before it, so [`AuditStore::verify`] detects rows that were changed, deleted,
//! added or moved, and the deletion of the last rows. Transactions that record in the same chain wait for each
//! other until they commit: record the entry last, and commit soon.
//!
//! **Limits.** The hashes have no key: a person who can rewrite the whole database can also compute a new
//! chain. Keep [`heads`](AuditStore::head) or [exports](AuditStore::export) in a place to which that person has
//! no access, and compare.

mod activity_feed;
mod chain;
mod chain_status;
mod download;
mod encoding;
mod entry;
mod error;
mod export;
mod filter;
mod module;
mod retention;
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
mod routes;
mod settings;
mod store;
mod verify;

pub use chain::{AuditChain, ChainHead, VerificationReport};
pub use chain_status::ChainState;
pub use entry::{AuditEntry, AuditRecord};
pub use error::{ChainBreak, ChainBreakKind, Error, ErrorKind};
pub use export::verify_export;
pub use filter::AuditFilter;
pub(crate) use module::AuditModule;
pub use routes::AuditApi;
pub use settings::AuditSettings;
pub use store::AuditStore;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{clock::Clock, db, metrics::Metric, realtime::RealtimePublisher};
use activity_feed::ActivityFeed;

/// Destination of audit entries.
///
/// ```
/// use omnistack_core::{async_trait, audit::{AuditEntry, AuditLog, AuditSink}, db::{self, Db, Tx}};
///
/// // Table of the app, without chains.
/// struct Trail;
///
/// #[async_trait]
/// impl AuditSink for Trail {
///     async fn record(&self, tx: &mut Tx, entry: AuditEntry) -> Result<(), db::Error> {
///         let insert = tx.query("insert into trail (action, resource) values ($1, $2)");
///         insert.bind(entry.action).bind(entry.resource).execute().await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Db::memory()?;
/// # db.query("create table trail (action text not null, resource text)").execute().await?;
/// let log = AuditLog::new(Trail);
/// let mut tx = db.begin().await?;
/// log.record_in(&mut tx, AuditEntry::new("project.deleted").resource("project", 17)).await?;
/// tx.commit().await?;
/// # let (count,): (i64,) = db.query("select count(*) from trail where resource = 'project:17'").fetch_one().await?;
/// # assert_eq!(count, 1);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Stores an entry in the transaction of the action that it records.
    ///
    /// # Errors
    ///
    /// Fails if the database fails.
    async fn record(&self, tx: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error>;
}

/// The app's audit log. Entries are rows of the app's database, in [chains](AuditChain), unless a module provides
/// another [`AuditSink`].
///
/// ```
/// use omnistack_core::{audit::{AuditEntry, AuditLog}, db::Db, http::Error, identity::Identity};
/// use serde_json::json;
///
/// async fn rename(db: &Db, log: &AuditLog, caller: &Identity, id: i64, name: String) -> Result<(), Error> {
///     let mut tx = db.tenant(caller.require_tenant()?).begin().await?;
///     let update = tx.query("update projects set name = $1 where id = $2");
///     update.bind(name.clone()).bind(id).execute().await?;
///     let entry = AuditEntry::new("project.renamed").actor(caller).resource("project", id).details(json!({ "name": name }));
///     log.record_in(&mut tx, entry).await?;
///     Ok(tx.commit().await?)
/// }
/// ```
#[doc(alias = "audit trail")]
#[derive(Clone)]
pub struct AuditLog {
    sink: Arc<dyn AuditSink>,
    metric: Option<&'static Metric>,
    feed: ActivityFeed,
}

impl AuditLog {
    /// Creates a log that stores its entries in `sink`.
    pub fn new(sink: impl AuditSink) -> Self {
        Self { sink: Arc::new(sink), metric: None, feed: ActivityFeed::default() }
    }

    /// Creates a log that stores its entries in the database of the recording transaction, with the time of
    /// `clock`. [`AuditStore`] reads them.
    pub fn to_database(clock: Clock) -> Self {
        Self::new(DatabaseSink(clock))
    }

    /// Creates a log that writes its entries only to the program's log, with the target `omnistack::audit`,
    /// whether or not the transaction commits. For programs whose database has no audit tables.
    pub fn to_log() -> Self {
        Self::new(LogSink)
    }

    /// Counts the entries by this metric, whose label is the action, when their transactions have committed.
    #[must_use]
    pub fn counted_by(mut self, metric: &'static Metric) -> Self {
        self.metric = Some(metric);
        self
    }

    /// Begins to publish a message about each entry of a tenant, in the tenant's channel `activity`.
    pub(crate) fn begin_feed(&self, realtime: &RealtimePublisher) {
        self.feed.begin(realtime);
    }

    /// Records an entry in the transaction of the action that it records. The transaction must be one of the
    /// entry's tenant, of all tenants, or of no tenant.
    ///
    /// # Errors
    ///
    /// Fails if the database fails. On PostgreSQL it also fails if the transaction is of another tenant than the entry. In
    /// a tenant database it fails, on SQLite too, if the entry is not of the tenant that the database belongs to.
    pub async fn record_in(&self, tx: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error> {
        let counted = self.metric.map(|metric| (metric, entry.action.clone()));
        let message = self.feed.message(&entry);
        self.sink.record(tx, entry).await?;
        if let Some(message) = message {
            message.publish_in(tx).await?;
        }
        if let Some((metric, action)) = counted {
            tx.on_commit(move || metric.counter([action]).increment(1));
        }
        Ok(())
    }
}

/// A log in the database, with the system's clock.
impl Default for AuditLog {
    fn default() -> Self {
        Self::to_database(Clock::system())
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditLog")
    }
}

struct DatabaseSink(Clock);

#[async_trait]
impl AuditSink for DatabaseSink {
    async fn record(&self, tx: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error> {
        store::append(tx, self.0.now(), entry).await
    }
}

struct LogSink;

#[async_trait]
impl AuditSink for LogSink {
    async fn record(&self, _: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error> {
        let AuditEntry { action, actor, tenant, resource, .. } = entry;
        tracing::info!(target: "omnistack::audit", action, ?actor, ?tenant, resource);
        Ok(())
    }
}
