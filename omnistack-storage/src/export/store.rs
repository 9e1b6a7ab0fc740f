//! The SQL of exports.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
    identity::{TenantId, UserId},
};

use super::{ExportId, ExportState, TenantExport};

const COLUMNS: &str = "id, tenant_id, user_id, state, size, created_at, finished_at, expires_at";

#[derive(omnistack_core::db::FromRow)]
struct ExportRow {
    id: ExportId,
    tenant_id: TenantId,
    user_id: UserId,
    state: String,
    size: Option<i64>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    expires_at: Timestamp,
}

impl From<ExportRow> for TenantExport {
    fn from(row: ExportRow) -> Self {
        let ExportRow { id, tenant_id, user_id, state, size, created_at, finished_at, expires_at } = row;
        Self {
            id,
            tenant_id,
            user_id,
            state: ExportState::from_db(&state),
            size: size.map(i64::unsigned_abs),
            created_at,
            finished_at,
            expires_at,
        }
    }
}

pub(super) async fn insert(tx: &mut Tx, export: &TenantExport) -> Result<(), Error> {
    let sql = "insert into omni_exports (id, tenant_id, user_id, state, created_at, expires_at) \
               values ($1, $2, $3, $4, $5, $6)";
    let insert = tx.query(sql).bind(export.id).bind(export.tenant_id).bind(export.user_id);
    let insert = insert.bind(export.state.as_str()).bind(export.created_at).bind(export.expires_at);
    insert.execute().await.map(drop)
}

pub(super) async fn find(tx: &mut Tx, tenant: TenantId, id: ExportId) -> Result<Option<TenantExport>, Error> {
    let sql = sqlx::AssertSqlSafe(format!("select {COLUMNS} from omni_exports where tenant_id = $1 and id = $2"));
    let row: Option<ExportRow> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Returns the newest exports of a tenant.
pub(super) async fn list(tx: &mut Tx, tenant: TenantId, limit: i64) -> Result<Vec<TenantExport>, Error> {
    let sql = sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from omni_exports where tenant_id = $1 order by id desc limit $2"
    ));
    let rows: Vec<ExportRow> = tx.query(sql).bind(tenant).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Ends an export that is being created. Returns whether it was.
pub(super) async fn finish(
    tx: &mut Tx,
    export: &TenantExport,
    state: ExportState,
    size: Option<u64>,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "update omni_exports set state = $3, size = $4, finished_at = $5 \
               where tenant_id = $1 and id = $2 and state = 'waiting'";
    let update = tx.query(sql).bind(export.tenant_id).bind(export.id).bind(state.as_str());
    let size = size.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    Ok(update.bind(size).bind(now).execute().await? == 1)
}

/// Returns exports of all tenants that have expired.
pub(super) async fn list_expired(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<TenantExport>, Error> {
    let sql = sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from omni_exports where expires_at <= $1 order by expires_at limit $2"
    ));
    let rows: Vec<ExportRow> = tx.query(sql).bind(now).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

pub(super) async fn remove(tx: &mut Tx, export: &TenantExport) -> Result<(), Error> {
    let delete = tx.query("delete from omni_exports where tenant_id = $1 and id = $2");
    delete.bind(export.tenant_id).bind(export.id).execute().await.map(drop)
}

/// Lets all exports of a tenant expire.
pub(super) async fn expire_all(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    let update = tx.query("update omni_exports set expires_at = $2 where tenant_id = $1");
    update.bind(tenant).bind(now).execute().await.map(drop)
}
