//! Grants: adding, adjusting and expiring them.

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    db::{self, Tx},
    http::{Error, FieldError},
    identity::{Identity, TenantId},
    usage::DataEnvironment,
};
use serde_json::json;

use super::{
    credits::Credits,
    entries::{self, EntryGrants, NewEntry},
    handle::{Wallets, check_transaction},
    model::{
        GrantOutcome, NewGrant, WalletEntryKind, WalletGrant, WalletGrantId, amount_problem, check,
        description_problem, key_problem,
    },
    rules::{self, MAX_WALLET_BALANCE},
    store::{self, GrantRow, Wallet, WalletKey},
};

impl Wallets {
    /// Adds a grant in the caller's transaction, which is one of the grant's tenant in the app's database. A second
    /// grant of the tenant and environment with the same key and amount changes nothing.
    ///
    /// # Errors
    /// 422 for a key, amount or description out of its range, and for a new grant that has expired; 409
    /// `GRANT_CONFLICT` if there is a grant with this key and another amount; 409 `WALLET_FULL` if the balance would be
    /// more than a billion; the errors of the database.
    pub async fn grant_in(&self, tx: &mut Tx, grant: NewGrant) -> Result<GrantOutcome, Error> {
        check_transaction(tx)?;
        let NewGrant { tenant, environment, key, amount, priority, expires_at, description } = grant;
        check([key_problem(&key), amount_problem("amount", amount), description_problem(&description)])?;
        let now = self.now();
        let mut wallet = store::lock_or_create(tx, WalletKey { tenant, environment }, now).await?;
        if let Some(entry) = entries::find(tx, wallet.key, WalletEntryKind::Granted, &key).await? {
            if entry.amount() != amount {
                return Err(grant_conflict(&key, entry.amount()));
            }
            let id = entry.grant_id.ok_or_else(|| Error::internal("the entry of a grant has no grant"))?;
            return Ok(GrantOutcome { id, granted: false });
        }
        check([expires_at.filter(|at| *at <= now).map(|_| FieldError::new("expires_at", "must be in the future"))])?;
        expire_due(tx, &mut wallet, now).await?;
        if !rules::has_room(wallet.balance, amount) {
            return Err(wallet_full(wallet.balance));
        }
        let id = WalletGrantId::new(wallet.advance(now));
        let mut row = GrantRow::new(id, key, amount, now);
        (row.description, row.priority, row.expires_at) = (description, priority, expires_at);
        wallet.change_balance(amount);
        wallet.clear_low();
        store::insert_grant(tx, wallet.key, &row).await?;
        record(tx, &wallet, WalletEntryKind::Granted, amount, &row, now).await?;
        store::update(tx, &wallet).await?;
        Ok(GrantOutcome { id, granted: true })
    }

