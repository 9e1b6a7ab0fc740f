//! The ledger of usage: events, once each, and what they add up to.
//!
//! An event is stored with what it adds to the windows, in one transaction. A duplicate is not stored and adds nothing,
//! so the sums are those of the stored events, whatever is sent again, in whatever order. [`Ledger::ingest`] stores the
//! events of other systems; [`Ledger::record_in`] those of the app, in its transactions; [`buffer`] counts requests in
//! memory.

mod admin;
mod aggregate;
mod backfill;
mod buffer;
mod changed_usage;
mod changes;
mod deletion;
mod event;
mod intake;
mod meters;
mod record;
mod retention;
mod routes;
mod sink;
mod store;
mod unmatched;

pub use event::{RejectReason, UsageOutcome};
pub(crate) use retention::LedgerRetention;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    db::{self, Db, Tx},
    events::{EnqueueJob, Events, TenantDeleted},
    http::Error,
    identity::{Authenticator, TenantId},
    jobs::Cron,
    module::{Mount, Registry},
    usage::{UsageEvent, UsageSink},
};
use uuid::Uuid;

use crate::{
    account::{BillingAccounts, schedule::AccountLock},
    meter::MeterSet,
    settings::UsageSettings,
};

use self::{
    backfill::CountUnmatched,
    buffer::UsageBuffer,
    changed_usage::ChangedUsage,
    changes::ChangedWindows,
    deletion::DeleteTenantUsage,
    event::{EventPolicy, NewUsage},
    intake::Intake,
    retention::PurgeUsage,
    sink::{LedgerSink, UsageOutboxReceiver},
};

/// The app's ledger of usage, from the [`Context`](omnistack_core::module::Context). Cheap to clone.
///
/// A module of the app records its own usage through [`UsageSink`]; this handle is for events that other systems report.
///
/// ```
/// use omnistack_billing::{Ledger, UsageOutcome};
/// use omnistack_core::{clock::Timestamp, http::Error, identity::TenantId, usage::UsageEvent};
///
/// /// Stores what a machine has measured, once, however often it reports it.
/// async fn report(ledger: &Ledger, tenant: TenantId, id: &str, pages: u32, at: Timestamp) -> Result<bool, Error> {
///     let event = UsageEvent::new(tenant, "pages", pages, at).once("scanner", id);
///     let outcomes = ledger.ingest(vec![event]).await?;
///     Ok(matches!(outcomes[0], UsageOutcome::Accepted { .. } | UsageOutcome::Duplicate))
/// }
/// # let _ = report;
/// ```
#[derive(Clone)]
pub struct Ledger(Arc<LedgerInner>);

struct LedgerInner {
    /// The app's database, without routing to tenant databases.
    db: Db,
    clock: Clock,
    meters: MeterSet,
    accounts: BillingAccounts,
    settings: UsageSettings,
    intake: Intake,
    buffer: UsageBuffer,
    changes: ChangedWindows,
    changed_usage: ChangedUsage,
}

/// Parts of a [`Ledger`].
pub(crate) struct LedgerParts {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) meters: MeterSet,
    pub(crate) accounts: BillingAccounts,
    pub(crate) settings: UsageSettings,
}

impl Ledger {
    pub(crate) fn new(parts: LedgerParts) -> Self {
        let LedgerParts { db, clock, events, meters, accounts, settings } = parts;
        let db = db.app_database();
        Self(Arc::new(LedgerInner {
            intake: Intake::default(),
            buffer: UsageBuffer::default(),
            changes: ChangedWindows::new(db.clone(), clock.clone(), events, accounts.clone()),
            changed_usage: ChangedUsage::default(),
            db,
            clock,
            meters,
            accounts,
            settings,
        }))
    }

    /// Stores events, of any tenants, and returns what became of each, in the same order. Events of calls at the same
    /// time are stored in one transaction. If this fails, it can be repeated with the same ids: what was stored is a
    /// duplicate then.
    ///
    /// # Errors
    /// 503 `USAGE_OVERLOADED` if too many events wait to be stored; 503 if the database is unavailable.
    pub async fn ingest(&self, events: Vec<UsageEvent>) -> Result<Vec<UsageOutcome>, Error> {
        let new = events.into_iter().map(|event| NewUsage::new(event, false)).collect();
        self.0.intake.ingest(self, new).await
    }

