//! The event that a webhook endpoint was disabled.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::WebhookEvent;
use crate::{events::Event, identity::TenantId};

/// The id of the tenant and of the endpoint in the example of the event.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);

/// The reason why the app has disabled an endpoint by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookEndpointDisabledReason)]
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
/// The tenant's other endpoints receive it. In an app with accounts, the tenant's owners get a mail. An endpoint that
/// an operator disables causes no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct WebhookEndpointDisabled {
    /// The tenant that owns the endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The id of the endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub endpoint: Uuid,
    /// The host of the endpoint's URL. The rest of the URL may be secret.
    pub host: String,
    /// The reason.
    pub reason: EndpointDisabledReason,
}

impl WebhookEndpointDisabled {
    /// Creates the event. `host` is the host of the endpoint's URL.
    pub fn new(tenant: TenantId, endpoint: Uuid, host: impl Into<String>, reason: EndpointDisabledReason) -> Self {
        Self { tenant, endpoint, host: host.into(), reason }
    }
}

impl Event for WebhookEndpointDisabled {
    const NAME: &'static str = "webhook.endpoint_disabled";

    fn key(&self) -> String {
        self.endpoint.to_string()
    }
}

impl WebhookEvent for WebhookEndpointDisabled {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str =
        "An endpoint was disabled, because it responded with 410 or failed for five days.";

    fn example() -> Self {
        let tenant = TenantId::from_uuid(EXAMPLE_ID);
        Self::new(tenant, EXAMPLE_ID, "hooks.example.com", EndpointDisabledReason::Failing)
    }
}
