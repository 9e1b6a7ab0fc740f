//! Storage of audit entries: all SQL of this module.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    AuditChain, AuditEntry, AuditFilter, AuditRecord, ChainBreakKind, ChainHead, Error,
    encoding::{self, ChainedEntry},
    filter::ListPosition,
};
use crate::{
    clock::{Clock, Timestamp},
    crypto::Sha256,
    db::{self, Arguments, Db, Dialect, OutboxDestination, OutboxReceiver, Tx},
    http::{CursorPage, MAX_PAGE_SIZE},
    id::Id,
    identity::{TenantId, UserId},
};

pub(super) const COLUMNS: &str = "sequence, id, at, actor, action, resource, details, previous, hash";

const NEWEST_FIRST: &str = "order by at desc, tenant_id desc, sequence desc";

/// Largest number of actions that are looked up one by one for a filter on a prefix; for more, all entries are
/// scanned, newest first.
const MAX_ACTIONS: usize = 100;

/// Assigns the next number, computes the hash and inserts the entry in one round trip. The row of the chain's
/// head is locked until the caller commits.
const APPEND_POSTGRES: &str = "with head as (
    insert into omni_audit_chains as chain (tenant_id, sequence, previous, hash, checkpoint, checkpoint_hash)
    values ($1, 1, $2, sha256($2 || int8send(1) || $3), 0, $2)
    on conflict (tenant_id) do update set sequence = chain.sequence + 1, previous = chain.hash,
        hash = sha256(chain.hash || int8send(chain.sequence + 1) || $3)
    returning sequence, previous, hash
) insert into omni_audit_entries (tenant_id, id, at, actor, action, resource, details, sequence, previous, hash)
select $1, $4, $5, $6, $7, $8, $9, sequence, previous, hash from head";

/// Assigns the next number. A write transaction has the SQLite database alone.
const NEXT_SQLITE: &str = "update omni_audit_chains set sequence = sequence + 1, previous = hash where tenant_id = $1 returning sequence, previous";

/// Creates a chain if it does not exist. `on conflict` is not possible: the trigger that rejects an existing
/// chain fires before it. The statement runs for every entry, so that the number of statements does not reveal
/// whether the chain existed.
const BEGIN_SQLITE: &str =
    "insert into omni_audit_chains (tenant_id, sequence, previous, hash, checkpoint, checkpoint_hash)
    select $1, 0, $2, $2, 0, $2 where not exists (select 1 from omni_audit_chains where tenant_id = $1)";

/// Appends an entry to its chain.
pub(super) async fn append(tx: &mut Tx, now: Timestamp, mut entry: AuditEntry) -> Result<(), db::Error> {
    let details = entry.take_details();
    let AuditEntry { action, actor, tenant, resource, .. } = entry;
    let chain = AuditChain::from(tenant);
    if tenant.is_some_and(|tenant| tenant.uuid().is_nil()) {
        let refused = "the nil id is not a tenant's id: it stands for the app's chain";
        return Err(db::Error::new(db::ErrorKind::InvalidValue, refused.into()));
    }
    let details = details.map(|details| details.to_string());
    let link = ChainedEntry {
        sequence: 0,
        id: Id::new(now),
        at: now,
        actor,
        action,
        resource,
        details,
        previous: Sha256::ZERO,
        hash: Sha256::ZERO,
    };
    match tenant {
        Some(tenant) if tx.in_app_database() => {
            db::add_to_outbox(tx, tenant, OUTBOX_KIND, &QueuedAuditEntry { tenant, link }, now).await
        }
        _ if tx.in_tenant_database() && tx.tenant() != tenant => {
            let refused = "a transaction of a tenant database records entries of that tenant only: record entries of \
                           the app and of other tenants in a transaction of `db.main()`";
            Err(db::Error::new(db::ErrorKind::InvalidValue, refused.into()))
        }
        _ => append_to_chain(tx, chain, link).await,
    }
}

/// Entry recorded in the app's database that is to be appended to the chain in a tenant database.
#[derive(Serialize, Deserialize)]
struct QueuedAuditEntry {
    tenant: TenantId,
    link: ChainedEntry,
}

/// Outbox kind of audit entries that wait for a tenant's chain.
const OUTBOX_KIND: &str = "audit";