    /// Stores events in a transaction of the app's database, which is the only one that records usage of their tenants
    /// until it ends.
    pub(crate) async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<Vec<UsageOutcome>, db::Error> {
        let new: Vec<NewUsage> = events.into_iter().map(|event| NewUsage::new(event, false)).collect();
        self.record(tx, self.check(&new, EventPolicy::Report), AccountLock::Exclusive).await
    }

    /// Adds an event to a counter in memory, which is stored a few seconds later.
    pub(crate) fn count(&self, event: UsageEvent) {
        self.0.buffer.count(&self.0.meters, event, None);
    }

    /// Adds an event to a counter in memory whose units a reservation holds. When it is stored, the units are taken out
    /// of the reservation, in the same transaction.
    pub(crate) fn count_reserved(&self, event: UsageEvent, reservation: Uuid) {
        self.0.buffer.count(&self.0.meters, event, Some(reservation));
    }

    /// Stores what [`UsageSink::count`] has counted in memory. The app does so every few seconds (`USAGE_FLUSH`) and at
    /// its shutdown.
    ///
    /// # Errors
    /// The errors of the database. The counters are kept then, and the next call stores them.
    pub async fn flush(&self) -> Result<(), Error> {
        self.0.buffer.flush(self).await
    }

    /// Closes the usage of a tenant before `until`, in a transaction that bills it. Events of that time that arrive later
    /// are late. Transactions that record usage of the tenant wait for this one, so the sums that it reads afterwards are
    /// final.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn close_in(&self, tx: &mut Tx, tenant: TenantId, until: Timestamp) -> Result<(), db::Error> {
        store::close(tx, tenant, until, self.0.clock.now(), self.0.accounts.zone()).await
    }

    pub(crate) fn meters(&self) -> &MeterSet {
        &self.0.meters
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn accounts(&self) -> &BillingAccounts {
        &self.0.accounts
    }

    pub(crate) fn changed_usage(&self) -> &ChangedUsage {
        &self.0.changed_usage
    }

    pub(crate) fn settings(&self) -> &UsageSettings {
        &self.0.settings
    }

    /// Stores the definitions of the meters, and checks that none has changed.
    pub(crate) async fn start(&self) -> Result<(), BoxError> {
        meters::store_definitions(&self.0.db, self.0.clock.now(), &self.0.meters).await
    }

    /// Stores counters and tells tenants of limits, until the app shuts down.
    pub(crate) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        tokio::join!(self.0.buffer.run(self, shutdown.clone()), self.0.changes.run(&self.0.meters, shutdown));
        Ok(())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// Registers the ledger, its jobs and its routes. The routes exist if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, meters: MeterSet, settings: UsageSettings) {
    let retention = settings.clone();
    let built = Arc::new(OnceLock::new());
    registry
        .outbox_receiver(UsageOutboxReceiver(Arc::clone(&built)))
        .provide_from(move |ctx| {
            let ledger = Ledger::new(LedgerParts {
                db: ctx.get()?,
                clock: ctx.get()?,
                events: ctx.get()?,
                meters: meters.clone(),
                accounts: ctx.get()?,
                settings: settings.clone(),
            });
            Ok(built.get_or_init(|| ledger).clone())
        })
        .provide_from(|ctx| Ok(UsageSink::new(LedgerSink(ctx.get()?))))
        .background_service("usage", |ctx| {
            let ledger = ctx.get::<Ledger>()?;
            Ok(move |shutdown| {
                let ledger = ledger.clone();
                async move { ledger.run(shutdown).await }
            })
        })
        .job::<CountUnmatched>(|ctx| ctx.get::<Ledger>())
        .job::<DeleteTenantUsage>(|ctx| ctx.get::<Ledger>())
        .subscribe("delete-tenant-usage", |ctx| {
            Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| DeleteTenantUsage { tenant: gone.tenant }))
        })
        .job::<PurgeUsage>(move |ctx| {
            Ok(LedgerRetention { db: ctx.get::<Db>()?.app_database(), clock: ctx.get()?, settings: retention })
        })
        .cron(Cron::new("29 3 * * *", PurgeUsage {}))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let mount = Mount::app("/usage").permissions("usage").without_plan_limits();
            registry.routes(mount, routes::api(), |ctx| ctx.get::<Ledger>()).routes(
                Mount::admin("/usage"),
                admin::api(),
                admin::state,
            );
        });
}
