//! The ping, tests of an endpoint, and the simple form of configuration, which pings before it saves.

use std::collections::BTreeMap;

use omnistack_core::{
    http::{Error, FieldError, StatusCode},
    identity::{Identity, TenantId},
    webhook::WebhookEvent,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    endpoint::{EndpointRow, EndpointStatus, WebhookEndpoint, WebhookEndpointId, WebhookMessageId},
    endpoints::{EndpointChanges, NewEndpoint, WebhookEndpoints, host, not_found, require_not_disabled_by_operator},
    publish::message_body,
    retry::Verdict,
    send::webhook_id,
    store,
};
use crate::signing::SigningScheme;

/// A test of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookPing {
    /// The inbound service whose configuration is tested; `null` if the test names none.
    #[schema(required)]
    pub(crate) service: Option<String>,
}

impl WebhookEvent for WebhookPing {
    const TYPE: &'static str = "webhook.ping";
    const DESCRIPTION: &'static str = "An endpoint is tested, or is about to be saved by `PUT /configure`.";

    fn example() -> Self {
        Self { service: None }
    }
}

/// The result of a test.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookTestResult {
    /// Whether the endpoint has responded with 2xx.
    pub(crate) delivered: bool,
    /// The id of the message, as in the header `webhook-id`.
    pub(crate) webhook_id: String,
    /// The type of the event.
    pub(crate) r#type: String,
    /// The status of the response; `null` if there was none.
    #[schema(required)]
    pub(crate) status_code: Option<u16>,
    /// The duration, in milliseconds.
    pub(crate) duration_ms: f64,
    /// The reason why there was no complete response; `null` if there was one.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// The first 16 KiB of the response's body; `null` if there was no body.
    #[schema(required)]
    pub(crate) response: Option<String>,
}

/// The endpoint and the event of a test.
pub(crate) struct EndpointTest {
    /// The endpoint. Default: that of `PUT /configure`.
    pub(crate) endpoint: Option<WebhookEndpointId>,
    /// The type of the event. Default: `webhook.ping`.
    pub(crate) kind: Option<String>,
    /// The inbound service that a ping names.
    pub(crate) service: Option<String>,
}

/// The endpoint that `PUT /configure` has saved.
pub(crate) struct ConfiguredEndpoint {
    pub(crate) endpoint: WebhookEndpoint,
    /// The secret, which its owner is shown once, if it was created.
    pub(crate) secret: Option<String>,
    pub(crate) ping: WebhookTestResult,
}

