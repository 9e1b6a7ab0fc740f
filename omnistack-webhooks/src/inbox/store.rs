//! The SQL of the inbox: storing webhooks and recording what became of them.

use std::{collections::HashSet, time::Duration};

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Arguments, BulkInsert, Db, Tx},
    events::Events,
    http::Error,
    identity::TenantId,
    trace::TraceContext,
    webhook::{InboundWebhook, SourceEvent, WebhookId, WebhookOutcome, WebhookStatus},
};

use super::{
    event::WebhookStored,
    headers,
    model::{InboxRow, ROW_COLUMNS, StoredWebhook},
};

/// Longest error that is stored, in characters.
const MAX_ERROR_CHARS: usize = 2_000;

static INSERT: BulkInsert<13> = BulkInsert::new(
    "insert into omni_webhooks (id, source, environment, event_id, kind, tenant_id, object, occurred_at, url, headers,
    body, received_at, status) values",
    "on conflict (event_id, source, environment) do nothing returning id",
);

/// Adds the values of a row of [`INSERT`].
fn bind(row: &mut Arguments, id: WebhookId, webhook: &InboundWebhook) {
    let InboundWebhook { source, event, tenant, url, headers, body, received_at, .. } = webhook;
    row.push(id);
    row.push(source.clone());
    row.push(event.environment.as_str());
    row.push(event.id.clone());
    row.push(event.kind.clone());
    row.push(*tenant);
    row.push(event.object.clone());
    row.push(event.occurred_at);
    row.push(url.clone());
    row.push(headers::to_json(headers));
    row.push(body.to_vec());
    row.push(*received_at);
    row.push(WebhookStatus::Received.as_str());
}

/// The table of webhooks, which is in the app's database. Cheap to clone.
#[derive(Clone)]
pub(super) struct InboxStore {
    /// The app's database, without routing to tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: Events,
}

impl InboxStore {
    /// Begins a transaction that sees the webhooks of a tenant, or those without a tenant.
    pub(super) async fn begin(&self, tenant: Option<TenantId>) -> Result<Tx, db::Error> {
        match tenant {
            Some(tenant) => self.db.tenant(tenant).begin().await,
            None => self.db.begin().await,
        }
    }

    /// Stores webhooks of one tenant, or of none, and publishes that they have to be processed, in one transaction.
    /// Returns their ids in the same order, with `None` for a webhook that was stored before.
    pub(super) async fn insert_all(
        &self,
        webhooks: &[(&InboundWebhook, Option<TraceContext>)],
    ) -> Result<Vec<Option<WebhookId>>, Error> {
        let mut tx = self.begin(webhooks.first().and_then(|(webhook, _)| webhook.tenant)).await?;
        let rows: Vec<_> =
            webhooks.iter().map(|(webhook, _)| (WebhookId::new(webhook.received_at), *webhook)).collect();
        let inserted: Vec<(WebhookId,)> =
            INSERT.fetch_all(&mut tx, &rows, |row, (id, webhook)| bind(row, *id, webhook)).await?;
        let inserted: HashSet<WebhookId> = inserted.into_iter().map(|(id,)| id).collect();
        let ids: Vec<_> = rows.iter().map(|(id, _)| inserted.contains(id).then_some(*id)).collect();
        let stored: Vec<_> = webhooks
            .iter()
            .zip(&ids)
            .filter_map(|((webhook, trace), id)| Some((WebhookStored::new((*id)?, webhook), trace.clone())))
            .collect();
        if stored.is_empty() {
            tx.rollback().await?;
            return Ok(ids);
        }
        let events = stored.iter().map(|(event, trace)| (event, trace.clone()));
        self.events.publish_traced_in(&mut tx, events).await?;
        tx.commit().await?;
        Ok(ids)
    }

    /// Counts that a stored webhook was sent again. Returns its id, or `None` if it was deleted in the meantime.
    pub(super) async fn count_duplicate(
        &self,
        source: &str,
        event: &SourceEvent,
        received_at: Timestamp,
    ) -> Result<Option<WebhookId>, db::Error> {
        // The provider may have named another tenant before.
        let mut tx = self.db.all_tenants().begin().await?;
        let sql = "update omni_webhooks set duplicates = duplicates + 1, last_duplicate_at = $4
            where event_id = $1 and source = $2 and environment = $3 returning id";
        let update = tx.query(sql).bind(event.id.as_str()).bind(source);
        let update = update.bind(event.environment.as_str()).bind(received_at);
        let stored: Option<(WebhookId,)> = update.fetch_optional().await?;
        tx.commit().await?;
        Ok(stored.map(|(id,)| id))
    }

