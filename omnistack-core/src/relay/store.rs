//! The SQL of the outbox relay.

use std::time::Duration;

use serde::Serialize;

use crate::{
    audit,
    clock::Timestamp,
    db::{Db, Error, ErrorKind, Sql, Tx},
    identity::TenantId,
    jobs::json,
};

/// Kind of an outbox row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutboxKind {
    Jobs,
    Events,
    #[cfg(feature = "email")]
    Mail,
    Audit,
}

impl OutboxKind {
    const ALL: &[Self] = &[
        Self::Jobs,
        Self::Events,
        #[cfg(feature = "email")]
        Self::Mail,
        Self::Audit,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Events => "events",
            #[cfg(feature = "email")]
            Self::Mail => "mail",
            Self::Audit => "audit",
        }
    }
}

/// Outbox rows that are relayed in one transaction.
pub(super) const BATCH_ROWS: usize = 100;

/// A row of an `omni_tenant_outbox`.
#[derive(sqlx::FromRow)]
pub(super) struct OutboxRow {
    seq: i64,
    kind: String,
    pub(super) content: String,
}

impl OutboxRow {
    pub(super) fn kind(&self) -> Result<OutboxKind, Error> {
        let kind = OutboxKind::ALL.iter().copied().find(|kind| kind.as_str() == self.kind);
        kind.ok_or_else(|| {
            unreadable_row(&format!("`{}` is an outbox kind that this version of the app does not know", self.kind))
        })
    }
}

/// Returns the error for a row that this version can't read: it was written by a newer version.
pub(crate) fn unreadable_row(what: &str) -> Error {
    Error::new(ErrorKind::Other, what.to_owned().into())
}

/// Adds a row to the outbox of the database of this transaction. It is relayed after the commit.
pub(crate) async fn add_to_outbox<T: Serialize + ?Sized>(
    tx: &mut Tx,
    tenant: TenantId,
    kind: OutboxKind,
    content: &T,
    now: Timestamp,
) -> Result<(), Error> {
    let content = serde_json::to_string(content).map_err(|error| Error::new(ErrorKind::Other, error.into()))?;
    let put = tx.query("insert into omni_tenant_outbox (tenant_id, kind, content, created_at) values ($1, $2, $3, $4)");
    put.bind(tenant).bind(kind.as_str()).bind(content).bind(now).execute().await?;
    tx.relay_on_commit();
    Ok(())
}

/// Records that a row was received. Returns whether it is received for the first time; then the caller must process
/// it in the same transaction.
pub(crate) async fn mark_received(tx: &mut Tx, id: uuid::Uuid, receiver: &str, now: Timestamp) -> Result<bool, Error> {
    let sql = "insert into omni_tenant_inbox (id, receiver, created_at) values ($1, $2, $3) on conflict do nothing";
    Ok(tx.query(sql).bind(id).bind(receiver.to_owned()).bind(now).execute().await? == 1)
}

/// Returns the first rows of the outbox of a tenant database.
pub(super) async fn first_rows(db: &Db) -> Result<Vec<OutboxRow>, Error> {
    let mut tx = db.all_tenants().begin_read().await?;
    let some = tx.query("select seq, kind, content from omni_tenant_outbox order by seq limit $1");
    some.bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX)).fetch_all().await
}

/// Waits for the lock that one relaying process holds until its transaction ends. PostgreSQL only.
pub(super) async fn lock_relay(tx: &mut Tx) -> Result<(), Error> {
    // The number is the text `tenants` as bytes.
    tx.query("select pg_advisory_xact_lock(32760404164375667)::text").execute().await.map(drop)
}

const DELETE: Sql = Sql {
    postgres: "delete from omni_tenant_outbox where seq in (select value::bigint from json_array_elements_text($1::json) as value)",
    sqlite: "delete from omni_tenant_outbox where seq in (select value from json_each($1))",
};

pub(super) async fn delete(db: &Db, rows: &[OutboxRow]) -> Result<(), Error> {
    let done = json(&rows.iter().map(|row| row.seq).collect::<Vec<_>>());
    let mut tx = db.all_tenants().begin().await?;
    tx.query(DELETE).bind(done).execute().await?;
    tx.commit().await
}

/// Deletes received ids that are older than `remember`, and expired idempotency keys.
pub(super) async fn delete_old_rows(db: &Db, now: Timestamp, remember: Duration) -> Result<(), Error> {
    db.query("delete from omni_tenant_inbox where created_at < $1").bind(now - remember).execute().await?;
    db.query("delete from omni_idempotency_keys where expires_at <= $1").bind(now).execute().await.map(drop)
}

/// Returns the tenants that have rows in the outbox of the app's database.
pub(super) async fn tenants_with_rows(main: &Db) -> Result<Vec<TenantId>, Error> {
    let mut tx = main.all_tenants().begin_read().await?;
    let rows: Vec<(TenantId,)> = tx.query("select distinct tenant_id from omni_tenant_outbox").fetch_all().await?;
    Ok(rows.into_iter().map(|(tenant,)| tenant).collect())
}

const FOR_TENANT: &str =
    "select seq, kind, content from omni_tenant_outbox where tenant_id = $1 and kind = 'audit' order by seq limit $2";

/// Returns whether the outbox of the app's database has a row for a tenant.
pub(crate) async fn has_rows(main: &Db, tenant: TenantId) -> Result<bool, Error> {
    let mut tx = main.tenant(tenant).begin_read().await?;
    let one = tx.query("select seq from omni_tenant_outbox where tenant_id = $1 limit 1").bind(tenant);
    Ok(one.fetch_optional::<(i64,)>().await?.is_some())
}

async fn audit_rows(main: &Db, tenant: TenantId) -> Result<Vec<OutboxRow>, Error> {
    let mut tx = main.tenant(tenant).begin_read().await?;
    let rows = tx.query(FOR_TENANT).bind(tenant).bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX));
    rows.fetch_all().await
}

/// Relays audit entries into the tenant's audit chain. If two tasks or processes do so at once, each entry is
/// recorded once.
pub(crate) async fn relay_audit_entries(db: &Db, main: &Db, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    loop {
        let rows = audit_rows(main, tenant).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = db.tenant(tenant).begin().await?;
        for row in &rows {
            let carried = audit::QueuedAuditEntry::read(&row.content)?;
            if mark_received(&mut tx, carried.id(), "audit", now).await? {
                carried.append(&mut tx).await?;
            }
        }
        tx.commit().await?;
        delete(main, &rows).await?;
    }
}

/// Keeps the entries of a deleted tenant: appends them to the tenant's audit chain in the app's database.
pub(super) async fn keep_audit_entries(main: &Db, tenant: TenantId) -> Result<(), Error> {
    loop {
        let mut tx = main.all_tenants().begin().await?;
        let rows = tx.query(FOR_TENANT).bind(tenant).bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX));
        let rows: Vec<OutboxRow> = rows.fetch_all().await?;
        if rows.is_empty() {
            return Ok(());
        }
        let seqs = json(&rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        // Only the transaction that deletes the rows appends their entries.
        let mine = tx.query(DELETE).bind(seqs).execute().await?;
        if mine != u64::try_from(rows.len()).unwrap_or(0) {
            tx.rollback().await?;
            continue;
        }
        for row in &rows {
            audit::QueuedAuditEntry::read(&row.content)?.append(&mut tx).await?;
        }
        tx.commit().await?;
    }
}
