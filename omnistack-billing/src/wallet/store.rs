//! The rows of wallets and of their grants.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Sql, Tx},
    identity::TenantId,
    usage::DataEnvironment,
};

use super::{
    credits::Credits,
    model::{WalletGrant, WalletGrantId},
    rules::{self, OpenGrant},
};

/// The key of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WalletKey {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
}

/// A wallet as its row has it. The transaction that changes it has locked the row.
#[derive(Clone, Debug)]
pub(super) struct Wallet {
    pub(super) key: WalletKey,
    pub(super) balance: Credits,
    pub(super) low_below: Option<Credits>,
    pub(super) top_up_amount: Option<Credits>,
    pub(super) low_since: Option<Timestamp>,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
}

impl Wallet {
    /// Sets the time of a change, and returns it. It is later than that of the change before, whatever the clocks of
    /// the replicas are, so that ids made of it have the order of the changes.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.updated_at = now.max(self.updated_at + Duration::from_micros(1));
        self.updated_at
    }

    pub(super) fn change_balance(&mut self, change: Credits) {
        self.balance = self.balance + change;
    }

    /// Forgets since when the balance was low, if it no longer is.
    pub(super) fn clear_low(&mut self) {
        if !rules::is_low(self.balance, self.low_below) {
            self.low_since = None;
        }
    }

    /// Notes since when the balance is low. Returns whether it was not low before.
    pub(super) fn note_low(&mut self) -> bool {
        let becomes_low = self.low_since.is_none() && rules::is_low(self.balance, self.low_below);
        if becomes_low {
            self.low_since = Some(self.updated_at);
        }
        becomes_low
    }
}

#[derive(omnistack_core::db::FromRow)]
struct WalletRow {
    balance: i64,
    low_below: Option<i64>,
    top_up_amount: Option<i64>,
    low_since: Option<Timestamp>,
    updated_at: Timestamp,
}

impl WalletRow {
    fn read(self, key: WalletKey) -> Wallet {
        Wallet {
            key,
            balance: Credits::from_millionths(self.balance),
            low_below: self.low_below.map(Credits::from_millionths),
            top_up_amount: self.top_up_amount.map(Credits::from_millionths),
            low_since: self.low_since,
            updated_at: self.updated_at,
        }
    }
}

const LOCK_WALLET: Sql = Sql {
    postgres: "select balance, low_below, top_up_amount, low_since, updated_at from omni_wallets
        where tenant_id = $1 and environment = $2 for update",
    sqlite: "select balance, low_below, top_up_amount, low_since, updated_at from omni_wallets
        where tenant_id = $1 and environment = $2",
};

/// Returns a wallet, and keeps other transactions from changing it. On SQLite no other transaction writes anyway.
pub(super) async fn lock(tx: &mut Tx, key: WalletKey) -> Result<Option<Wallet>, Error> {
    let select = tx.query(LOCK_WALLET).bind(key.tenant).bind(key.environment.as_str());
    let row: Option<WalletRow> = select.fetch_optional().await?;
    Ok(row.map(|row| row.read(key)))
}

/// Returns a wallet as [`lock`] does, and creates it if the tenant has none.
pub(super) async fn lock_or_create(tx: &mut Tx, key: WalletKey, now: Timestamp) -> Result<Wallet, Error> {
    if let Some(wallet) = lock(tx, key).await? {
        return Ok(wallet);
    }
    let sql = "insert into omni_wallets (tenant_id, environment, balance, created_at, updated_at)
        values ($1, $2, 0, $3, $3) on conflict (tenant_id, environment) do nothing";
    tx.query(sql).bind(key.tenant).bind(key.environment.as_str()).bind(now).execute().await?;
    let select = tx.query(LOCK_WALLET).bind(key.tenant).bind(key.environment.as_str());
    let row: WalletRow = select.fetch_one().await?;
    Ok(row.read(key))
}

/// Returns a wallet without what has expired in it.
pub(super) async fn find(tx: &mut Tx, key: WalletKey, now: Timestamp) -> Result<Option<Wallet>, Error> {
    let sql = "select cast(balance - coalesce((select sum(remaining) from omni_wallet_grants
            where omni_wallet_grants.tenant_id = omni_wallets.tenant_id
            and omni_wallet_grants.environment = omni_wallets.environment
            and remaining > 0 and expires_at <= $3), 0) as bigint) as balance,
        low_below, top_up_amount, low_since, updated_at from omni_wallets where tenant_id = $1 and environment = $2";
    let select = tx.query(sql).bind(key.tenant).bind(key.environment.as_str()).bind(now);
    let row: Option<WalletRow> = select.fetch_optional().await?;
    Ok(row.map(|row| row.read(key)))
}

/// Updates a wallet that the transaction has locked.
pub(super) async fn update(tx: &mut Tx, wallet: &Wallet) -> Result<(), Error> {
    let sql =
        "update omni_wallets set balance = $3, low_below = $4, top_up_amount = $5, low_since = $6, updated_at = $7
        where tenant_id = $1 and environment = $2";
    let update = tx.query(sql).bind(wallet.key.tenant).bind(wallet.key.environment.as_str());
    let update = update.bind(wallet.balance.millionths()).bind(wallet.low_below.map(Credits::millionths));
    let update = update.bind(wallet.top_up_amount.map(Credits::millionths)).bind(wallet.low_since);
    update.bind(wallet.updated_at).execute().await.map(drop)
}

/// A grant as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct GrantRow {
    pub(super) id: WalletGrantId,
    pub(super) key: String,
    pub(super) description: String,
    pub(super) priority: i32,
    amount: i64,
    remaining: i64,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

