//! The catalog of tenant databases: rows in the app's own database.

use crate::{
    clock::Timestamp,
    db::{Db, Error, Tx},
    id::TenantId,
};

/// The state of a tenant in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatalogState {
    /// The tenant never had a database.
    New,
    /// The tenant has a database.
    Present,
    /// The tenant was deleted. It gets no database any more.
    Deleted,
}

pub(crate) async fn state(main: &Db, tenant: TenantId) -> Result<CatalogState, Error> {
    let row = main.query("select left_at from omni_tenant_databases where tenant_id = $1").bind(tenant);
    let row: Option<(Option<Timestamp>,)> = row.fetch_optional().await?;
    Ok(match row {
        None => CatalogState::New,
        Some((None,)) => CatalogState::Present,
        Some((Some(_),)) => CatalogState::Deleted,
    })
}

/// Adds a tenant to the catalog, unless the tenant was deleted meanwhile. Returns the new state.
pub(crate) async fn add(main: &Db, tenant: TenantId) -> Result<CatalogState, Error> {
    let now = main.observers.clock.now();
    let add =
        main.query("insert into omni_tenant_databases (tenant_id, made_at) values ($1, $2) on conflict do nothing");
    add.bind(tenant).bind(now).execute().await?;
    state(main, tenant).await
}

pub(crate) async fn all(main: &Db) -> Result<Vec<TenantId>, Error> {
    list(main, "select tenant_id from omni_tenant_databases where left_at is null order by tenant_id").await
}

/// Returns the deleted tenants whose databases still have to be removed.
pub(crate) async fn to_remove(main: &Db) -> Result<Vec<TenantId>, Error> {
    let sql =
        "select tenant_id from omni_tenant_databases where left_at is not null and removed_at is null order by left_at";
    list(main, sql).await
}

async fn list(main: &Db, sql: &'static str) -> Result<Vec<TenantId>, Error> {
    let rows: Vec<(TenantId,)> = main.query(sql).fetch_all().await?;
    Ok(rows.into_iter().map(|(tenant,)| tenant).collect())
}

/// Marks a tenant as deleted, so that its database is removed after the commit. A tenant without a database gets
/// none from then on.
pub(crate) async fn mark_deleted_in(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_tenant_databases (tenant_id, made_at, left_at) values ($1, $2, $2)
        on conflict (tenant_id) do update set left_at = coalesce(omni_tenant_databases.left_at, $2)";
    tx.query(sql).bind(tenant).bind(now).execute().await.map(drop)
}

pub(crate) async fn mark_removed(main: &Db, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    let left = main.query("update omni_tenant_databases set removed_at = $2 where tenant_id = $1");
    left.bind(tenant).bind(now).execute().await.map(drop)
}