/// The receiver of entries for the chains in tenant databases.
#[derive(Clone, Debug)]
pub(super) struct AuditReceiver(pub(super) Clock);

#[async_trait]
impl OutboxReceiver for AuditReceiver {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    fn destination(&self) -> OutboxDestination {
        OutboxDestination::Tenant
    }

    /// Appends the entry to the tenant's chain: in the tenant's database, or in the app's if the tenant was deleted.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let QueuedAuditEntry { tenant, link } =
            serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        let received =
            tx.in_tenant_database() && !db::mark_received(tx, link.id.uuid(), OUTBOX_KIND, self.0.now()).await?;
        if received { Ok(()) } else { append_to_chain(tx, AuditChain::Tenant(tenant), link).await }
    }
}

async fn append_to_chain(tx: &mut Tx, chain: AuditChain, mut link: ChainedEntry) -> Result<(), db::Error> {
    let (content, zero) = (link.content(chain), Sha256::ZERO.as_bytes().to_vec());
    if tx.dialect() == Dialect::Postgres {
        let append = tx.query(APPEND_POSTGRES).bind(chain.id()).bind(zero).bind(content);
        let append = append.bind(link.id).bind(link.at).bind(link.actor);
        return append.bind(link.action).bind(link.resource).bind(link.details).execute().await.map(drop);
    }
    tx.query(BEGIN_SQLITE).bind(chain.id()).bind(zero).execute().await?;
    let (sequence, previous): (i64, Vec<u8>) = tx.query(NEXT_SQLITE).bind(chain.id()).fetch_one().await?;
    (link.sequence, link.previous) = (sequence, Sha256::from_bytes(&previous).unwrap_or(Sha256::ZERO));
    link.hash = encoding::hash(link.previous, sequence, &content);
    let hash = link.hash.as_bytes().to_vec();
    tx.query("update omni_audit_chains set hash = $1 where tenant_id = $2")
        .bind(hash.clone())
        .bind(chain.id())
        .execute()
        .await?;
    tx.query(
        "insert into omni_audit_entries (tenant_id, sequence, id, at, actor, action, resource, details, previous, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(chain.id())
    .bind(sequence)
    .bind(link.id)
    .bind(link.at)
    .bind(link.actor)
    .bind(link.action)
    .bind(link.resource)
    .bind(link.details)
    .bind(previous)
    .bind(hash)
    .execute()
    .await
    .map(drop)
}

/// A store that reads, verifies, exports and deletes the entries of
/// [`AuditLog::to_database`](super::AuditLog::to_database). Cheap to clone; every [`Context`](crate::module::Context)
/// provides one.
///
/// ```
/// use futures_util::TryStreamExt as _;
/// use omnistack_core::audit::{AuditEntry, AuditLog, AuditStore, AuditChain, verify_export};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # tx.commit().await?;
/// let lines: Vec<String> = store.export(AuditChain::App).try_collect().await?;
/// // … later, without the database …
/// assert_eq!(Some(verify_export(&lines)?.head), store.head(AuditChain::App).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AuditStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
}

