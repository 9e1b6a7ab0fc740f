//! The event that a webhook endpoint was disabled.

use omnistack_core::{events::Event, id::TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The reason why the app has disabled an endpoint by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EndpointDisabledReason {
    /// The receiver responded with 410.
    Gone,
    /// No delivery has succeeded for five days.
    Failing,
}

impl EndpointDisabledReason {
    /// Returns the name as in JSON, such as `gone`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// Event: the app has disabled an endpoint of a tenant, because its receiver responds with 410 or fails for too long.
/// It belongs to the tenant. An endpoint that a member disables causes no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookEndpointDisabled {
    /// The tenant that owns the endpoint.
    pub tenant: TenantId,
    /// The id of the endpoint.
    pub endpoint: Uuid,
    /// The host of the endpoint's URL. The rest of the URL may be secret.
    pub host: String,
    /// The reason.
    pub reason: EndpointDisabledReason,
}

impl Event for WebhookEndpointDisabled {
    const NAME: &'static str = "webhook.endpoint_disabled";

    fn key(&self) -> String {
        self.endpoint.to_string()
    }
}
