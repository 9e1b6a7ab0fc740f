//! Processing of stored webhooks, by a subscriber of [`WebhookStored`].
//!
//! The events of core give a webhook its lease, its retries and its place behind earlier webhooks of the same object.
//! The handlers' rows, the status of the webhook and the acknowledgement are one transaction.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use omnistack_core::{
    db,
    events::{Delivery, Subscriber},
    jobs::JobError,
    metrics::{WEBHOOK_EVENTS, WEBHOOK_PROCESSING_DURATION},
    webhook::{InboundWebhook, WebhookId, WebhookOutcome, WebhookSources, WebhookStatus, WebhookTx},
};
use tokio::time::timeout;

use super::{
    event::{WebhookGivenUp, WebhookStored},
    store::{InboxStore, status_of},
};

/// Name of the subscriber, which is stored with each delivery.
pub(super) const PROCESS: &str = "webhooks.process";
/// Longest time that the handlers of a webhook may take together.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to load a webhook and to record its result.
const RECORD_TIMEOUT: Duration = Duration::from_secs(15);

/// The subscriber that calls the handlers of a webhook.
pub(super) struct ProcessWebhooks {
    pub(super) store: InboxStore,
    pub(super) sources: WebhookSources,
}

/// The result of an attempt.
enum Attempt {
    Handled(WebhookOutcome),
    Failed(JobError),
    Panicked(Box<dyn Any + Send>),
}

#[async_trait]
impl Subscriber for ProcessWebhooks {
    type Event = WebhookStored;
    /// About nine hours, with the pauses between them. Until then, later webhooks of the same object wait.
    const MAX_ATTEMPTS: u32 = 20;
    const TIMEOUT: Duration = HANDLER_TIMEOUT.saturating_add(RECORD_TIMEOUT);

    async fn handle(&self, event: WebhookStored, delivery: &mut Delivery) -> Result<(), JobError> {
        let id = event.webhook;
        // It is gone if its retention has ended or its tenant was deleted.
        let Some(stored) = self.store.get(id).await? else { return Ok(()) };
        let webhook = stored.to_inbound();
        let began = self.store.clock.elapsed();
        let attempt = self.attempt(&webhook, delivery).await;
        let took = self.store.clock.elapsed().saturating_sub(began);
        WEBHOOK_PROCESSING_DURATION.histogram([webhook.source.clone()]).record(took);
        match attempt {
            Attempt::Handled(outcome) => {
                self.finish(id, &webhook, outcome, took, delivery).await?;
                count(&webhook, status_of(outcome));
                Ok(())
            }
            // It has not failed: a handler wants it later.
            Attempt::Failed(error) if error.is_snooze() => Err(error),
            Attempt::Failed(error) => {
                let is_last = !error.is_retryable() || delivery.attempt() >= Self::MAX_ATTEMPTS;
                self.fail(id, &webhook, &error.to_string(), is_last, took, delivery).await;
                Err(error)
            }
            Attempt::Panicked(panic) => {
                let error = format!("panicked: {}", panic_message(panic.as_ref()));
                let is_last = delivery.attempt() >= Self::MAX_ATTEMPTS;
                self.fail(id, &webhook, &error, is_last, took, delivery).await;
                // So that it is reported like every other panic.
                resume_unwind(panic)
            }
        }
    }
}

impl ProcessWebhooks {
    async fn attempt(&self, webhook: &InboundWebhook, delivery: &mut Delivery) -> Attempt {
        let mut tx = WebhookTx::of_delivery(delivery);
        let handled = AssertUnwindSafe(self.sources.handle(webhook, &mut tx)).catch_unwind();
        match timeout(HANDLER_TIMEOUT, handled).await {
            Ok(Ok(Ok(outcome))) => Attempt::Handled(outcome),
            Ok(Ok(Err(error))) => Attempt::Failed(error),
            Ok(Err(panic)) => Attempt::Panicked(panic),
            Err(_) => Attempt::Failed(JobError::retry(format!("the handlers took longer than {HANDLER_TIMEOUT:?}"))),
        }
    }

    /// Records the outcome in the transaction of the handlers.
    async fn finish(
        &self,
        id: WebhookId,
        webhook: &InboundWebhook,
        outcome: WebhookOutcome,
        took: Duration,
        delivery: &mut Delivery,
    ) -> Result<(), db::Error> {
        if delivery.tenant().is_none() || self.store.db.tenant_databases().is_none() {
            return self.store.finish_in(delivery.tx().await?, id, outcome, took).await;
        }
        // The handlers' transaction is in the tenant's database, and the webhook in the app's. If the former fails to
        // commit, the webhook is processed again, and its status is recorded again.
        let mut tx = self.store.begin(webhook.tenant).await?;
        self.store.finish_in(&mut tx, id, outcome, took).await?;
        tx.commit().await
    }

    /// Records a failed attempt, after the rollback of what its handlers have written. After the last attempt, makes
    /// the later webhooks of the same object continue.
    async fn fail(
        &self,
        id: WebhookId,
        webhook: &InboundWebhook,
        error: &str,
        is_last: bool,
        took: Duration,
        delivery: &mut Delivery,
    ) {
        // Nothing is to be recorded if another process has taken over the delivery, or if an earlier attempt was
        // committed.
        if delivery.rollback().await.is_err() {
            return;
        }
        count(webhook, WebhookStatus::Failed);
        let given_up = is_last.then(|| WebhookGivenUp { webhook: id, event: delivery.id() });
        if let Err(error) = self.record_failure(id, error, given_up, took).await {
            tracing::warn!(target: "omnistack::webhooks", webhook = %id, %error,
                "the failure of a webhook could not be recorded");
        }
    }

    async fn record_failure(
        &self,
        id: WebhookId,
        error: &str,
        given_up: Option<WebhookGivenUp>,
        took: Duration,
    ) -> Result<(), JobError> {
        // Sees all tenants, so that the event belongs to none: what it causes happens in the app's database.
        let mut tx = self.store.db.all_tenants().begin().await?;
        self.store.fail_in(&mut tx, id, error, took).await?;
        if let Some(given_up) = given_up {
            self.store.events.publish_in(&mut tx, &given_up).await?;
        }
        Ok(tx.commit().await?)
    }
}

fn count(webhook: &InboundWebhook, status: WebhookStatus) {
    WEBHOOK_EVENTS.counter([webhook.source.clone(), status.as_str().to_owned()]).increment(1);
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