    /// Adjusts a grant in the caller's transaction to an amount, or to what is used of it if that is more. Returns the
    /// amount of the grant. It is for refunds: pass what was paid less all refunds of the payment, so that a repeated
    /// call changes nothing.
    ///
    /// If the amount is less than what is used, the grant expires at once: used credits that are returned to it later are
    /// lost, because they were refunded.
    ///
    /// # Errors
    /// 404 if the tenant has no grant with this key; 422 for an amount below zero or above a billion; 409
    /// `GRANT_EXPIRED` if the grant would grow after it has expired; 409 `WALLET_FULL` if the balance would be more
    /// than a billion; the errors of the database.
    pub async fn adjust_grant_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        environment: DataEnvironment,
        key: &str,
        target: Credits,
    ) -> Result<Credits, Error> {
        let (_, adjusted) = self.adjust(tx, WalletKey { tenant, environment }, key, target).await?;
        Ok(adjusted.amount())
    }

    /// Adds a grant for an operator. Returns it, and whether the credits were added.
    ///
    /// # Errors
    /// Those of [`grant_in`](Self::grant_in).
    pub(super) async fn grant_as_operator(
        &self,
        operator: &Identity,
        grant: NewGrant,
    ) -> Result<(WalletGrant, bool), Error> {
        let (tenant, environment, key) = (grant.tenant, grant.environment, grant.key.clone());
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let outcome = self.grant_in(&mut tx, grant).await?;
        let row = store::grant_by_key(&mut tx, WalletKey { tenant, environment }, &key).await?.ok_or_else(no_grant)?;
        if outcome.granted {
            let details = json!({
                "environment": environment, "key": key, "amount": row.amount(), "expires_at": row.expires_at,
            });
            let entry = AuditEntry::new("wallet.granted").actor(operator).for_tenant(tenant);
            self.0.log.record_in(&mut tx, entry.resource("wallet_grant", row.id).details(details)).await?;
        }
        tx.commit().await?;
        Ok((row.into(), outcome.granted))
    }

    /// Adjusts a grant for an operator. Returns the grant.
    ///
    /// # Errors
    /// Those of [`adjust_grant_in`](Self::adjust_grant_in).
    pub(super) async fn adjust_as_operator(
        &self,
        operator: &Identity,
        wallet: WalletKey,
        key: &str,
        target: Credits,
    ) -> Result<WalletGrant, Error> {
        let mut tx = self.0.db.tenant(wallet.tenant).begin().await?;
        let (before, row) = self.adjust(&mut tx, wallet, key, target).await?;
        if before != row {
            let details = json!({
                "environment": wallet.environment, "key": key, "from": before.amount(), "to": row.amount(),
                "expires_at": row.expires_at,
            });
            let entry = AuditEntry::new("wallet.adjusted").actor(operator).for_tenant(wallet.tenant);
            self.0.log.record_in(&mut tx, entry.resource("wallet_grant", row.id).details(details)).await?;
        }
        tx.commit().await?;
        Ok(row.into())
    }

    /// Adjusts a grant. Returns it as it was before, and as it is afterwards.
    async fn adjust(
        &self,
        tx: &mut Tx,
        wallet: WalletKey,
        key: &str,
        target: Credits,
    ) -> Result<(GrantRow, GrantRow), Error> {
        check_transaction(tx)?;
        if target < Credits::ZERO || target > MAX_WALLET_BALANCE {
            let message = format!("must be at least 0 and at most {MAX_WALLET_BALANCE}");
            return Err(Error::invalid([FieldError::new("amount", message)]));
        }
        let now = self.now();
        let mut wallet = store::lock(tx, wallet).await?.ok_or_else(no_grant)?;
        expire_due(tx, &mut wallet, now).await?;
        let mut grant = store::grant_by_key(tx, wallet.key, key).await?.ok_or_else(no_grant)?;
        let before = grant.clone();
        let adjusted = rules::adjust(grant.amount(), grant.remaining(), target, grant.has_expired(now));
        let adjusted = adjusted.ok_or_else(|| grant_expired(key))?;
        if adjusted.change > Credits::ZERO && !rules::has_room(wallet.balance, adjusted.change) {
            return Err(wallet_full(wallet.balance));
        }
        grant.set_amounts(adjusted.amount, adjusted.remaining);
        if adjusted.ends && !grant.has_expired(now) {
            grant.expires_at = Some(now);
        }
        if grant == before {
            return Ok((before, grant));
        }
        store::update_grant(tx, wallet.key, &grant).await?;
        if adjusted.change == Credits::ZERO {
            return Ok((before, grant));
        }
        wallet.advance(now);
        wallet.change_balance(adjusted.change);
        wallet.clear_low();
        record(tx, &wallet, WalletEntryKind::Adjusted, adjusted.change, &grant, now).await?;
        store::update(tx, &wallet).await?;
        Ok((before, grant))
    }
}

/// Expires what is left of the grants of a wallet that have expired. Returns their number.
pub(super) async fn expire_due(tx: &mut Tx, wallet: &mut Wallet, now: Timestamp) -> Result<usize, db::Error> {
    let due = store::due_grants(tx, wallet.key, now).await?;
    if due.is_empty() {
        return Ok(0);
    }
    for grant in &due {
        let expired = -grant.remaining();
        wallet.advance(now);
        wallet.change_balance(expired);
        store::change_remaining(tx, wallet.key, grant.id, expired).await?;
        record(tx, wallet, WalletEntryKind::Expired, expired, grant, now).await?;
    }
    store::update(tx, wallet).await?;
    Ok(due.len())
}

/// Inserts the entry of a change of one grant.
async fn record(
    tx: &mut Tx,
    wallet: &Wallet,
    kind: WalletEntryKind,
    amount: Credits,
    grant: &GrantRow,
    now: Timestamp,
) -> Result<(), db::Error> {
    let grants = EntryGrants::One(grant.id);
    let entry = NewEntry { kind, amount, grants, key: &grant.key, description: &grant.description };
    entries::insert(tx, wallet, entry, now).await.map(drop)
}

fn no_grant() -> Error {
    Error::not_found("the grant")
}

fn grant_conflict(key: &str, amount: Credits) -> Error {
    let message = format!("there is a grant `{key}` of {amount} credits; use another key for another grant");
    Error::conflict("GRANT_CONFLICT", message).with_detail("amount", amount)
}

fn grant_expired(key: &str) -> Error {
    let message = format!("the grant `{key}` has expired and can't grow; add a grant with another key");
    Error::conflict("GRANT_EXPIRED", message)
}

fn wallet_full(balance: Credits) -> Error {
    let message = format!("the balance would be more than {MAX_WALLET_BALANCE} credits; grant fewer");
    Error::conflict("WALLET_FULL", message).with_detail("balance", balance)
}
