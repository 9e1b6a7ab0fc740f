//! The intake: webhooks that arrive at the same time are stored in one transaction, which waits for the disk once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use omnistack_core::{
    http::Error,
    trace::TraceContext,
    webhook::{InboundWebhook, WebhookId},
};
use tokio::sync::oneshot;

use super::store::InboxStore;

/// Largest number of webhooks that one transaction stores.
const MAX_BATCH: usize = 64;
/// Number of transactions at once: one is prepared while another waits for the disk.
const MAX_TRANSACTIONS: usize = 2;

/// A webhook that waits to be stored.
struct WaitingWebhook {
    webhook: InboundWebhook,
    trace: Option<TraceContext>,
    /// Gets the id, or `None` if the webhook was stored before.
    stored: oneshot::Sender<Result<Option<WebhookId>, Error>>,
}

#[derive(Default)]
struct IntakeQueue {
    waiting: VecDeque<WaitingWebhook>,
    /// Number of tasks that store webhooks.
    tasks: usize,
}

/// Stores webhooks in batches. Nothing waits for a batch to fill: a webhook that arrives alone is stored at once. Cheap
/// to clone.
#[derive(Clone)]
pub(super) struct Intake {
    store: InboxStore,
    queue: Arc<Mutex<IntakeQueue>>,
}

impl Intake {
    pub(super) fn new(store: InboxStore) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// Stores a webhook and publishes that it has to be processed. Returns `None` if it was stored before.
    pub(super) async fn insert(&self, webhook: InboundWebhook) -> Result<Option<WebhookId>, Error> {
        let (stored, answer) = oneshot::channel();
        let trace = TraceContext::current();
        let starts = {
            let mut queue = self.queue();
            queue.waiting.push_back(WaitingWebhook { webhook, trace, stored });
            let starts = queue.tasks < MAX_TRANSACTIONS;
            queue.tasks += usize::from(starts);
            starts
        };
        if starts {
            // A task of its own, so that a client that disconnects does not end the transaction of others.
            tokio::spawn(self.clone().run());
        }
        answer.await.unwrap_or_else(|_| Err(Error::internal("the task that stores webhooks has ended")))
    }

    /// Stores what waits, until nothing does.
    async fn run(self) {
        let mut panic_guard = TaskGuard(Some(&self));
        loop {
            let batch: Vec<WaitingWebhook> = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    // With the lock held, so that a webhook that comes now starts a task.
                    queue.tasks -= 1;
                    panic_guard.0 = None;
                    return;
                }
                let count = queue.waiting.len().min(MAX_BATCH);
                queue.waiting.drain(..count).collect()
            };
            self.store(batch).await;
        }
    }

    /// Stores a batch. If that fails, stores each webhook by itself, so that one does not keep the others out.
    async fn store(&self, mut batch: Vec<WaitingWebhook>) {
        // A transaction sees the rows of one tenant. Equal orders of events keep transactions from a deadlock.
        batch.sort_by(|one, other| {
            let (one, other) = (&one.webhook, &other.webhook);
            let tenants = one.tenant.map(|id| id.uuid()).cmp(&other.tenant.map(|id| id.uuid()));
            tenants.then_with(|| one.event.id.cmp(&other.event.id)).then_with(|| one.source.cmp(&other.source))
        });
        for of_tenant in chunks_of_tenants(batch) {
            let rows: Vec<_> = of_tenant.iter().map(|waiting| (&waiting.webhook, waiting.trace.clone())).collect();
            match self.store.insert_all(&rows).await {
                Ok(ids) => {
                    for (waiting, id) in of_tenant.into_iter().zip(ids) {
                        _ = waiting.stored.send(Ok(id));
                    }
                }
                Err(_) => {
                    for waiting in of_tenant {
                        let stored = self.store.insert_all(&[(&waiting.webhook, waiting.trace.clone())]).await;
                        _ = waiting.stored.send(stored.map(|ids| ids.into_iter().next().flatten()));
                    }
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, IntakeQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the end of a task that panics.
struct TaskGuard<'a>(Option<&'a Intake>);

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        if let Some(intake) = self.0 {
            intake.queue().tasks -= 1;
        }
    }
}

/// Splits a sorted batch into those of each tenant.
fn chunks_of_tenants(batch: Vec<WaitingWebhook>) -> Vec<Vec<WaitingWebhook>> {
    let mut chunks: Vec<Vec<WaitingWebhook>> = Vec::new();
    for waiting in batch {
        match chunks.last_mut() {
            Some(chunk) if chunk.last().is_some_and(|last| last.webhook.tenant == waiting.webhook.tenant) => {
                chunk.push(waiting);
            }
            _ => chunks.push(vec![waiting]),
        }
    }
    chunks
}