impl WebhookEndpoints {
    /// Sends the example of an event to an endpoint of the tenant, unless an operator has disabled it, and returns the
    /// result. It is not repeated, and not in the log of deliveries.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint, 409 `DISABLED_BY_OPERATOR`, 422 for an unknown type or service.
    pub(crate) async fn test(&self, tenant: TenantId, test: EndpointTest) -> Result<WebhookTestResult, Error> {
        let EndpointTest { endpoint, kind, service } = test;
        let kind = kind.unwrap_or_else(|| WebhookPing::TYPE.to_owned());
        if let Some(service) = &service {
            let known = self.sources.names();
            if !known.contains(&service.as_str()) {
                return Err(unknown("service_name", "a service that sends webhooks to this app", &known));
            }
        }
        let known = self.catalogue.types();
        let Some(event) = known.iter().find(|one| one.r#type == kind) else {
            let known: Vec<_> = known.iter().map(|one| one.r#type).collect();
            return Err(unknown("event_type", "a type of event", &known));
        };
        let data = if kind == WebhookPing::TYPE { json!(WebhookPing { service }) } else { event.example.clone() };
        let row = match endpoint {
            Some(id) => self.find(tenant, id).await?,
            None => self.find_default(tenant).await?.ok_or_else(not_found)?,
        };
        require_not_disabled_by_operator(&row)?;
        self.send_example(row, &kind, &data).await
    }

    /// Creates or replaces the endpoint of `PUT /configure`, after a ping has succeeded. A paused or disabled endpoint
    /// is enabled.
    ///
    /// # Errors
    /// 422 for invalid values, and `WEBHOOK_PING_FAILED` with the result of the ping; 409 if the endpoint was created,
    /// deleted or disabled by an operator; 403 for an operator who impersonates a user.
    pub(crate) async fn configure(
        &self,
        caller: &Identity,
        url: String,
        events: Vec<String>,
        description: Option<String>,
    ) -> Result<ConfiguredEndpoint, Error> {
        caller.deny_impersonation()?;
        let tenant = caller.require_tenant()?;
        match self.find_default(tenant).await? {
            Some(row) => self.replace_default(caller, row, (url, events, description)).await,
            None => self.create_default(caller, (url, events, description)).await,
        }
    }

    async fn create_default(
        &self,
        caller: &Identity,
        (url, events, description): (String, Vec<String>, Option<String>),
    ) -> Result<ConfiguredEndpoint, Error> {
        let new = NewEndpoint {
            url,
            description: description.unwrap_or_default(),
            events,
            scheme: SigningScheme::V1,
            headers: BTreeMap::new(),
            rate_per_second: None,
        };
        let (row, shown) = self.prepare(caller, new, true)?;
        let ping = self.ping(row.clone()).await?;
        let mut tx = self.db.tenant(row.tenant_id).begin().await?;
        self.insert_in(&mut tx, caller, &row).await?;
        tx.commit().await?;
        Ok(ConfiguredEndpoint { endpoint: self.read(row)?, secret: Some(shown), ping })
    }

    async fn replace_default(
        &self,
        caller: &Identity,
        mut row: EndpointRow,
        (url, events, description): (String, Vec<String>, Option<String>),
    ) -> Result<ConfiguredEndpoint, Error> {
        let changes = || EndpointChanges {
            url: Some(url.clone()),
            events: Some(events.clone()),
            description: description.clone(),
            status: Some(EndpointStatus::Enabled),
            ..EndpointChanges::default()
        };
        let id = row.id;
        self.apply(&mut row, changes())?;
        let ping = self.ping(row).await?;
        // The endpoint may have been changed or deleted during the ping.
        let endpoint = self.update(caller, id, changes()).await.map_err(|error| match error.status() {
            StatusCode::NOT_FOUND => Error::conflict("CONCURRENT_UPDATE", "the endpoint was just deleted; try again"),
            _ => error,
        })?;
        Ok(ConfiguredEndpoint { endpoint, secret: None, ping })
    }

    async fn find_default(&self, tenant: TenantId) -> Result<Option<EndpointRow>, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let row = store::endpoints::find_default(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Sends a ping. Fails with 422 if it is not delivered.
    async fn ping(&self, row: EndpointRow) -> Result<WebhookTestResult, Error> {
        let host = host(&row.url);
        let result = self.send_example(row, WebhookPing::TYPE, &json!(WebhookPing::example())).await?;
        if result.delivered {
            return Ok(result);
        }
        let what = match (&result.error, result.status_code) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => format!("the response was {status}"),
            (None, None) => "there was no response".to_owned(),
        };
        let message = format!("the ping to {host} failed: {what}; respond to it with a 2xx status and try again");
        let error = Error::new(StatusCode::UNPROCESSABLE_ENTITY, "WEBHOOK_PING_FAILED", message);
        Err(error.with_detail("ping", result))
    }

    async fn send_example(&self, row: EndpointRow, kind: &str, data: &Value) -> Result<WebhookTestResult, Error> {
        let now = self.clock.now();
        let payload = message_body(kind, now, data).map_err(Error::internal)?;
        let (endpoint, id) = (row.open(&self.keys, now)?, WebhookMessageId::new(now).uuid());
        let result = self.sender.send(&endpoint, id, &payload).await;
        Ok(WebhookTestResult {
            delivered: result.verdict() == Verdict::Delivered,
            webhook_id: webhook_id(id),
            r#type: kind.to_owned(),
            status_code: result.status,
            duration_ms: (result.duration.as_secs_f64() * 1e6).round() / 1e3,
            error: result.error,
            response: result.response,
        })
    }
}

fn unknown(field: &str, what: &str, known: &[&str]) -> Error {
    let message = match known {
        [] => format!("is not {what}; there is none"),
        known => format!("is not {what}; known are {}", known.join(", ")),
    };
    Error::invalid([FieldError::new(field, message)])
}
