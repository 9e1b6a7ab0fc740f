//! The SQL of publishing: a message, and a delivery for each endpoint that receives it.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Sql, Tx},
    id::Id,
    identity::TenantId,
};
use serde::{Deserialize, Serialize};

use super::{hex, json};
use crate::outbound::endpoint::{EndpointStatus, WebhookEndpointId, WebhookMessageId};

/// A message to be inserted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct NewMessage {
    pub(crate) id: WebhookMessageId,
    pub(crate) tenant: TenantId,
    pub(crate) kind: String,
    pub(crate) version: i64,
    pub(crate) payload: String,
    pub(crate) key: Option<String>,
    pub(crate) created_at: Timestamp,
    /// The endpoint that does not receive the message, because the message is about it.
    pub(crate) except: Option<WebhookEndpointId>,
    /// The `traceparent` of the trace in which it was published.
    pub(crate) trace: Option<String>,
    /// The `tracestate` of that trace.
    pub(crate) trace_state: Option<String>,
}

/// Inserts a message, unless there is one of this id or key.
const INSERT: &str = "insert into omni_webhook_messages \
    (id, tenant_id, kind, version, payload, idempotency_key, created_at, trace, trace_state) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing";

const MATCHING: Sql = Sql {
    postgres: "select id, status from omni_webhook_endpoints where tenant_id = $1
        and exists (select 1 from json_array_elements_text(events::json) as value where value in ('*', $2))",
    sqlite: "select id, status from omni_webhook_endpoints where tenant_id = $1
        and exists (select 1 from json_each(events) where value in ('*', $2))",
};

/// Inserts the deliveries of a message. Rows of endpoints are not locked: one that is deleted at the same time may get
/// a delivery, which is never sent.
const INSERT_DELIVERIES: Sql = Sql {
    postgres: "insert into omni_webhook_deliveries
            (id, tenant_id, endpoint_id, message_id, state, next_at, created_at, finished_at)
        select (item ->> 'id')::uuid, $2, (item ->> 'endpoint')::uuid, $3, item ->> 'state',
            case item ->> 'state' when 'pending' then $4::timestamptz end, $4::timestamptz,
            case item ->> 'state' when 'skipped' then $4::timestamptz end
        from json_array_elements($1::json) as item",
    sqlite: "insert into omni_webhook_deliveries
            (id, tenant_id, endpoint_id, message_id, state, next_at, created_at, finished_at)
        select unhex(value ->> 'id'), $2, unhex(value ->> 'endpoint'), $3, value ->> 'state',
            case value ->> 'state' when 'pending' then $4 end, $4,
            case value ->> 'state' when 'skipped' then $4 end
        from json_each($1)",
};

#[derive(Serialize)]
struct NewDelivery {
    id: String,
    endpoint: String,
    state: &'static str,
}

/// Inserts a message and its deliveries, unless the message exists already. The deliveries of endpoints that are
/// disabled are skipped. Returns whether a delivery is due.
pub(crate) async fn insert(tx: &mut Tx, message: NewMessage, now: Timestamp) -> Result<bool, Error> {
    let NewMessage { id, tenant, kind, version, payload, key, created_at, except, trace, trace_state } = message;
    let insert = tx.query(INSERT).bind(id).bind(tenant).bind(kind.clone()).bind(version).bind(payload);
    let insert = insert.bind(key).bind(created_at).bind(trace).bind(trace_state);
    if insert.execute().await? == 0 {
        return Ok(false);
    }
    let endpoints: Vec<(WebhookEndpointId, String)> = tx.query(MATCHING).bind(tenant).bind(kind).fetch_all().await?;
    let deliveries: Vec<_> = endpoints
        .into_iter()
        .filter(|(endpoint, _)| Some(*endpoint) != except)
        .map(|(endpoint, status)| NewDelivery {
            id: hex(Id::<()>::new(now).uuid()),
            endpoint: hex(endpoint.uuid()),
            state: match EndpointStatus::from_stored(&status) {
                EndpointStatus::Enabled | EndpointStatus::Paused => "pending",
                EndpointStatus::Disabled => "skipped",
            },
        })
        .collect();
    if deliveries.is_empty() {
        return Ok(false);
    }
    tx.query(INSERT_DELIVERIES).bind(json(&deliveries)).bind(tenant).bind(id).bind(now).execute().await?;
    Ok(deliveries.iter().any(|delivery| delivery.state == "pending"))
}
