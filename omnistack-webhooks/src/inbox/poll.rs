//! Asks sources for webhooks that they could not deliver.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    http::{Error, StatusCode},
    jobs::{Job, JobContext, JobError},
    webhook::{MissedWebhooks, WebhookRequest},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::receive::DurableInbox;

/// Longest time that a source may take to answer.
pub(super) const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Age of the oldest webhooks that a source is asked for the first time.
const FIRST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// Time by which the period of a poll overlaps with the one before, for deliveries that were still being tried then.
const OVERLAP: Duration = Duration::from_secs(15 * 60);

/// The result of asking a source for webhooks that it could not deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WebhookPoll {
    /// The number of deliveries that the provider was asked to send again.
    redelivered: u64,
    /// The number of events that the provider has returned and that were new.
    received: u64,
    /// The number of events that the provider has returned and that were received before.
    duplicates: u64,
}

impl DurableInbox {
    /// Asks a source for webhooks that it could not deliver since it was last asked, and stores those that it returns.
    /// If there are more than could be handled at once, the next call asks for the same period. Returns `None` if the
    /// source can't be asked. Fails with 404 if there is no such source, and with 502 `WEBHOOK_POLL_FAILED` if its
    /// provider fails or takes longer than a minute.
    pub(super) async fn poll(&self, source: &str) -> Result<Option<WebhookPoll>, Error> {
        let (name, source) = self.sources().get(source).ok_or_else(|| Error::not_found("the webhook source"))?;
        let now = self.clock().now();
        let last = self.store().polled_at(name).await?;
        let since = last.map_or(now - FIRST_PERIOD, |last| last - OVERLAP);
        let missed = timeout(POLL_TIMEOUT, source.missed(since)).await;
        let missed = missed.unwrap_or_else(|_| Err(format!("no answer within {POLL_TIMEOUT:?}").into()));
        let Some(missed) = missed.map_err(poll_failed)? else { return Ok(None) };
        let MissedWebhooks { redelivered, events, has_more } = missed;
        let mut poll = WebhookPoll { redelivered, ..WebhookPoll::default() };
        let url = format!("{}/api/v1/public/webhooks/{name}", self.public_url().as_str());
        for (headers, body) in events {
            let request = WebhookRequest { url: &url, headers: &headers, body: &body, now };
            match self.store_missed(name, source.as_ref(), &request).await {
                Ok(Some(_)) => poll.received += 1,
                Ok(None) => poll.duplicates += 1,
                // Its form is wrong. Asking again would not help.
                Err(error) if error.status().is_client_error() => {
                    tracing::warn!(target: "omnistack::webhooks", source = name, %error,
                        "a webhook that a provider has returned could not be read");
                }
                Err(error) => return Err(error),
            }
        }
        if !has_more {
            self.store().set_polled_at(name, now).await?;
        }
        if poll != WebhookPoll::default() {
            tracing::info!(target: "omnistack::webhooks", source = name, redelivered = poll.redelivered,
                received = poll.received, duplicates = poll.duplicates, "missed webhooks were found");
        }
        Ok(Some(poll))
    }
}

fn poll_failed(error: omnistack_core::BoxError) -> Error {
    let message = "the provider could not be asked for missed webhooks; try again later";
    Error::new(StatusCode::BAD_GATEWAY, "WEBHOOK_POLL_FAILED", message).with_source(error)
}

/// The job that asks all sources for webhooks that they could not deliver. It runs once an hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PollWebhookSources {}

#[async_trait]
impl Job for PollWebhookSources {
    const NAME: &'static str = "webhooks.poll_sources";
    // The next tick asks for the same period.
    const MAX_ATTEMPTS: u32 = 2;

    type State = DurableInbox;

    /// Asks every source, and then fails if one has failed.
    async fn run(self, inbox: &DurableInbox, _: &JobContext) -> Result<(), JobError> {
        let mut failed = None;
        for source in inbox.sources().names() {
            if let Err(error) = inbox.poll(source).await {
                tracing::warn!(target: "omnistack::webhooks", source, %error,
                    "a provider could not be asked for missed webhooks");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
