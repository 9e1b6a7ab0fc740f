//! The SQL of the outbox relay.

use std::time::Duration;

use serde::Serialize;

use super::OutboxReceiver;
use crate::{
    clock::Timestamp,
    db::{Db, Error, ErrorKind, Sql, Tx},
    id::TenantId,
};

/// Outbox rows that are relayed in one transaction.
pub(crate) const BATCH_ROWS: usize = 100;

/// A row of an `omni_tenant_outbox`.
#[derive(crate::db::FromRow)]
pub(crate) struct OutboxRow {
    seq: i64,
    pub(super) kind: String,
    pub(crate) content: String,
}

/// Returns the error for a row that this version can't read: it was written by a newer version.
pub fn unreadable_row(what: &str) -> Error {
    Error::new(ErrorKind::Other, what.to_owned().into())
}

/// Adds a row to the outbox of the database of this transaction. It is relayed after the commit, to the
/// [`OutboxReceiver`] of its kind.
///
/// # Errors
/// Fails if the content can't be written as JSON or the database fails.
pub async fn add_to_outbox<T: Serialize + ?Sized>(
    tx: &mut Tx,
    tenant: TenantId,
    kind: &str,
    content: &T,
    now: Timestamp,
) -> Result<(), Error> {
    let content = serde_json::to_string(content).map_err(|error| Error::new(ErrorKind::Other, error.into()))?;
    let put = tx.query("insert into omni_tenant_outbox (tenant_id, kind, content, created_at) values ($1, $2, $3, $4)");
    put.bind(tenant).bind(kind.to_owned()).bind(content).bind(now).execute().await?;
    tx.relay_on_commit();
    Ok(())
}

/// Records that a row was received. Returns whether it is received for the first time; then the caller must process
/// it in the same transaction.
///
/// # Errors
/// Fails if the database fails.
pub async fn mark_received(tx: &mut Tx, id: uuid::Uuid, receiver: &str, now: Timestamp) -> Result<bool, Error> {
    let sql = "insert into omni_tenant_inbox (id, receiver, created_at) values ($1, $2, $3) on conflict do nothing";
    Ok(tx.query(sql).bind(id).bind(receiver.to_owned()).bind(now).execute().await? == 1)
}

/// Returns the first rows of the outbox of a tenant database.
pub(crate) async fn first_rows(db: &Db) -> Result<Vec<OutboxRow>, Error> {
    let mut tx = db.all_tenants().begin_read().await?;
    let some = tx.query("select seq, kind, content from omni_tenant_outbox order by seq limit $1");
    some.bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX)).fetch_all().await
}

/// Waits for the lock that one relaying process holds until its transaction ends. PostgreSQL only.
pub(crate) async fn lock_relay(tx: &mut Tx) -> Result<(), Error> {
    // The number is the text `tenants` as bytes.
    tx.query("select pg_advisory_xact_lock(32760404164375667)::text").execute().await.map(drop)
}

const DELETE: Sql = Sql {
    postgres: "delete from omni_tenant_outbox where seq in (select value::bigint from json_array_elements_text($1::json) as value)",
    sqlite: "delete from omni_tenant_outbox where seq in (select value from json_each($1))",
};

pub(crate) async fn delete(db: &Db, rows: &[OutboxRow]) -> Result<(), Error> {
    let done = json(&rows.iter().map(|row| row.seq).collect::<Vec<_>>());
    let mut tx = db.all_tenants().begin().await?;
    tx.query(DELETE).bind(done).execute().await?;
    tx.commit().await
}

/// Deletes received ids that are older than `remember`, and expired idempotency keys.
pub(crate) async fn delete_old_rows(db: &Db, now: Timestamp, remember: Duration) -> Result<(), Error> {
    db.query("delete from omni_tenant_inbox where created_at < $1").bind(now - remember).execute().await?;
    db.query("delete from omni_idempotency_keys where expires_at <= $1").bind(now).execute().await.map(drop)
}

/// Returns the tenants that have rows in the outbox of the app's database.
pub(crate) async fn tenants_with_rows(main: &Db) -> Result<Vec<TenantId>, Error> {
    let mut tx = main.all_tenants().begin_read().await?;
    let rows: Vec<(TenantId,)> = tx.query("select distinct tenant_id from omni_tenant_outbox").fetch_all().await?;
    Ok(rows.into_iter().map(|(tenant,)| tenant).collect())
}

const FOR_TENANT: &str =
    "select seq, kind, content from omni_tenant_outbox where tenant_id = $1 and kind = $2 order by seq limit $3";

/// Returns whether the outbox of the app's database has a row for a tenant.
pub(crate) async fn has_rows(main: &Db, tenant: TenantId) -> Result<bool, Error> {
    let mut tx = main.tenant(tenant).begin_read().await?;
    let one = tx.query("select seq from omni_tenant_outbox where tenant_id = $1 limit 1").bind(tenant);
    Ok(one.fetch_optional::<(i64,)>().await?.is_some())
}

/// Relays the rows of one kind into the tenant's database. If two tasks or processes do so at once, the receiver
/// processes each row once.
pub(crate) async fn relay_to_tenant(
    db: &Db,
    app: &Db,
    tenant: TenantId,
    receiver: &dyn OutboxReceiver,
) -> Result<(), Error> {
    loop {
        let mut tx = app.tenant(tenant).begin_read().await?;
        let rows = rows_for_tenant(&mut tx, tenant, receiver.kind()).await?;
        drop(tx);
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = db.tenant(tenant).begin().await?;
        for row in &rows {
            receiver.receive_in(&mut tx, &row.content).await?;
        }
        tx.commit().await?;
        delete(app, &rows).await?;
    }
}

async fn rows_for_tenant(tx: &mut Tx, tenant: TenantId, kind: &str) -> Result<Vec<OutboxRow>, Error> {
    let rows = tx.query(FOR_TENANT).bind(tenant).bind(kind.to_owned());
    rows.bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX)).fetch_all().await
}

/// Processes the rows of a deleted tenant in the app's database, since the tenant's database is gone.
pub(super) async fn receive_for_deleted(
    app: &Db,
    tenant: TenantId,
    receiver: &dyn OutboxReceiver,
) -> Result<(), Error> {
    loop {
        let mut tx = app.all_tenants().begin().await?;
        let rows = rows_for_tenant(&mut tx, tenant, receiver.kind()).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let seqs = json(&rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        // Only the transaction that deletes the rows processes them.
        let mine = tx.query(DELETE).bind(seqs).execute().await?;
        if mine != u64::try_from(rows.len()).unwrap_or(0) {
            tx.rollback().await?;
            continue;
        }
        for row in &rows {
            receiver.receive_in(&mut tx, &row.content).await?;
        }
        tx.commit().await?;
    }
}

fn json(seqs: &[i64]) -> String {
    serde_json::Value::from(seqs).to_string()
}