impl GrantRow {
    /// Creates the row of a new grant, of which all is left.
    pub(super) fn new(id: WalletGrantId, key: String, amount: Credits, created_at: Timestamp) -> Self {
        let (amount, description) = (amount.millionths(), String::new());
        Self { id, key, description, priority: 0, amount, remaining: amount, expires_at: None, created_at }
    }

    pub(super) fn amount(&self) -> Credits {
        Credits::from_millionths(self.amount)
    }

    pub(super) fn remaining(&self) -> Credits {
        Credits::from_millionths(self.remaining)
    }

    pub(super) fn set_amounts(&mut self, amount: Credits, remaining: Credits) {
        (self.amount, self.remaining) = (amount.millionths(), remaining.millionths());
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(super) fn open(&self) -> OpenGrant {
        OpenGrant { id: self.id, remaining: self.remaining() }
    }
}

impl From<GrantRow> for WalletGrant {
    fn from(row: GrantRow) -> Self {
        let (amount, remaining) = (row.amount(), row.remaining());
        let GrantRow { id, key, description, priority, expires_at, created_at, .. } = row;
        Self { id, key, description, priority, amount, remaining, expires_at, created_at }
    }
}

/// Inserts a grant.
pub(super) async fn insert_grant(tx: &mut Tx, wallet: WalletKey, grant: &GrantRow) -> Result<(), Error> {
    let sql = "insert into omni_wallet_grants (tenant_id, environment, id, key, description, priority, amount,
        remaining, expires_at, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let insert = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(grant.id);
    let insert = insert.bind(grant.key.as_str()).bind(grant.description.as_str()).bind(grant.priority);
    let insert = insert.bind(grant.amount).bind(grant.remaining).bind(grant.expires_at).bind(grant.created_at);
    insert.execute().await.map(drop)
}

/// Returns the grant with this key.
pub(super) async fn grant_by_key(tx: &mut Tx, wallet: WalletKey, key: &str) -> Result<Option<GrantRow>, Error> {
    let sql = "select id, key, description, priority, amount, remaining, expires_at, created_at from omni_wallet_grants
        where tenant_id = $1 and environment = $2 and key = $3";
    tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(key).fetch_optional().await
}

/// Returns the grant with this id.
pub(super) async fn grant_by_id(tx: &mut Tx, wallet: WalletKey, id: WalletGrantId) -> Result<Option<GrantRow>, Error> {
    let sql = "select id, key, description, priority, amount, remaining, expires_at, created_at from omni_wallet_grants
        where tenant_id = $1 and environment = $2 and id = $3";
    tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(id).fetch_optional().await
}

/// Returns grants that have credits left and have not expired, in the order in which they are used.
pub(super) async fn open_grants(
    tx: &mut Tx,
    wallet: WalletKey,
    now: Timestamp,
    skip: usize,
    limit: usize,
) -> Result<Vec<GrantRow>, Error> {
    let sql = "select id, key, description, priority, amount, remaining, expires_at, created_at from omni_wallet_grants
        where tenant_id = $1 and environment = $2 and remaining > 0 and (expires_at is null or expires_at > $3)
        order by priority, expires_at nulls last, id limit $4 offset $5";
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let select = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(now);
    select.bind(number(limit)).bind(number(skip)).fetch_all().await
}

/// Returns the grants that have credits left and have expired, in the order of their ids.
pub(super) async fn due_grants(tx: &mut Tx, wallet: WalletKey, now: Timestamp) -> Result<Vec<GrantRow>, Error> {
    let sql = "select id, key, description, priority, amount, remaining, expires_at, created_at from omni_wallet_grants
        where tenant_id = $1 and environment = $2 and remaining > 0 and expires_at <= $3 order by id";
    tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(now).fetch_all().await
}

/// Updates the amounts and the expiry of a grant.
pub(super) async fn update_grant(tx: &mut Tx, wallet: WalletKey, grant: &GrantRow) -> Result<(), Error> {
    let sql = "update omni_wallet_grants set amount = $4, remaining = $5, expires_at = $6
        where tenant_id = $1 and environment = $2 and id = $3";
    let update = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(grant.id);
    update.bind(grant.amount).bind(grant.remaining).bind(grant.expires_at).execute().await.map(drop)
}

/// Adds to what is left of a grant; a negative amount takes it away.
pub(super) async fn change_remaining(
    tx: &mut Tx,
    wallet: WalletKey,
    grant: WalletGrantId,
    change: Credits,
) -> Result<(), Error> {
    let sql = "update omni_wallet_grants set remaining = remaining + $4
        where tenant_id = $1 and environment = $2 and id = $3";
    let update = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(grant);
    update.bind(change.millionths()).execute().await.map(drop)
}

/// Returns wallets that have expired grants with credits left, at most `limit`, in the order of their keys. With
/// `after`, only those that follow. The transaction must be one of all tenants.
pub(super) async fn wallets_with_due_grants(
    tx: &mut Tx,
    now: Timestamp,
    after: Option<(TenantId, String)>,
    limit: i64,
) -> Result<Vec<(TenantId, String)>, Error> {
    let (tenant, environment) = after.unwrap_or_else(|| (TenantId::from_uuid(uuid::Uuid::nil()), String::new()));
    let sql = "select distinct tenant_id, environment from omni_wallet_grants
        where remaining > 0 and expires_at <= $1 and (tenant_id, environment) > ($2, $3)
        order by tenant_id, environment limit $4";
    tx.query(sql).bind(now).bind(tenant).bind(environment).bind(limit).fetch_all().await
}