impl AuditStore {
    /// Creates a store on a database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Returns at most `limit` entries (1 to 100) that match `filter`, newest first. `next_cursor` continues
    /// after the last one.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Cursor`] if `cursor` is not the `next_cursor` of a list, or with
    /// [`Error::Database`].
    pub async fn list(
        &self,
        filter: &AuditFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<CursorPage<AuditRecord>, Error> {
        let limit = limit.clamp(1, MAX_PAGE_SIZE) as usize;
        let after = cursor.map(ListPosition::decode).transpose()?;
        let mut tx = self.read(filter.chain).await?;
        let actions = actions(&mut tx, filter).await?;
        let mut args = Arguments::new(self.db.dialect());
        let conditions = filter.conditions(after.as_ref(), &mut args);
        let number = args.push(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let newest = |action: &str| {
            format!(
                "select tenant_id, {COLUMNS} from omni_audit_entries where {conditions}{action} {NEWEST_FIRST} limit ${number}"
            )
        };
        let sql = match actions {
            None => newest(""),
            Some(actions) if actions.len() <= MAX_ACTIONS => {
                // Reads the newest entries of each action from an index, and returns the newest of those.
                // Without actions, nothing is returned.
                let mut equal = |action| format!(" and action = ${}", args.push(action));
                let each = actions.into_iter().map(&mut equal).collect::<Vec<_>>();
                let none = each.is_empty().then(|| " and 1 = 0".to_owned());
                let each = each.into_iter().chain(none).enumerate();
                let each = each.map(|(at, action)| format!("select * from ({}) as of_{at}", newest(&action)));
                format!("{} {NEWEST_FIRST} limit ${number}", each.collect::<Vec<_>>().join(" union all "))
            }
            Some(_) => {
                let begins = filter.action_condition(&mut args).unwrap_or_default();
                newest(&format!(" and {begins}"))
            }
        };
        // The SQL consists of column names and parameter numbers only.
        let sql = AssertSqlSafe(sql);
        let mut rows: Vec<(Uuid, EntryRow)> = tx
            .query(sql)
            .args(args)
            .fetch_all::<ListedEntryRow>()
            .await?
            .into_iter()
            .map(ListedEntryRow::split)
            .collect();
        tx.commit().await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|(chain, row)| ListPosition(row.at, *chain, row.sequence).encode());
        let items = rows.into_iter().map(|(chain, row)| row.into_entry_lossy().into_record(AuditChain::from_id(chain)));
        Ok(CursorPage { items: items.collect(), next_cursor })
    }

    /// Returns an entry by its number, or `None` if it was never recorded or has been deleted.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Database`].
    pub async fn get(&self, chain: impl Into<AuditChain>, sequence: i64) -> Result<Option<AuditRecord>, Error> {
        let chain = chain.into();
        let mut tx = self.read(Some(chain)).await?;
        let row = tx
            .query(AssertSqlSafe(format!(
                "select {COLUMNS} from omni_audit_entries where tenant_id = $1 and sequence = $2"
            )))
            .bind(chain.id())
            .bind(sequence)
            .fetch_optional::<EntryRow>()
            .await?;
        tx.commit().await?;
        Ok(row.map(|row| row.into_entry_lossy().into_record(chain)))
    }

    /// Returns the head of a chain, or `None` before its first entry. Keep it in a place that no user with access to
    /// the database can reach.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Broken`] if the stored head is not readable, or with [`Error::Database`].
    pub async fn head(&self, chain: impl Into<AuditChain>) -> Result<Option<ChainHead>, Error> {
        let chain = chain.into();
        let mut tx = self.read(Some(chain)).await?;
        let ends = ends(&mut tx, chain).await?;
        tx.commit().await?;
        Ok(ends.map(|ends| ends.head).filter(|head| *head != ChainHead::START))
    }

    /// Returns the database that holds a tenant's chain, after delivering the entries that wait for it. Does
    /// not create a tenant database for a tenant that has none and for which nothing is recorded.
    pub(super) async fn chain_database(&self, tenant: TenantId) -> Result<Db, db::Error> {
        let Some(databases) = self.db.tenant_databases() else { return Ok(self.db.clone()) };
        let waits = db::outbox_has_rows(databases.app_database(), tenant).await?;
        if databases.is_deleted(tenant).await? || !(waits || databases.has(tenant).await?) {
            return Ok(self.db.app_database());
        }
        if waits {
            let receiver = AuditReceiver(self.clock.clone());
            db::relay_to_tenant(&self.db, databases.app_database(), tenant, &receiver).await?;
        }
        Ok(self.db.clone())
    }

    /// Begins a read transaction for one chain, or for all.
    pub(super) async fn read(&self, chain: Option<AuditChain>) -> Result<Tx, db::Error> {
        match chain.and_then(AuditChain::tenant) {
            Some(tenant) => self.chain_database(tenant).await?.tenant(tenant).begin_read().await,
            // The app's entries belong to no tenant, and operators see the entries of all tenants.
            None => self.db.all_tenants().begin_read().await,
        }
    }
}

/// Head and checkpoint of a chain: its last entry, and the last entry that retention deleted.
#[derive(Clone, Copy)]
pub(super) struct ChainEnds {
    pub(super) head: ChainHead,
    pub(super) checkpoint: ChainHead,
}

pub(super) type RawEnds = (i64, Vec<u8>, i64, Vec<u8>);

impl ChainEnds {
    /// Converts a row. Fails if a hash is not 32 bytes long.
    pub(super) fn from_row(
        chain: AuditChain,
        (sequence, hash, checkpoint, checkpoint_hash): RawEnds,
    ) -> Result<Self, Error> {
        let hash = Sha256::from_bytes(&hash).ok_or_else(|| chain.break_at(sequence, ChainBreakKind::Head))?;
        let head = ChainHead { sequence, hash };
        let hash = Sha256::from_bytes(&checkpoint_hash)
            .ok_or_else(|| chain.break_at(checkpoint, ChainBreakKind::Checkpoint))?;
        Ok(Self { head, checkpoint: ChainHead { sequence: checkpoint, hash } })
    }
}

/// Returns the actions with the filter's prefix, or `None` if the filter has no prefix. It takes one index
/// lookup per existing action.
async fn actions(tx: &mut Tx, filter: &AuditFilter) -> Result<Option<Vec<String>>, db::Error> {
    let mut args = Arguments::new(tx.dialect());
    let Some(begins) = filter.action_condition(&mut args) else { return Ok(None) };
    let chain = filter.chain.map(|chain| format!("entry.tenant_id = ${}", args.push(chain.id())));
    let chain = chain.unwrap_or_else(|| "1 = 1".into());
    let sql = format!(
        "with recursive actions (action) as (
            select min(entry.action) from omni_audit_entries as entry where {chain}
            union all
            select (select min(entry.action) from omni_audit_entries as entry where {chain} and entry.action > actions.action)
            from actions where actions.action is not null)
        select action from actions where {begins}"
    );
    let actions: Vec<(String,)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(Some(actions.into_iter().map(|(action,)| action).collect()))
}

