//! The recorder behind core's [`UsageSink`](omnistack_core::usage::UsageSink).

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Dialect, OutboxReceiver, Tx},
    id::Id,
    identity::{ApiKeyId, TenantId, UserId},
    usage::{DataEnvironment, Decimal, UsageEvent, UsageRecorder},
};
use serde::{Deserialize, Serialize};

use super::{Ledger, event::UsageOutcome};

/// The kind of the outbox rows with events of tenant databases.
const OUTBOX_KIND: &str = "usage";

/// The recorder of the app's own usage.
#[derive(Clone)]
pub(super) struct LedgerSink(pub(super) Ledger);

#[async_trait]
impl UsageRecorder for LedgerSink {
    fn count(&self, event: UsageEvent) {
        self.0.count(event);
    }

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        if events.is_empty() {
            return Ok(());
        }
        if let Some(tenant) = tx.tenant().filter(|_| tx.in_tenant_database()) {
            let rows: Vec<OutboxUsage> = events.iter().map(OutboxUsage::from).collect();
            return db::add_to_outbox(tx, tenant, OUTBOX_KIND, &rows, self.0.clock().now()).await;
        }
        if tx.dialect() == Dialect::Postgres && tx.tenant().is_none() {
            record_without_tenant(&self.0, tx, events).await
        } else {
            record(&self.0, tx, events).await
        }
    }
}

/// Records events of the app. One that does not count is logged, because the app gets no results.
async fn record(ledger: &Ledger, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
    let named: Vec<_> = events.iter().map(|event| (event.meter.clone(), event.tenant)).collect();
    let outcomes = ledger.record_in(tx, events).await?;
    for ((meter, tenant), outcome) in named.iter().zip(outcomes) {
        match outcome {
            UsageOutcome::Accepted { .. } | UsageOutcome::Duplicate => {}
            UsageOutcome::Conflict | UsageOutcome::Unmatched | UsageOutcome::Rejected(_) => {
                tracing::warn!(target: "omnistack::usage", %meter, %tenant, outcome = outcome.as_str(), ?outcome,
                    "a usage event of the app does not count");
            }
        }
    }
    Ok(())
}

/// Records events in a transaction that was not begun for a tenant: the policies of the tables let it see the rows of
/// all tenants meanwhile.
async fn record_without_tenant(ledger: &Ledger, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
    let current = "select coalesce(current_setting('omnistack.tenant', true), '')";
    let (before,): (String,) = tx.query(current).fetch_one().await?;
    set_visible_tenant(tx, "*").await?;
    let recorded = record(ledger, tx, events).await;
    // Also after an error that has not ended the transaction, so that the caller never sees the rows of all tenants.
    let restored = set_visible_tenant(tx, &before).await;
    recorded.and(restored)
}

async fn set_visible_tenant(tx: &mut Tx, tenant: &str) -> Result<(), db::Error> {
    let set = tx.query("select set_config('omnistack.tenant', $1, true)").bind(tenant.to_owned());
    set.fetch_one::<(String,)>().await.map(drop)
}

/// The receiver of the events that transactions in tenant databases leave in their outbox. It gets the ledger when the
/// app is built.
pub(super) struct UsageOutboxReceiver(pub(super) Arc<OnceLock<Ledger>>);

#[async_trait]
impl OutboxReceiver for UsageOutboxReceiver {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    /// Stores the events, unless they were stored before.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let rows: Vec<OutboxUsage> =
            serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        let ledger = self.0.get().ok_or_else(|| db::unreadable_row("the app has no ledger of usage"))?;
        let now = ledger.clock().now();
        let mut events: Vec<UsageEvent> = rows.into_iter().map(UsageEvent::from).collect();
        for event in &mut events {
            // The clock of another process can be ahead, and an event of the future is rejected.
            event.at = event.at.min(now);
        }
        record(ledger, tx, events).await
    }
}

/// A usage event in the outbox of a tenant database.
#[derive(Serialize, Deserialize)]
struct OutboxUsage {
    tenant: TenantId,
    environment: DataEnvironment,
    meter: String,
    quantity: String,
    at: Timestamp,
    source: String,
    id: Option<String>,
    category: Option<String>,
    user: Option<UserId>,
    api_key: Option<ApiKeyId>,
}

impl From<&UsageEvent> for OutboxUsage {
    fn from(event: &UsageEvent) -> Self {
        Self {
            tenant: event.tenant,
            environment: event.environment,
            meter: event.meter.to_string(),
            quantity: event.quantity.to_string(),
            at: event.at,
            source: event.source.to_string(),
            // A row that is relayed twice has the same id.
            id: Some(event.id.clone().unwrap_or_else(|| Id::<Self>::new(event.at).to_string())),
            category: event.category.as_deref().map(str::to_owned),
            user: event.user,
            api_key: event.api_key,
        }
    }
}

impl From<OutboxUsage> for UsageEvent {
    fn from(row: OutboxUsage) -> Self {
        // The text was made of a decimal number.
        let quantity = Decimal::from_str_exact(&row.quantity).unwrap_or_default();
        let event = Self::new(row.tenant, row.meter, quantity, row.at);
        let mut event = event.environment(row.environment).api_key(row.api_key);
        (event.source, event.id) = (row.source.into(), row.id);
        (event.category, event.user) = (row.category.map(Into::into), row.user);
        event
    }
}
