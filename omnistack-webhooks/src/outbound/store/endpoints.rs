//! The SQL of endpoints.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Error, Sql, Tx},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use crate::outbound::endpoint::{EndpointRow, EndpointStatus, WebhookEndpointId};

macro_rules! columns {
    () => {
        "id, tenant_id, url, description, events, headers, scheme, secrets, rate_per_second, status, disabled_reason, \
         disabled_at, failing_since, is_default, created_by, created_at, updated_at"
    };
}

/// Inserts an endpoint.
pub(crate) async fn insert(tx: &mut Tx, row: &EndpointRow) -> Result<(), Error> {
    let row = row.clone();
    let sql = concat!(
        "insert into omni_webhook_endpoints (",
        columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    );
    let insert = tx.query(sql).bind(row.id).bind(row.tenant_id).bind(row.url).bind(row.description).bind(row.events);
    let insert = insert.bind(row.headers).bind(row.scheme).bind(row.secrets).bind(row.rate_per_second);
    let insert = insert.bind(row.status).bind(row.disabled_reason).bind(row.disabled_at).bind(row.failing_since);
    let insert = insert.bind(row.is_default).bind(row.created_by).bind(row.created_at).bind(row.updated_at);
    insert.execute().await?;
    Ok(())
}

/// Updates what callers can change. The row must have been read by [`lock`].
pub(crate) async fn update(tx: &mut Tx, row: &EndpointRow) -> Result<(), Error> {
    let row = row.clone();
    let sql = "update omni_webhook_endpoints set url = $3, description = $4, events = $5, headers = $6, secrets = $7, \
               rate_per_second = $8, status = $9, disabled_reason = $10, disabled_at = $11, failing_since = $12, \
               updated_at = $13 where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(row.tenant_id).bind(row.id).bind(row.url).bind(row.description).bind(row.events);
    let update = update.bind(row.headers).bind(row.secrets).bind(row.rate_per_second).bind(row.status);
    let update = update.bind(row.disabled_reason).bind(row.disabled_at).bind(row.failing_since).bind(row.updated_at);
    update.execute().await?;
    Ok(())
}

/// Returns an endpoint of the tenant.
pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, id: WebhookEndpointId) -> Result<Option<EndpointRow>, Error> {
    let sql = concat!("select ", columns!(), " from omni_webhook_endpoints where tenant_id = $1 and id = $2");
    tx.query(sql).bind(tenant).bind(id).fetch_optional().await
}

/// Returns the endpoint of `PUT /configure`.
pub(crate) async fn find_default(tx: &mut Tx, tenant: TenantId) -> Result<Option<EndpointRow>, Error> {
    let sql = concat!("select ", columns!(), " from omni_webhook_endpoints where tenant_id = $1 and is_default");
    tx.query(sql).bind(tenant).fetch_optional().await
}

/// Returns an endpoint of the tenant, and keeps other transactions from changing it. On SQLite no other transaction
/// writes anyway.
pub(crate) async fn lock(tx: &mut Tx, tenant: TenantId, id: WebhookEndpointId) -> Result<Option<EndpointRow>, Error> {
    let sql = Sql {
        postgres: concat!(
            "select ",
            columns!(),
            " from omni_webhook_endpoints where tenant_id = $1 and id = $2 for no key update"
        ),
        sqlite: concat!("select ", columns!(), " from omni_webhook_endpoints where tenant_id = $1 and id = $2"),
    };
    tx.query(sql).bind(tenant).bind(id).fetch_optional().await
}

/// Returns the tenant of an endpoint. The transaction must be one of all tenants.
pub(crate) async fn tenant_of(tx: &mut Tx, id: WebhookEndpointId) -> Result<Option<TenantId>, Error> {
    let found = tx.query("select tenant_id from omni_webhook_endpoints where id = $1").bind(id);
    let found: Option<(TenantId,)> = found.fetch_optional().await?;
    Ok(found.map(|(tenant,)| tenant))
}

/// Returns the number of the tenant's endpoints.
pub(crate) async fn count(tx: &mut Tx, tenant: TenantId) -> Result<i64, Error> {
    let sql = "select count(*) from omni_webhook_endpoints where tenant_id = $1";
    let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    Ok(count)
}

/// A filter of endpoints. An empty filter matches the endpoints that the transaction sees.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndpointFilter {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) status: Option<EndpointStatus>,
}

/// Returns the endpoints that match, in the order of their ids, at most `limit`. With `after`, only those that follow.
pub(crate) async fn list(
    tx: &mut Tx,
    filter: EndpointFilter,
    after: Option<WebhookEndpointId>,
    limit: i64,
) -> Result<Vec<EndpointRow>, Error> {
    let (mut args, mut conditions) = (Arguments::new(tx.dialect()), Vec::new());
    if let Some(tenant) = filter.tenant {
        conditions.push(format!("tenant_id = ${}", args.push(tenant)));
    }
    if let Some(status) = filter.status {
        conditions.push(format!("status = ${}", args.push(status.as_str())));
    }
    if let Some(after) = after {
        conditions.push(format!("id > ${}", args.push(after)));
    }
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
    let limit = args.push(limit);
    let columns = columns!();
    let sql = format!("select {columns} from omni_webhook_endpoints where {conditions} order by id limit ${limit}");
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

/// Deletes an endpoint, but not its deliveries. Returns the row that was deleted.
pub(crate) async fn delete(tx: &mut Tx, tenant: TenantId, id: WebhookEndpointId) -> Result<Option<EndpointRow>, Error> {
    let sql = concat!("delete from omni_webhook_endpoints where tenant_id = $1 and id = $2 returning ", columns!());
    tx.query(sql).bind(tenant).bind(id).fetch_optional().await
}

/// Deletes at most `limit` deliveries of an endpoint, with their attempts. Returns their number.
pub(crate) async fn delete_deliveries(tx: &mut Tx, id: WebhookEndpointId, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_webhook_deliveries where id in (select id from omni_webhook_deliveries \
               where endpoint_id = $1 limit $2)";
    tx.query(sql).bind(id).bind(limit).execute().await
}

/// Skips all deliveries of an endpoint that wait. One that is being sent ends as it will.
pub(crate) async fn skip_pending(tx: &mut Tx, row: &EndpointRow, now: Timestamp) -> Result<u64, Error> {
    // The first condition of the state is that of the index.
    let sql = "update omni_webhook_deliveries set state = 'skipped', next_at = null, finished_at = $2 \
               where endpoint_id = $1 and state in ('pending', 'sending') and state = 'pending'";
    tx.query(sql).bind(row.id).bind(now).execute().await
}
