//! Replays: operators have stored webhooks processed again.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    db::{self, Sql, Tx},
    http::Error,
    identity::{Identity, TenantId},
    webhook::{WebhookId, WebhookStatus},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{event::WebhookStored, list::InboxFilter, model::InboxRow, store::InboxStore};

/// Largest number of webhooks that one request replays.
pub(super) const MAX_REPLAYED: u32 = 10_000;
/// Number of webhooks that are replayed in one transaction, which locks the objects of all of them.
const BATCH: u32 = 500;

const REPLAYED: Sql = Sql {
    postgres: "update omni_webhooks set status = 'received', error = null, replays = replays + 1
where id in (select json_array_elements_text($1::json)::uuid)",
    sqlite: "update omni_webhooks set status = 'received', error = null, replays = replays + 1
where id in (select unhex(replace(value, '-', '')) from json_each($1))",
};

/// The number of replayed webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhooksReplayed {
    /// The number of webhooks that are processed again.
    pub(super) replayed: u64,
    /// When the last of them was received.
    #[schema(required)]
    pub(super) last_received_at: Option<Timestamp>,
    /// Whether webhooks match that were received later. Replay them with `since`.
    pub(super) more: bool,
}

/// The replays of webhooks, with a record in the audit log. Cheap to clone.
#[derive(Clone)]
pub(super) struct WebhookReplays {
    pub(super) store: InboxStore,
    pub(super) log: AuditLog,
}

impl WebhookReplays {
    /// Replays a webhook. Returns it, or `None` if there is none with this id.
    pub(super) async fn replay(&self, id: WebhookId, caller: &Identity) -> Result<Option<InboxRow>, Error> {
        let Some(row) = self.store.row(id).await? else { return Ok(None) };
        let entry = AuditEntry::new("webhook.replayed").actor(caller).for_app().resource("webhook", id);
        self.publish(row.tenant_id, std::slice::from_ref(&row), entry).await?;
        Ok(self.store.row(id).await?)
    }

    /// Replays the oldest [`MAX_REPLAYED`] webhooks that match, in the order in which they were received.
    pub(super) async fn replay_all(&self, filter: InboxFilter, caller: &Identity) -> Result<WebhooksReplayed, Error> {
        let (mut last, mut replayed) = (None, 0);
        // Webhooks that are received from now on are not replayed.
        let until = filter.until.unwrap_or_else(|| self.store.clock.now() + Duration::from_micros(1));
        let filter = InboxFilter { until: Some(until), ..filter };
        while replayed < MAX_REPLAYED {
            let limit = BATCH.min(MAX_REPLAYED - replayed);
            let rows = self.oldest(&filter, last.map(|(id, _)| id), limit).await?;
            let Some(row) = rows.last() else { break };
            last = Some((row.id, row.received_at));
            replayed += u32::try_from(rows.len()).unwrap_or(limit);
            // An event belongs to the tenant of the transaction that publishes it.
            let mut by_tenant: BTreeMap<Option<TenantId>, Vec<InboxRow>> = BTreeMap::new();
            for row in rows {
                by_tenant.entry(row.tenant_id).or_default().push(row);
            }
            for (tenant, rows) in by_tenant {
                let details = details(&filter, rows.len());
                let entry = AuditEntry::new("webhook.replayed").actor(caller).for_app().details(details);
                self.publish(tenant, &rows, entry).await?;
            }
        }
        let more = !self.oldest(&filter, last.map(|(id, _)| id), 1).await?.is_empty();
        Ok(WebhooksReplayed { replayed: replayed.into(), last_received_at: last.map(|(_, at)| at), more })
    }

    async fn oldest(
        &self,
        filter: &InboxFilter,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<InboxRow>, db::Error> {
        // Operators replay the webhooks of all tenants.
        let mut tx = self.store.db.all_tenants().begin_read().await?;
        let rows = filter.oldest(&mut tx, after, limit).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Publishes that webhooks of one tenant have to be processed again. Their earlier deliveries that are not finished
    /// are skipped afterwards: if the process crashes in between, a webhook is processed twice, and none is lost.
    async fn publish(&self, tenant: Option<TenantId>, rows: &[InboxRow], entry: AuditEntry) -> Result<(), Error> {
        let events: Vec<WebhookStored> = rows.iter().map(WebhookStored::from).collect();
        let mut replaced = Vec::new();
        for (row, event) in rows.iter().zip(&events) {
            if matches!(row.status(), WebhookStatus::Received | WebhookStatus::Failed) {
                replaced.extend(self.store.unfinished(event).await?);
            }
        }
        let mut tx = self.store.begin(tenant).await?;
        mark_replayed(&mut tx, rows).await?;
        self.store.events.publish_all_in(&mut tx, &events).await?;
        self.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(self.store.skip_replaced(replaced).await?)
    }
}

async fn mark_replayed(tx: &mut Tx, rows: &[InboxRow]) -> Result<(), db::Error> {
    let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    tx.query(REPLAYED).bind(json!(ids).to_string()).execute().await.map(drop)
}

/// Returns the details of the audit entry about a number of webhooks.
fn details(filter: &InboxFilter, count: usize) -> Value {
    let InboxFilter { source, status, since, until, .. } = filter;
    json!({ "count": count, "source": source, "status": status, "since": since, "until": until })
}
