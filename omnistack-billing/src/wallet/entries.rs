//! The rows of statements.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, ErrorKind, Tx},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    credits::Credits,
    model::{CreditPart, WalletEntry, WalletEntryId, WalletEntryKind, WalletGrantId},
    store::{Wallet, WalletKey},
};

/// A part of a use or of a return, as the column `parts` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPart {
    grant: WalletGrantId,
    /// In millionths, more than zero.
    amount: i64,
    /// Whether the part was not returned, because its grant has expired or was refunded.
    #[serde(default)]
    lost: bool,
}

impl StoredPart {
    pub(super) fn new(part: CreditPart, lost: bool) -> Self {
        Self { grant: part.grant_id, amount: part.amount.millionths(), lost }
    }

    pub(super) fn amount(self) -> Credits {
        Credits::from_millionths(self.amount)
    }

    pub(super) fn is_lost(self) -> bool {
        self.lost
    }

    /// Returns the part of a grant.
    pub(super) fn part(self) -> CreditPart {
        CreditPart { grant_id: self.grant, amount: self.amount() }
    }
}

/// The grants that an entry concerns.
#[derive(Clone, Copy, Debug)]
pub(super) enum EntryGrants<'a> {
    One(WalletGrantId),
    Parts(&'a [StoredPart]),
}

/// An entry that is not stored yet. Its balance is that of the wallet.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry<'a> {
    pub(super) kind: WalletEntryKind,
    /// The change of the balance.
    pub(super) amount: Credits,
    pub(super) grants: EntryGrants<'a>,
    pub(super) key: &'a str,
    pub(super) description: &'a str,
}

/// Inserts an entry, after [`Wallet::advance`] and the change of the balance. Returns its id.
///
/// A grant can be adjusted more than once, and a clock that is behind could let it expire again. So the keys of these
/// entries end with their ids, and only those of the other kinds occur once.
pub(super) async fn insert(
    tx: &mut Tx,
    wallet: &Wallet,
    entry: NewEntry<'_>,
    now: Timestamp,
) -> Result<WalletEntryId, Error> {
    let id = WalletEntryId::new(wallet.updated_at);
    let key = match entry.kind {
        WalletEntryKind::Expired | WalletEntryKind::Adjusted => format!("{}{}", entry.key, key_suffix(id)),
        WalletEntryKind::Granted | WalletEntryKind::Used | WalletEntryKind::Returned => entry.key.to_owned(),
    };
    let (grant, parts) = match entry.grants {
        EntryGrants::One(grant) => (Some(grant), None),
        EntryGrants::Parts(parts) => {
            let parts = serde_json::to_string(parts).map_err(|error| Error::new(ErrorKind::Other, error.into()))?;
            (None, Some(parts))
        }
    };
    let sql =
        "insert into omni_wallet_entries (id, tenant_id, environment, kind, amount, balance, grant_id, parts, key,
        description, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let insert = tx.query(sql).bind(id).bind(wallet.key.tenant).bind(wallet.key.environment.as_str());
    let insert = insert.bind(entry.kind.as_str()).bind(entry.amount.millionths()).bind(wallet.balance.millionths());
    let insert = insert.bind(grant).bind(parts).bind(key).bind(entry.description).bind(now);
    insert.execute().await?;
    Ok(id)
}

fn key_suffix(id: WalletEntryId) -> String {
    format!("/{id}")
}

/// An entry as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct EntryRow {
    pub(super) id: WalletEntryId,
    kind: String,
    amount: i64,
    balance: i64,
    pub(super) grant_id: Option<WalletGrantId>,
    parts: Option<String>,
    key: String,
    description: String,
    created_at: Timestamp,
}

impl EntryRow {
    pub(super) fn amount(&self) -> Credits {
        Credits::from_millionths(self.amount)
    }

    pub(super) fn balance(&self) -> Credits {
        Credits::from_millionths(self.balance)
    }

    pub(super) fn description(&self) -> &str {
        &self.description
    }

    /// Returns the parts of a use or of a return. Fails if they can't be read.
    pub(super) fn parts(&self) -> Result<Vec<StoredPart>, Error> {
        let Some(parts) = self.parts.as_deref() else { return Ok(Vec::new()) };
        serde_json::from_str(parts).map_err(|_| self.unreadable("parts"))
    }

    fn unreadable(&self, column: &str) -> Error {
        Error::unreadable("omni_wallet_entries", self.id, column)
    }

    /// Returns the entry as the API shows it. Fails if a column can't be read.
    pub(super) fn read(self) -> Result<WalletEntry, Error> {
        let row = self;
        let (amount, balance) = (row.amount(), row.balance());
        let kind = WalletEntryKind::from_stored(&row.kind).ok_or_else(|| row.unreadable("kind"))?;
        let parts = match row.grant_id {
            Some(grant_id) => vec![CreditPart { grant_id, amount }],
            None => {
                let kept = row.parts()?.into_iter().filter(|part| !part.is_lost()).map(StoredPart::part);
                let is_use = kind == WalletEntryKind::Used;
                kept.map(|part| if is_use { CreditPart { amount: -part.amount, ..part } } else { part }).collect()
            }
        };
        let key = row.key.strip_suffix(&key_suffix(row.id)).unwrap_or(&row.key).to_owned();
        let Self { id, description, created_at, .. } = row;
        Ok(WalletEntry { id, kind, amount, balance, key, description, parts, created_at })
    }
}

/// Returns the entry of a kind with this key.
pub(super) async fn find(
    tx: &mut Tx,
    wallet: WalletKey,
    kind: WalletEntryKind,
    key: &str,
) -> Result<Option<EntryRow>, Error> {
    let sql = "select id, kind, amount, balance, grant_id, parts, key, description, created_at from omni_wallet_entries
        where tenant_id = $1 and environment = $2 and kind = $3 and key = $4";
    let select = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(kind.as_str());
    select.bind(key).fetch_optional().await
}

/// Returns the newest entries, at most `limit`. With `before`, only older ones.
pub(super) async fn newest(
    tx: &mut Tx,
    wallet: WalletKey,
    before: Option<WalletEntryId>,
    limit: u32,
) -> Result<Vec<EntryRow>, Error> {
    let before = before.unwrap_or_else(|| WalletEntryId::from_uuid(Uuid::max()));
    let sql = "select id, kind, amount, balance, grant_id, parts, key, description, created_at from omni_wallet_entries
        where tenant_id = $1 and environment = $2 and id < $3 order by id desc limit $4";
    let select = tx.query(sql).bind(wallet.tenant).bind(wallet.environment.as_str()).bind(before);
    select.bind(i64::from(limit)).fetch_all().await
}
