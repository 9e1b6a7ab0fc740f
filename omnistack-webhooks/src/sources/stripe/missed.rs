//! The events that Stripe could not deliver.

use bytes::Bytes;
use http::HeaderMap;
use omnistack_core::{BoxError, clock::Timestamp, webhook::MissedWebhooks};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::StripeApi;
use crate::sources::provider_api::send;

/// Number of events on a page, the largest that Stripe allows.
const PAGE_SIZE: &str = "100";
/// Largest number of pages that are read at once.
const MAX_PAGES: usize = 20;

#[derive(Deserialize)]
struct StripePage {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct StripeEventId {
    id: String,
}

impl StripeApi {
    /// Returns the events since a time that are not delivered, also those that Stripe will send again by itself. At
    /// most 2,000, the newest first. The list goes back 30 days, and has no events of connected accounts and no thin
    /// events. An event from it belongs to the tenant that its metadata names, also if the URL of the webhook names
    /// one.
    pub(super) async fn undelivered(&self, since: Timestamp) -> Result<MissedWebhooks, BoxError> {
        let mut missed = MissedWebhooks::default();
        let mut last: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(since, last.as_deref()).await?;
            missed.events.extend(
                page.data.iter().map(|event| (HeaderMap::new(), Bytes::copy_from_slice(event.get().as_bytes()))),
            );
            last = match page.data.last().filter(|_| page.has_more) {
                Some(event) => Some(serde_json::from_str::<StripeEventId>(event.get())?.id),
                None => return Ok(missed),
            };
        }
        let count = missed.events.len();
        tracing::warn!(target: "omnistack::webhooks", count, "Stripe has more events than are read at once");
        Ok(missed)
    }

    async fn page(&self, since: Timestamp, after: Option<&str>) -> Result<StripePage, BoxError> {
        let since = since.as_seconds().to_string();
        let mut query = vec![("delivery_success", "false"), ("created[gte]", since.as_str()), ("limit", PAGE_SIZE)];
        query.extend(after.map(|after| ("starting_after", after)));
        let request = self.get("/v1/events", &query);
        let response = send(request).await?;
        if !response.status.is_success() {
            return Err(format!("Stripe responded to the list of events with {}", response.status).into());
        }
        Ok(serde_json::from_slice(&response.body)?)
    }
}