    /// Returns a webhook of any tenant, for operators and for processing.
    pub(super) async fn get(&self, id: WebhookId) -> Result<Option<StoredWebhook>, db::Error> {
        let mut tx = self.db.all_tenants().begin_read().await?;
        let sql = format!("select {ROW_COLUMNS}, url, headers, body from omni_webhooks where id = $1");
        let webhook = tx.query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional().await?;
        tx.commit().await?;
        Ok(webhook)
    }

    /// Returns a webhook of any tenant without what was sent, for operators.
    pub(super) async fn row(&self, id: WebhookId) -> Result<Option<InboxRow>, db::Error> {
        let mut tx = self.db.all_tenants().begin_read().await?;
        let sql = format!("select {ROW_COLUMNS} from omni_webhooks where id = $1");
        let row = tx.query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional().await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Records that a webhook was processed or ignored.
    pub(super) async fn finish_in(
        &self,
        tx: &mut Tx,
        id: WebhookId,
        outcome: WebhookOutcome,
        took: Duration,
    ) -> Result<(), db::Error> {
        tx.query(
            "update omni_webhooks set status = $2, attempts = attempts + 1, error = null, processed_at = $3,
             processing_ms = $4 where id = $1",
        )
        .bind(id)
        .bind(status_of(outcome).as_str())
        .bind(self.clock.now())
        .bind(milliseconds(took))
        .execute()
        .await
        .map(drop)
    }

    /// Records that an attempt to process a webhook has failed.
    pub(super) async fn fail_in(
        &self,
        tx: &mut Tx,
        id: WebhookId,
        error: &str,
        took: Duration,
    ) -> Result<(), db::Error> {
        tx.query(
            "update omni_webhooks set status = 'failed', attempts = attempts + 1, error = $2, processing_ms = $3
             where id = $1",
        )
        .bind(id)
        .bind(error_text(error))
        .bind(milliseconds(took))
        .execute()
        .await
        .map(drop)
    }

    /// Records why a webhook was not processed, if no attempt has recorded it.
    pub(super) async fn give_up(&self, id: WebhookId, error: &str) -> Result<(), db::Error> {
        // The delivery of a webhook of any tenant can fail.
        let mut tx = self.db.all_tenants().begin().await?;
        let sql = "update omni_webhooks set status = 'failed', error = $2 where id = $1 and status = 'received'";
        tx.query(sql).bind(id).bind(error_text(error)).execute().await?;
        tx.commit().await
    }

    /// Returns when a source was last asked for webhooks that it could not deliver.
    pub(super) async fn polled_at(&self, source: &str) -> Result<Option<Timestamp>, db::Error> {
        let sql = "select polled_at from omni_webhook_polls where source = $1";
        let found: Option<(Timestamp,)> = self.db.query(sql).bind(source).fetch_optional().await?;
        Ok(found.map(|(at,)| at))
    }

    /// Records that a source was asked for webhooks that it could not deliver.
    pub(super) async fn set_polled_at(&self, source: &str, at: Timestamp) -> Result<(), db::Error> {
        let sql = "insert into omni_webhook_polls (source, polled_at) values ($1, $2)
            on conflict (source) do update set polled_at = excluded.polled_at";
        self.db.query(sql).bind(source).bind(at).execute().await.map(drop)
    }
}

/// Returns the status of a webhook after its handlers have succeeded.
pub(super) fn status_of(outcome: WebhookOutcome) -> WebhookStatus {
    match outcome {
        WebhookOutcome::Processed => WebhookStatus::Processed,
        WebhookOutcome::Ignored => WebhookStatus::Ignored,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Returns the beginning of an error, without NUL, which PostgreSQL can't store.
fn error_text(error: &str) -> String {
    error.chars().take(MAX_ERROR_CHARS).map(|char| if char == '\0' { '\u{fffd}' } else { char }).collect()
}
