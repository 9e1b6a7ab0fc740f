//! Continues with the later webhooks of an object after one of them has used up its attempts.
//!
//! A delivery of core's events that has failed permanently holds back the later ones of its key. Handlers of webhooks
//! accept any order, and a webhook that failed is kept with its error, for an operator to replay. So its delivery is
//! skipped.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Clock,
    db,
    events::{Delivery, DeliveryFilter, DeliveryInfo, DeliveryState, Event as _, Subscriber},
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    event::{WebhookGivenUp, WebhookStored},
    process::PROCESS,
    store::InboxStore,
};

/// Number of failed deliveries that are read at once.
const BATCH: u32 = 100;
/// Pause before a delivery is looked at again whose result is not stored yet.
const RESULT_PAUSE: Duration = Duration::from_secs(1);
/// Time after which the hourly job is left to skip a delivery.
const RESULT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The subscriber that skips the delivery of a webhook that was given up.
pub(super) struct SkipGivenUp {
    pub(super) store: InboxStore,
}

#[async_trait]
impl Subscriber for SkipGivenUp {
    type Event = WebhookGivenUp;

    async fn handle(&self, event: WebhookGivenUp, delivery: &mut Delivery) -> Result<(), JobError> {
        let filter = DeliveryFilter::subscriber(PROCESS).id(event.event);
        let found = self.store.events.deliveries(&filter, None, 1).await?;
        match found.first() {
            Some(failed) if failed.state == DeliveryState::Dead => self.store.skip_failed(failed).await.map(drop),
            // The process that has failed to deliver it is about to store that.
            Some(running) if running.state == DeliveryState::Waiting && is_recent(&self.store.clock, delivery) => {
                Err(JobError::snooze(RESULT_PAUSE))
            }
            _ => Ok(()),
        }
    }
}

fn is_recent(clock: &Clock, delivery: &Delivery) -> bool {
    clock.now().duration_since(delivery.published_at()) < RESULT_TIMEOUT
}

impl InboxStore {
    /// Records that a webhook has failed, unless an attempt has recorded it, and skips its delivery. Returns whether
    /// the delivery was skipped.
    async fn skip_failed(&self, failed: &DeliveryInfo) -> Result<bool, JobError> {
        if let Ok(event) = serde_json::from_value::<WebhookStored>(failed.payload.clone()) {
            let error = failed.error.as_deref().unwrap_or("its attempts ended without a result");
            self.give_up(event.webhook, error).await?;
        }
        let filter = DeliveryFilter::subscriber(PROCESS).id(failed.id).state(DeliveryState::Dead);
        Ok(self.events.skip(&filter).await? > 0)
    }

    /// Skips deliveries that are replaced by newer ones.
    pub(super) async fn skip_replaced(&self, replaced: Vec<DeliveryInfo>) -> Result<(), db::Error> {
        for delivery in replaced {
            self.events.skip(&DeliveryFilter::subscriber(PROCESS).id(delivery.id)).await?;
        }
        Ok(())
    }

    /// Returns the unfinished deliveries of a webhook among the newest of its object.
    pub(super) async fn unfinished(&self, event: &WebhookStored) -> Result<Vec<DeliveryInfo>, db::Error> {
        let mut unfinished = Vec::new();
        for state in [DeliveryState::Waiting, DeliveryState::Dead] {
            let filter = DeliveryFilter::subscriber(PROCESS).key(event.key()).state(state);
            let found = self.events.deliveries(&filter, None, BATCH).await?;
            unfinished.extend(found.into_iter().filter(|one| is_of(one, event)));
        }
        Ok(unfinished)
    }
}

fn is_of(delivery: &DeliveryInfo, event: &WebhookStored) -> bool {
    delivery.payload["webhook"] == event.webhook.to_string()
}

/// The job that finds deliveries that failed without a handler noticing, for example because the process crashed each
/// time. It runs once an hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SkipFailedWebhooks {}

#[async_trait]
impl Job for SkipFailedWebhooks {
    const NAME: &'static str = "webhooks.skip_failed";
    const MAX_ATTEMPTS: u32 = 2;

    type State = InboxStore;

    async fn run(self, store: &InboxStore, _: &JobContext) -> Result<(), JobError> {
        let filter = DeliveryFilter::subscriber(PROCESS).state(DeliveryState::Dead);
        loop {
            let failed = store.events.deliveries(&filter, None, BATCH).await?;
            let mut skipped = false;
            for delivery in &failed {
                skipped |= store.skip_failed(delivery).await?;
            }
            if !skipped {
                return Ok(());
            }
        }
    }
}