pub(super) async fn ends(tx: &mut Tx, chain: AuditChain) -> Result<Option<ChainEnds>, Error> {
    let ends = tx
        .query("select sequence, hash, checkpoint, checkpoint_hash from omni_audit_chains where tenant_id = $1")
        .bind(chain.id())
        .fetch_optional::<RawEnds>()
        .await?;
    ends.map(|ends| ChainEnds::from_row(chain, ends)).transpose()
}

/// Returns at most `limit` entries after one number, up to and including another.
pub(super) async fn page(
    tx: &mut Tx,
    chain: AuditChain,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<EntryRow>, db::Error> {
    tx.query(AssertSqlSafe(format!(
        "select {COLUMNS} from omni_audit_entries where tenant_id = $1 and sequence > $2 and sequence <= $3
         order by sequence limit $4"
    )))
    .bind(chain.id())
    .bind(after)
    .bind(through)
    .bind(limit)
    .fetch_all()
    .await
}

#[derive(crate::db::FromRow)]
pub(super) struct EntryRow {
    pub(super) sequence: i64,
    id: Id<AuditRecord>,
    pub(super) at: Timestamp,
    actor: Option<UserId>,
    action: String,
    resource: Option<String>,
    details: Option<String>,
    previous: Vec<u8>,
    hash: Vec<u8>,
}

impl EntryRow {
    /// Converts the row to a link. Returns `None` if a hash is not 32 bytes long.
    pub(super) fn into_entry(self) -> Option<ChainedEntry> {
        let hashes = (Sha256::from_bytes(&self.previous)?, Sha256::from_bytes(&self.hash)?);
        Some(self.with(hashes))
    }

    /// Converts the row to a link, with zeros in place of a hash that is not 32 bytes long.
    pub(super) fn into_entry_lossy(self) -> ChainedEntry {
        let hash = |bytes: &[u8]| Sha256::from_bytes(bytes).unwrap_or(Sha256::ZERO);
        let hashes = (hash(&self.previous), hash(&self.hash));
        self.with(hashes)
    }

    fn with(self, (previous, hash): (Sha256, Sha256)) -> ChainedEntry {
        let Self { sequence, id, at, actor, action, resource, details, .. } = self;
        ChainedEntry { sequence, id, at, actor, action, resource, details, previous, hash }
    }
}

#[derive(crate::db::FromRow)]
struct ListedEntryRow {
    tenant_id: Uuid,
    #[sqlx(flatten)]
    row: EntryRow,
}

impl ListedEntryRow {
    fn split(self) -> (Uuid, EntryRow) {
        (self.tenant_id, self.row)
    }
}
