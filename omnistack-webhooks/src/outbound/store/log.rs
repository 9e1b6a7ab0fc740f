//! The SQL of the log of deliveries, and of the newest messages.

use std::fmt::Write as _;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, Tx},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use super::first_id;
use crate::outbound::{
    endpoint::{WebhookDeliveryId, WebhookEndpointId, WebhookMessageId},
    log::DeliveryState,
};

/// A row of a delivery, with the type of its message.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct DeliveryRow {
    pub(crate) id: WebhookDeliveryId,
    pub(crate) endpoint_id: WebhookEndpointId,
    pub(crate) message_id: WebhookMessageId,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) status_code: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
}

/// A row of an attempt.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct AttemptRow {
    pub(crate) at: Timestamp,
    pub(crate) duration_ms: f64,
    pub(crate) status_code: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) response: Option<String>,
}

/// A row of a message, with the number of its deliveries by state.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct MessageRow {
    pub(crate) id: WebhookMessageId,
    pub(crate) kind: String,
    pub(crate) created_at: Timestamp,
    pub(crate) deliveries: i64,
    pub(crate) delivered: i64,
    pub(crate) failed: i64,
    pub(crate) skipped: i64,
}

/// A filter of deliveries. A delivery matches if it matches all fields that are set.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFilter {
    pub(crate) endpoint: Option<WebhookEndpointId>,
    pub(crate) state: Option<DeliveryState>,
    pub(crate) kind: Option<String>,
    pub(crate) since: Option<Timestamp>,
}

/// The position of a delivery in the log.
pub(crate) type DeliveryPosition = (WebhookMessageId, WebhookDeliveryId);

const DELIVERY_COLUMNS: &str = "d.id, d.endpoint_id, d.message_id, m.kind, d.state, d.attempts, d.next_at, \
                                d.status_code, d.error, d.created_at, d.finished_at";

/// Returns the tenant's deliveries that match, those of the newest messages first, at most `limit`. With `before`, only
/// those that follow that position.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    filter: &DeliveryFilter,
    before: Option<DeliveryPosition>,
    limit: i64,
) -> Result<Vec<DeliveryRow>, Error> {
    let mut args = Arguments::new(tx.dialect());
    // Of the two conditions, SQLite would use an index for that of the tenant, which has more deliveries than an
    // endpoint. The plus keeps it from that.
    let tenant_column = match (tx.dialect(), filter.endpoint) {
        (Dialect::Sqlite, Some(_)) => "+d.tenant_id",
        _ => "d.tenant_id",
    };
    let mut sql = format!(
        "select {DELIVERY_COLUMNS} from omni_webhook_deliveries d join omni_webhook_messages m on m.id = d.message_id \
         where {tenant_column} = ${}",
        args.push(tenant)
    );
    if let Some(endpoint) = filter.endpoint {
        _ = write!(sql, " and d.endpoint_id = ${}", args.push(endpoint));
    }
    if let Some(state) = filter.state {
        // The state is part of the text, and the condition of the index as well, so that the index can be used.
        _ = write!(sql, " and d.state = '{}'", state.as_str());
        if state != DeliveryState::Delivered {
            sql.push_str(" and d.state <> 'delivered'");
        }
    }
    if let Some(kind) = &filter.kind {
        _ = write!(sql, " and m.kind = ${}", args.push(kind.clone()));
    }
    if let Some(since) = filter.since {
        _ = write!(sql, " and d.message_id >= ${}", args.push(first_id(since)));
    }
    if let Some((message, delivery)) = before {
        let (message, delivery) = (args.push(message), args.push(delivery));
        _ = write!(sql, " and (d.message_id, d.id) < (${message}, ${delivery})");
    }
    // An endpoint has one delivery of a message, so its own index has the order of the log.
    let order = if filter.endpoint.is_some() { "d.message_id desc" } else { "d.message_id desc, d.id desc" };
    _ = write!(sql, " order by {order} limit ${}", args.push(limit));
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

/// Returns a delivery of the tenant.
pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, id: WebhookDeliveryId) -> Result<Option<DeliveryRow>, Error> {
    let sql = format!(
        "select {DELIVERY_COLUMNS} from omni_webhook_deliveries d join omni_webhook_messages m on m.id = d.message_id \
         where d.tenant_id = $1 and d.id = $2"
    );
    tx.query(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional().await
}

/// Returns the body of a message.
pub(crate) async fn payload(tx: &mut Tx, tenant: TenantId, id: WebhookMessageId) -> Result<Option<String>, Error> {
    let sql = "select payload from omni_webhook_messages where tenant_id = $1 and id = $2";
    let found: Option<(String,)> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(found.map(|(payload,)| payload))
}

/// Returns the newest attempts of a delivery, the oldest of them first.
pub(crate) async fn attempts(
    tx: &mut Tx,
    tenant: TenantId,
    id: WebhookDeliveryId,
    limit: i64,
) -> Result<Vec<AttemptRow>, Error> {
    let sql = "select at, duration_ms, status_code, error, response from omni_webhook_attempts \
               where tenant_id = $1 and delivery_id = $2 order by number desc limit $3";
    let mut rows: Vec<AttemptRow> = tx.query(sql).bind(tenant).bind(id).bind(limit).fetch_all().await?;
    rows.reverse();
    Ok(rows)
}

/// Returns the tenant's newest messages, at most `limit`.
pub(crate) async fn messages(tx: &mut Tx, tenant: TenantId, limit: i64) -> Result<Vec<MessageRow>, Error> {
    let sql = "select m.id, m.kind, m.created_at, \
               (select count(*) from omni_webhook_deliveries d where d.message_id = m.id) as deliveries, \
               (select count(*) from omni_webhook_deliveries d where d.message_id = m.id \
               and d.state = 'delivered') as delivered, \
               (select count(*) from omni_webhook_deliveries d where d.message_id = m.id \
               and d.state = 'failed') as failed, \
               (select count(*) from omni_webhook_deliveries d where d.message_id = m.id \
               and d.state = 'skipped') as skipped \
               from omni_webhook_messages m where m.tenant_id = $1 order by m.id desc limit $2";
    tx.query(sql).bind(tenant).bind(limit).fetch_all().await
}
