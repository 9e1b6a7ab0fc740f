//! The SQL that makes deliveries pending again, and that adds those that are missing.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Sql, Tx},
    id::Id,
    identity::TenantId,
};
use serde::Serialize;

use super::{first_id, hex, json};
use crate::outbound::{
    endpoint::{EndpointRow, WebhookDeliveryId, WebhookMessageId},
    publish::ENDPOINT_DISABLED,
};

/// A period in which messages were published. The end is not part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessagePeriod {
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
}

/// Makes deliveries pending. One that a process is sending is left alone.
const MAKE_PENDING: Sql = Sql {
    postgres: "update omni_webhook_deliveries set state = 'pending', attempts = 0, next_at = $3, lease_until = null,
            status_code = null, error = null, finished_at = null
        where tenant_id = $2 and (state <> 'sending' or lease_until is null or lease_until < $3)
        and id in (select value::uuid from json_array_elements_text($1::json) as value)",
    sqlite: "update omni_webhook_deliveries set state = 'pending', attempts = 0, next_at = $3, lease_until = null,
            status_code = null, error = null, finished_at = null
        where tenant_id = $2 and (state <> 'sending' or lease_until is null or lease_until < $3)
        and id in (select unhex(value) from json_each($1))",
};

/// Makes deliveries pending, with all their attempts. Returns their number, without those that are being sent.
pub(crate) async fn make_pending(
    tx: &mut Tx,
    tenant: TenantId,
    ids: &[WebhookDeliveryId],
    now: Timestamp,
) -> Result<u64, Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let list = json(&ids.iter().map(|id| hex(id.uuid())).collect::<Vec<_>>());
    tx.query(MAKE_PENDING).bind(list).bind(tenant).bind(now).execute().await
}

/// Returns the deliveries of an endpoint that have failed or were skipped, in the order of their messages.
pub(crate) async fn unsuccessful(
    tx: &mut Tx,
    endpoint: &EndpointRow,
    period: MessagePeriod,
    limit: i64,
) -> Result<Vec<WebhookDeliveryId>, Error> {
    // The last condition is that of the index.
    let sql = "select id from omni_webhook_deliveries where tenant_id = $1 and endpoint_id = $2 and message_id >= $3 \
               and message_id < $4 and state in ('failed', 'skipped') and state <> 'delivered' \
               order by message_id limit $5";
    let query = tx.query(sql).bind(endpoint.tenant_id).bind(endpoint.id);
    let query = query.bind(first_id(period.since)).bind(first_id(period.until)).bind(limit);
    let rows: Vec<(WebhookDeliveryId,)> = query.fetch_all().await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Messages that an endpoint receives and for which it has no delivery, except those about the endpoint itself.
const MISSING: Sql = Sql {
    postgres: "select m.id from omni_webhook_messages m where m.tenant_id = $1 and m.id >= $2 and m.id < $3
        and exists (select 1 from json_array_elements_text($4::json) as value where value in ('*', m.kind))
        and not exists (select 1 from omni_webhook_deliveries d where d.endpoint_id = $5 and d.message_id = m.id)
        and (m.kind <> $6 or m.payload::json #>> '{data,endpoint}' <> $7)
        order by m.id limit $8",
    sqlite: "select m.id from omni_webhook_messages m where m.tenant_id = $1 and m.id >= $2 and m.id < $3
        and exists (select 1 from json_each($4) where value in ('*', m.kind))
        and not exists (select 1 from omni_webhook_deliveries d where d.endpoint_id = $5 and d.message_id = m.id)
        and (m.kind <> $6 or m.payload ->> '$.data.endpoint' <> $7)
        order by m.id limit $8",
};

const INSERT_MISSING: Sql = Sql {
    postgres: "insert into omni_webhook_deliveries (id, tenant_id, endpoint_id, message_id, state, next_at, created_at)
        select (item ->> 'id')::uuid, $2, $3, (item ->> 'message')::uuid, 'pending', $4, $4
        from json_array_elements($1::json) as item on conflict do nothing",
    sqlite: "insert into omni_webhook_deliveries (id, tenant_id, endpoint_id, message_id, state, next_at, created_at)
        select unhex(value ->> 'id'), $2, $3, unhex(value ->> 'message'), 'pending', $4, $4
        from json_each($1) where true on conflict do nothing",
};

#[derive(Serialize)]
struct MissingDelivery {
    id: String,
    message: String,
}

/// Adds deliveries of messages that the endpoint receives and for which it has none, at most `limit`. Returns their
/// number.
pub(crate) async fn add_missing(
    tx: &mut Tx,
    endpoint: &EndpointRow,
    period: MessagePeriod,
    limit: i64,
    now: Timestamp,
) -> Result<u64, Error> {
    let query = tx.query(MISSING).bind(endpoint.tenant_id);
    let query = query.bind(first_id(period.since)).bind(first_id(period.until)).bind(endpoint.events.clone());
    let query = query.bind(endpoint.id).bind(ENDPOINT_DISABLED).bind(endpoint.id.to_string());
    let missing: Vec<(WebhookMessageId,)> = query.bind(limit).fetch_all().await?;
    if missing.is_empty() {
        return Ok(0);
    }
    let deliveries: Vec<_> = missing
        .into_iter()
        .map(|(message,)| MissingDelivery { id: hex(Id::<()>::new(now).uuid()), message: hex(message.uuid()) })
        .collect();
    let insert = tx.query(INSERT_MISSING).bind(json(&deliveries)).bind(endpoint.tenant_id).bind(endpoint.id);
    insert.bind(now).execute().await
}
