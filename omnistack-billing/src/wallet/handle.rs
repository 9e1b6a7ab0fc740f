//! The handle of wallets, and what it reads.

use std::{fmt, sync::Arc};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::{Db, Tx},
    events::Events,
    http::{CursorPage, Error, FieldError, MAX_PAGE_SIZE},
    identity::{Identity, TenantId},
    jobs::Jobs,
    usage::DataEnvironment,
};
use serde_json::json;

use super::{
    credits::Credits,
    entries::{self, EntryRow},
    grants,
    model::{self, WalletBalance, WalletEntry, WalletEntryId, amount_problem},
    rules,
    store::{self, WalletKey},
    top_up::TopUp,
};

/// Largest number of grants that a balance lists.
const MAX_LISTED_GRANTS: usize = 100;

/// The wallets of all tenants. It is in the [`Context`](omnistack_core::module::Context) of an app with the module
/// `Billing`. Cheap to clone.
///
/// ```
/// use omnistack_billing::{Credits, UseCredits, Wallets};
/// use omnistack_core::{db::Db, http::Error, identity::TenantId};
///
/// /// Stores a report, for which the tenant pays two credits.
/// async fn store_report(db: &Db, wallets: &Wallets, tenant: TenantId, id: u64) -> Result<(), Error> {
///     let mut tx = db.app_database().tenant(tenant).begin().await?;
///     // … insert the report …
///     wallets.use_in(&mut tx, UseCredits::new(tenant, format!("report/{id}"), Credits::from(2))).await?;
///     Ok(tx.commit().await?)
/// }
/// # let _ = store_report;
/// ```
#[derive(Clone)]
pub struct Wallets(pub(super) Arc<WalletParts>);

/// The dependencies of wallets.
pub(super) struct WalletParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) jobs: Jobs,
    pub(super) log: AuditLog,
    pub(super) top_up: Option<Arc<dyn TopUp>>,
}

impl Wallets {
    pub(super) fn new(parts: WalletParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the balance of a tenant, with the grants that have credits left. What has expired does not count,
    /// whether or not the statement has it yet.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn balance(&self, tenant: TenantId, environment: DataEnvironment) -> Result<WalletBalance, Error> {
        let key = WalletKey { tenant, environment };
        let now = self.now();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let balance = read(&mut tx, key, now).await?;
        tx.commit().await?;
        Ok(balance)
    }

    /// Returns a page of the statement of a tenant, the newest entries first. With `before`, only older ones. `limit`
    /// is the largest number of entries, at most 100.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn statement(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        before: Option<WalletEntryId>,
        limit: u32,
    ) -> Result<CursorPage<WalletEntry>, Error> {
        let limit = limit.clamp(1, MAX_PAGE_SIZE);
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut rows = entries::newest(&mut tx, WalletKey { tenant, environment }, before, limit + 1).await?;
        tx.commit().await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
        let items = rows.into_iter().map(EntryRow::read).collect::<Result<_, _>>()?;
        Ok(CursorPage { items, next_cursor })
    }

    /// Sets the balance below which the caller's tenant is told, and the amount of an automatic top-up.
    ///
    /// # Errors
    /// 422 for an amount that is not more than zero, for an automatic top-up without `low_below`, if both together are
    /// more than a billion, and for an automatic top-up if the app has none; 403 `IMPERSONATION_REFUSED` for an
    /// operator who impersonates a user, because the settings outlive the impersonation.
    pub(super) async fn set_settings(
        &self,
        caller: &Identity,
        environment: DataEnvironment,
        low_below: Option<Credits>,
        top_up_amount: Option<Credits>,
    ) -> Result<WalletBalance, Error> {
        caller.deny_impersonation()?;
        let tenant = caller.require_tenant()?;
        model::check([
            low_below.and_then(|amount| amount_problem("low_below", amount)),
            top_up_amount.and_then(|amount| amount_problem("top_up_amount", amount)),
            top_up_amount.and_then(|amount| self.top_up_problem(amount, low_below)),
        ])?;
        let now = self.now();
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let mut wallet = store::lock_or_create(&mut tx, WalletKey { tenant, environment }, now).await?;
        grants::expire_due(&mut tx, &mut wallet, now).await?;
        let had_top_up = wallet.top_up_amount.is_some();
        wallet.advance(now);
        (wallet.low_below, wallet.top_up_amount) = (low_below, top_up_amount);
        wallet.clear_low();
        let becomes_low = wallet.note_low();
        store::update(&mut tx, &wallet).await?;
        let details = json!({ "low_below": low_below, "top_up_amount": top_up_amount });
        let entry = AuditEntry::new("wallet_settings.updated").actor(caller).resource("wallet", environment);
        self.0.log.record_in(&mut tx, entry.details(details)).await?;
        if becomes_low {
            self.report_low_in(&mut tx, &wallet).await?;
        } else if !had_top_up {
            self.request_top_up_in(&mut tx, &wallet).await?;
        }
        let balance = read(&mut tx, wallet.key, now).await?;
        tx.commit().await?;
        Ok(balance)
    }

    fn top_up_problem(&self, amount: Credits, low_below: Option<Credits>) -> Option<FieldError> {
        let message = match (&self.0.top_up, low_below) {
            (None, _) => "must be null: the app has no automatic top-ups",
            (Some(_), None) => "needs `low_below`, the balance below which it happens",
            // What is paid must have room in the wallet.
            (Some(_), Some(balance)) if !rules::has_room(balance, amount) => {
                "is too large: together with `low_below`, it must be at most a billion"
            }
            (Some(_), Some(_)) => return None,
        };
        Some(FieldError::new("top_up_amount", message))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl fmt::Debug for Wallets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wallets")
    }
}

async fn read(tx: &mut Tx, key: WalletKey, now: Timestamp) -> Result<WalletBalance, Error> {
    let wallet = store::find(tx, key, now).await?;
    let grants = store::open_grants(tx, key, now, 0, MAX_LISTED_GRANTS).await?;
    Ok(WalletBalance {
        environment: key.environment,
        balance: wallet.as_ref().map_or(Credits::ZERO, |wallet| wallet.balance),
        low_below: wallet.as_ref().and_then(|wallet| wallet.low_below),
        top_up_amount: wallet.as_ref().and_then(|wallet| wallet.top_up_amount),
        low_since: wallet.as_ref().and_then(|wallet| wallet.low_since),
        grants: grants.into_iter().map(Into::into).collect(),
    })
}

/// Fails if a transaction is in a tenant database, which has no wallets.
pub(super) fn check_transaction(tx: &Tx) -> Result<(), Error> {
    if tx.in_tenant_database() {
        let message = "wallets are in the app's database: begin the transaction by `db.app_database().tenant(…)`";
        return Err(Error::internal(message));
    }
    Ok(())
}
