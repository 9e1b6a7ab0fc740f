//! The SQL of findings, fixes and their ledgers.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{self, Dialect, ErrorKind, FromRow, Tx},
    http::Error,
    identity::{TenantId, UserId},
};
use uuid::Uuid;

use super::{
    ledger::{BrokenLedger, FixLedgerEntry, FixLedgerHead, replay},
    model::{CodeFix, FindingSeverity, FixFinding, FixFindingId, FixId},
    state::{FixEvent, FixState},
};

/// Most fixes of a finding that are listed. Each has a whole file, of up to a megabyte.
pub(super) const MAX_FIXES_LISTED: i64 = 20;

#[derive(FromRow)]
struct FindingRow {
    id: FixFindingId,
    tenant_id: TenantId,
    repository: Option<String>,
    branch: Option<String>,
    path: String,
    start_line: i64,
    end_line: i64,
    rule: String,
    severity: String,
    message: String,
    code: Option<String>,
    created_by: Option<UserId>,
    created_at: Timestamp,
}

impl From<FindingRow> for FixFinding {
    fn from(row: FindingRow) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant_id,
            repository: row.repository,
            branch: row.branch,
            path: row.path,
            start_line: u32::try_from(row.start_line).unwrap_or(u32::MAX),
            end_line: u32::try_from(row.end_line).unwrap_or(u32::MAX),
            rule: row.rule,
            severity: FindingSeverity::from_row(&row.severity),
            message: row.message,
            code: row.code,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

#[derive(FromRow)]
struct FixRow {
    id: FixId,
    sequence: i64,
    hash: String,
    state: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(FromRow)]
struct FixEventRow {
    sequence: i64,
    at: Timestamp,
    actor: Option<UserId>,
    data: String,
    previous: String,
    hash: String,
}

/// A fix, with the head of its ledger.
#[derive(Clone, Debug)]
pub(super) struct FixRecord {
    pub(super) id: FixId,
    pub(super) tenant: TenantId,
    pub(super) state: FixState,
    pub(super) head: FixLedgerHead,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl FixRecord {
    pub(super) fn view(&self) -> CodeFix {
        CodeFix::new(self.id, &self.state, self.created_at, self.updated_at)
    }

    fn from_row(tenant: TenantId, row: FixRow) -> Result<Self, db::Error> {
        let state = serde_json::from_str(&row.state).map_err(unreadable)?;
        let hash = row.hash.parse().map_err(unreadable)?;
        let head = FixLedgerHead { sequence: row.sequence, hash };
        let FixRow { id, created_at, updated_at, .. } = row;
        Ok(Self { id, tenant, state, head, created_at, updated_at })
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> db::Error {
    db::Error::new(ErrorKind::Other, error.into())
}

/// Adds a finding.
pub(super) async fn insert_finding(tx: &mut Tx, finding: &FixFinding) -> Result<(), db::Error> {
    let sql = "insert into omni_ai_fix_findings (id, tenant_id, repository, branch, path, start_line, end_line, rule,
        severity, message, code, created_by, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let insert = tx.query(sql).bind(finding.id).bind(finding.tenant);
    let insert = insert.bind(finding.repository.clone()).bind(finding.branch.clone()).bind(finding.path.clone());
    let insert = insert.bind(i64::from(finding.start_line)).bind(i64::from(finding.end_line));
    let insert = insert.bind(finding.rule.clone()).bind(finding.severity.as_str()).bind(finding.message.clone());
    let insert = insert.bind(finding.code.clone()).bind(finding.created_by).bind(finding.created_at);
    insert.execute().await.map(drop)
}

/// Returns a finding of a tenant.
pub(super) async fn finding(tx: &mut Tx, tenant: TenantId, id: FixFindingId) -> Result<Option<FixFinding>, db::Error> {
    let sql = "select id, tenant_id, repository, branch, path, start_line, end_line, rule, severity, message, code,
        created_by, created_at from omni_ai_fix_findings where tenant_id = $1 and id = $2";
    let row: Option<FindingRow> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(row.map(FixFinding::from))
}

/// Returns a fix of a tenant.
pub(super) async fn fix(tx: &mut Tx, tenant: TenantId, id: FixId) -> Result<Option<FixRecord>, db::Error> {
    let sql = "select id, sequence, hash, state, created_at, updated_at from omni_ai_fixes
        where tenant_id = $1 and id = $2";
    let row: Option<FixRow> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    row.map(|row| FixRecord::from_row(tenant, row)).transpose()
}

/// Returns a fix of a tenant, which other transactions can't change until this one ends.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, id: FixId) -> Result<Option<FixRecord>, db::Error> {
    // A writing transaction on SQLite is the only one.
    if tx.dialect() == Dialect::Postgres {
        let sql = "select id from omni_ai_fixes where tenant_id = $1 and id = $2 for update";
        let locked: Option<(FixId,)> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
        if locked.is_none() {
            return Ok(None);
        }
    }
    fix(tx, tenant, id).await
}

/// Returns the newest fixes of a finding, the newest first.
pub(super) async fn fixes_of(
    tx: &mut Tx,
    tenant: TenantId,
    finding: FixFindingId,
) -> Result<Vec<FixRecord>, db::Error> {
    let sql = "select id, sequence, hash, state, created_at, updated_at from omni_ai_fixes
        where tenant_id = $1 and finding_id = $2 order by id desc limit $3";
    let query = tx.query(sql).bind(tenant).bind(finding).bind(MAX_FIXES_LISTED);
    let rows: Vec<FixRow> = query.fetch_all().await?;
    rows.into_iter().map(|row| FixRecord::from_row(tenant, row)).collect()
}

/// Returns the number of fixes of a tenant that wait for a model, counted up to `limit`.
pub(super) async fn count_waiting(tx: &mut Tx, tenant: TenantId, limit: u32) -> Result<i64, db::Error> {
    let sql = "select count(*) from (select 1 as one from omni_ai_fixes where tenant_id = $1
        and status in ('queued', 'generating') limit $2) as waiting";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(i64::from(limit)).fetch_one().await?;
    Ok(count)
}

/// Returns the number of fixes of a tenant with this id or a later one, without those for which no patch was proposed.
pub(super) async fn count_since(tx: &mut Tx, tenant: TenantId, first: Uuid) -> Result<u64, db::Error> {
    // A fix that has failed after its approval had a patch.
    let sql = "select count(*) from omni_ai_fixes where tenant_id = $1 and id >= $2
        and (status <> 'failed' or approved_at is not null)";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(first).fetch_one().await?;
    Ok(count.unsigned_abs())
}

/// Adds the first event of a fix, and the fix.
pub(super) async fn create(
    tx: &mut Tx,
    (tenant, id): (TenantId, FixId),
    event: &FixEvent,
    actor: Option<UserId>,
    now: Timestamp,
) -> Result<FixRecord, Error> {
    let state = FixState::after(None, event, actor, now).map_err(Error::internal)?;
    let entry = FixLedgerEntry::after(None, (tenant, id), event, actor, now).map_err(Error::internal)?;
    let record = FixRecord { id, tenant, state, head: entry.head(), created_at: now, updated_at: now };
    let sql = "insert into omni_ai_fixes (id, tenant_id, finding_id, status, approved_at, sequence, hash, state,
        created_at, updated_at) values ($1, $2, $3, $4, null, $5, $6, $7, $8, $8)";
    let insert = tx.query(sql).bind(id).bind(tenant).bind(record.state.finding).bind(record.state.status.as_str());
    let insert = insert.bind(record.head.sequence).bind(record.head.hash.to_string());
    insert.bind(json(&record.state)?).bind(now).execute().await?;
    insert_event(tx, &record, &entry).await?;
    Ok(record)
}

/// Adds an event to a fix that is locked.
///
/// # Errors
/// 500 if the state of the fix does not permit the event, which the caller has checked before; the errors of the
/// database.
pub(super) async fn append(
    tx: &mut Tx,
    record: FixRecord,
    event: &FixEvent,
    actor: Option<UserId>,
    now: Timestamp,
) -> Result<FixRecord, Error> {
    let FixRecord { id, tenant, state, head, created_at, .. } = record;
    let state = FixState::after(Some(state), event, actor, now).map_err(Error::internal)?;
    let entry = FixLedgerEntry::after(Some(head), (tenant, id), event, actor, now).map_err(Error::internal)?;
    let record = FixRecord { id, tenant, state, head: entry.head(), created_at, updated_at: now };
    let sql = "update omni_ai_fixes set status = $3, approved_at = $4, sequence = $5, hash = $6, state = $7,
        updated_at = $8 where tenant_id = $1 and id = $2 and sequence = $9";
    let update = tx.query(sql).bind(tenant).bind(id).bind(record.state.status.as_str());
    let update = update.bind(record.state.approval.map(|approval| approval.at));
    let update = update.bind(record.head.sequence).bind(record.head.hash.to_string()).bind(json(&record.state)?);
    let changed = update.bind(now).bind(head.sequence).execute().await?;
    if changed != 1 {
        return Err(Error::internal("the fix was changed without its lock"));
    }
    insert_event(tx, &record, &entry).await?;
    Ok(record)
}

fn json(state: &FixState) -> Result<String, Error> {
    serde_json::to_string(state).map_err(Error::internal)
}

async fn insert_event(tx: &mut Tx, record: &FixRecord, entry: &FixLedgerEntry) -> Result<(), db::Error> {
    let sql = "insert into omni_ai_fix_events (fix_id, tenant_id, sequence, at, actor, data, previous, hash)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = tx.query(sql).bind(record.id).bind(record.tenant).bind(entry.sequence).bind(entry.at);
    let insert = insert.bind(entry.actor).bind(entry.data.clone());
    insert.bind(entry.previous.to_string()).bind(entry.hash.to_string()).execute().await.map(drop)
}

/// Returns the ledger of a fix.
pub(super) async fn ledger(tx: &mut Tx, record: &FixRecord) -> Result<Vec<FixLedgerEntry>, db::Error> {
    let sql = "select sequence, at, actor, data, previous, hash from omni_ai_fix_events
        where tenant_id = $1 and fix_id = $2 order by sequence";
    let rows: Vec<FixEventRow> = tx.query(sql).bind(record.tenant).bind(record.id).fetch_all().await?;
    let entry = |row: FixEventRow| {
        let FixEventRow { sequence, at, actor, data, previous, hash } = row;
        // A text that is no hash differs from every hash.
        let [previous, hash] = [previous, hash].map(|text| text.parse().unwrap_or_else(|_| Sha256::digest("")));
        FixLedgerEntry { sequence, at, actor, data, previous, hash }
    };
    Ok(rows.into_iter().map(entry).collect())
}

/// Replays a ledger, and compares the state with that of the fix.
pub(super) fn verify(record: &FixRecord, entries: &[FixLedgerEntry]) -> Result<(), BrokenLedger> {
    let state = replay(record.tenant, record.id, entries, record.head)?;
    if state == record.state { Ok(()) } else { Err(BrokenLedger::State) }
}
