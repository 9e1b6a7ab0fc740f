//! Sending again: one delivery, or the deliveries of a period.

use omnistack_core::{
    audit::AuditEntry,
    http::{Error, FieldError},
    identity::{Identity, TenantId},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    endpoint::{EndpointRow, EndpointStatus, WebhookDeliveryId, WebhookEndpointId},
    endpoints::{WebhookEndpoints, not_found},
    log::{WebhookDelivery, WebhookDeliveryDetails, WebhookMessageSummary},
    store::{
        self,
        log::{DeliveryFilter, DeliveryPosition},
        recovery::MessagePeriod,
    },
};

/// Largest number of deliveries that one request makes pending.
const MAX_RECOVERED_PER_REQUEST: i64 = 5_000;

/// Largest number of attempts in the details of a delivery.
const MAX_LISTED_ATTEMPTS: i64 = 100;

/// Number of messages in the configuration.
const LISTED_MESSAGES: i64 = 100;

/// The number of deliveries that are sent again.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookRecovery {
    /// The number of deliveries that had failed or were skipped.
    pub(crate) recovered: u64,
    /// The number of messages that the endpoint had no delivery of.
    pub(crate) created: u64,
    /// Whether that is all of the period. Otherwise send the request again for the rest.
    pub(crate) complete: bool,
}

impl WebhookEndpoints {
    /// Returns the tenant's newest messages.
    pub(crate) async fn messages(&self, tenant: TenantId) -> Result<Vec<WebhookMessageSummary>, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let rows = store::log::messages(&mut tx, tenant, LISTED_MESSAGES).await?;
        tx.commit().await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Returns the tenant's deliveries that match, those of the newest messages first, with the position of each.
    pub(crate) async fn deliveries(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        before: Option<DeliveryPosition>,
        limit: u32,
    ) -> Result<Vec<(DeliveryPosition, WebhookDelivery)>, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let rows = store::log::list(&mut tx, tenant, filter, before, limit.into()).await?;
        tx.commit().await?;
        Ok(rows.into_iter().map(|row| ((row.message_id, row.id), row.into())).collect())
    }

    /// Returns a delivery of the tenant with its attempts.
    ///
    /// # Errors
    /// 404 if the tenant has no such delivery.
    pub(crate) async fn delivery(
        &self,
        tenant: TenantId,
        id: WebhookDeliveryId,
    ) -> Result<WebhookDeliveryDetails, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let row = store::log::find(&mut tx, tenant, id).await?.ok_or_else(delivery_not_found)?;
        let payload = store::log::payload(&mut tx, tenant, row.message_id).await?.ok_or_else(delivery_not_found)?;
        let attempts = store::log::attempts(&mut tx, tenant, id, MAX_LISTED_ATTEMPTS).await?;
        tx.commit().await?;
        Ok(WebhookDeliveryDetails {
            delivery: row.into(),
            payload: serde_json::from_str(&payload).unwrap_or(Value::String(payload)),
            attempts: attempts.into_iter().map(Into::into).collect(),
        })
    }

    /// Makes a delivery due now, with all its attempts.
    ///
    /// # Errors
    /// 404 if the tenant has no such delivery; 409 `WEBHOOK_ENDPOINT_DISABLED`; 409 `DELIVERY_IN_PROGRESS` if it is
    /// being sent.
    pub(crate) async fn retry(&self, caller: &Identity, id: WebhookDeliveryId) -> Result<WebhookDelivery, Error> {
        let (tenant, now) = (caller.require_tenant()?, self.clock.now());
        let mut tx = self.db.tenant(tenant).begin().await?;
        let found = store::log::find(&mut tx, tenant, id).await?.ok_or_else(delivery_not_found)?;
        let endpoint = store::endpoints::lock(&mut tx, tenant, found.endpoint_id).await?.ok_or_else(not_found)?;
        require_not_disabled(&endpoint)?;
        if store::recovery::make_pending(&mut tx, tenant, &[id], now).await? == 0 {
            let message = "the delivery is being sent at this moment; wait for its result";
            return Err(Error::conflict("DELIVERY_IN_PROGRESS", message));
        }
        let entry = AuditEntry::new("webhook_delivery.retried").actor(caller).resource("webhook_delivery", id);
        self.log.record_in(&mut tx, entry.details(json!({ "endpoint": endpoint.id }))).await?;
        let row = store::log::find(&mut tx, tenant, id).await?.ok_or_else(delivery_not_found)?;
        self.wake.wake_on_commit(&mut tx);
        tx.commit().await?;
        Ok(row.into())
    }

    /// Makes the deliveries of a period due that have failed or were skipped, and those that the endpoint has none of.
    /// At most 5,000 at a time.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint; 409 `WEBHOOK_ENDPOINT_DISABLED`; 422 for an empty period.
    pub(crate) async fn recover(
        &self,
        caller: &Identity,
        id: WebhookEndpointId,
        period: MessagePeriod,
    ) -> Result<WebhookRecovery, Error> {
        self.send_again(caller, id, period, true).await
    }

    /// Adds deliveries of messages of a period that the endpoint has none of, for example because it was created later.
    /// At most 5,000 at a time.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub(crate) async fn replay_missing(
        &self,
        caller: &Identity,
        id: WebhookEndpointId,
        period: MessagePeriod,
    ) -> Result<WebhookRecovery, Error> {
        self.send_again(caller, id, period, false).await
    }

    async fn send_again(
        &self,
        caller: &Identity,
        id: WebhookEndpointId,
        period: MessagePeriod,
        with_unsuccessful: bool,
    ) -> Result<WebhookRecovery, Error> {
        if period.until <= period.since {
            return Err(Error::invalid([FieldError::new("until", "must be later than `since`")]));
        }
        let (tenant, now) = (caller.require_tenant()?, self.clock.now());
        let mut tx = self.db.tenant(tenant).begin().await?;
        let endpoint = store::endpoints::lock(&mut tx, tenant, id).await?.ok_or_else(not_found)?;
        require_not_disabled(&endpoint)?;
        let mut recovered = 0;
        let mut left = MAX_RECOVERED_PER_REQUEST;
        if with_unsuccessful {
            let ids = store::recovery::unsuccessful(&mut tx, &endpoint, period, left).await?;
            left = left.saturating_sub(i64::try_from(ids.len()).unwrap_or(i64::MAX));
            recovered = store::recovery::make_pending(&mut tx, tenant, &ids, now).await?;
        }
        let created =
            if left > 0 { store::recovery::add_missing(&mut tx, &endpoint, period, left, now).await? } else { 0 };
        let complete = recovered.saturating_add(created) < MAX_RECOVERED_PER_REQUEST.unsigned_abs();
        let action = if with_unsuccessful { "webhook_endpoint.recovered" } else { "webhook_endpoint.replayed" };
        let MessagePeriod { since, until } = period;
        let details = json!({ "since": since, "until": until, "recovered": recovered, "created": created });
        self.record(&mut tx, action, caller, &endpoint, details).await?;
        self.wake.wake_on_commit(&mut tx);
        tx.commit().await?;
        Ok(WebhookRecovery { recovered, created, complete })
    }
}

/// Fails with 409 if the endpoint is disabled, since deliveries to it would be skipped.
fn require_not_disabled(endpoint: &EndpointRow) -> Result<(), Error> {
    if endpoint.status() != EndpointStatus::Disabled {
        return Ok(());
    }
    let message = "the endpoint is disabled; enable it first";
    Err(Error::conflict("WEBHOOK_ENDPOINT_DISABLED", message))
}

fn delivery_not_found() -> Error {
    Error::not_found("the webhook delivery")
}
