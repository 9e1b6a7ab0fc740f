//! The intake: webhooks that arrive at the same time are stored in one transaction, which waits for the disk once.

use omnistack_core::{
    db::{GroupCommit, Submission},
    http::Error,
    trace::TraceContext,
    webhook::{InboundWebhook, WebhookId},
};

use super::store::InboxStore;

/// Largest number of webhooks that one transaction stores.
const MAX_BATCH: usize = 64;

/// A webhook with the trace context of its request.
type TracedWebhook = (InboundWebhook, Option<TraceContext>);
/// The id of a webhook that was stored, or `None` if it was stored before.
type InsertResult = Result<Option<WebhookId>, Error>;
type WaitingWebhook = Submission<TracedWebhook, InsertResult>;

/// The intake of webhooks, which stores them in batches. Cheap to clone.
#[derive(Clone)]
pub(super) struct Intake {
    store: InboxStore,
    commits: GroupCommit<TracedWebhook, InsertResult>,
}

impl Intake {
    pub(super) fn new(store: InboxStore) -> Self {
        Self { store, commits: GroupCommit::new(MAX_BATCH) }
    }

    /// Stores a webhook and publishes that it has to be processed. Returns `None` if it was stored before.
    pub(super) async fn insert(&self, webhook: InboundWebhook) -> InsertResult {
        let store = self.store.clone();
        let store = move |batch| store_batch(store.clone(), batch);
        let stored = self.commits.submit((webhook, TraceContext::current()), 1, store).await;
        stored.unwrap_or_else(|error| Err(Error::internal(error)))
    }
}

/// Stores a batch, one tenant after the other. If that fails, stores each webhook by itself, so that it does not keep
/// the others out.
async fn store_batch(store: InboxStore, mut batch: Vec<WaitingWebhook>) {
    // A transaction sees the rows of one tenant. Equal orders of events keep transactions from a deadlock.
    batch.sort_by(|one, other| {
        let (one, other) = (&one.item.0, &other.item.0);
        let tenants = one.tenant.map(|id| id.uuid()).cmp(&other.tenant.map(|id| id.uuid()));
        tenants.then_with(|| one.event.id.cmp(&other.event.id)).then_with(|| one.source.cmp(&other.source))
    });
    for of_tenant in chunks_of_tenants(batch) {
        let rows: Vec<_> = of_tenant.iter().map(row).collect();
        match store.insert_all(&rows).await {
            Ok(ids) => of_tenant.into_iter().zip(ids).for_each(|(waiting, id)| waiting.answer(Ok(id))),
            Err(_) => {
                for waiting in of_tenant {
                    let stored = store.insert_all(&[row(&waiting)]).await;
                    waiting.answer(stored.map(|ids| ids.into_iter().next().flatten()));
                }
            }
        }
    }
}

fn row(waiting: &WaitingWebhook) -> (&InboundWebhook, Option<TraceContext>) {
    let (webhook, trace) = &waiting.item;
    (webhook, trace.clone())
}

/// Splits a sorted batch into those of each tenant.
fn chunks_of_tenants(batch: Vec<WaitingWebhook>) -> Vec<Vec<WaitingWebhook>> {
    let mut chunks: Vec<Vec<WaitingWebhook>> = Vec::new();
    for waiting in batch {
        match chunks.last_mut() {
            Some(chunk) if chunk.last().is_some_and(|last| last.item.0.tenant == waiting.item.0.tenant) => {
                chunk.push(waiting);
            }
            _ => chunks.push(vec![waiting]),
        }
    }
    chunks
}
