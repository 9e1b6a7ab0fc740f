//! Endpoints: the URLs of tenants that receive events.

use omnistack_core::{
    clock::Timestamp,
    crypto::{self, KeyRing},
    id::Id,
    identity::{TenantId, UserId},
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secrets::{SecretList, open_headers};
use crate::signing::SigningScheme;

/// The reason of an endpoint that an operator has disabled. Only an operator enables it again.
pub(crate) const DISABLED_BY_OPERATOR: &str = "operator";

/// Marker type of ids of endpoints.
pub(crate) enum WebhookEndpointMarker {}
/// The id of an endpoint.
pub(crate) type WebhookEndpointId = Id<WebhookEndpointMarker>;

/// Marker type of ids of messages.
pub(crate) enum WebhookMessageMarker {}
/// The id of a message. Receivers see it in the header `webhook-id`.
pub(crate) type WebhookMessageId = Id<WebhookMessageMarker>;

/// Marker type of ids of deliveries.
pub(crate) enum WebhookDeliveryMarker {}
/// The id of a delivery.
pub(crate) type WebhookDeliveryId = Id<WebhookDeliveryMarker>;

/// The status of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WebhookEndpointStatus)]
pub(crate) enum EndpointStatus {
    /// Events are sent.
    Enabled,
    /// Events are sent after the endpoint is enabled again.
    Paused,
    /// Events are skipped. After the endpoint is enabled again, `recover` sends them.
    Disabled,
}

impl EndpointStatus {
    /// Returns the status as it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    pub(crate) fn from_stored(text: &str) -> Self {
        match text {
            "enabled" => Self::Enabled,
            "paused" => Self::Paused,
            _ => Self::Disabled,
        }
    }
}

/// A row of an endpoint.
#[derive(Clone, omnistack_core::db::FromRow)]
pub(crate) struct EndpointRow {
    pub(crate) id: WebhookEndpointId,
    pub(crate) tenant_id: TenantId,
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) events: String,
    pub(crate) headers: Option<String>,
    pub(crate) scheme: String,
    pub(crate) secrets: String,
    pub(crate) rate_per_second: Option<i64>,
    pub(crate) status: String,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) is_default: bool,
    pub(crate) created_by: Option<UserId>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl EndpointRow {
    pub(crate) fn status(&self) -> EndpointStatus {
        EndpointStatus::from_stored(&self.status)
    }

    /// Sets the status. An endpoint that is no longer disabled counts as one that has not failed.
    pub(crate) fn set_status(&mut self, status: EndpointStatus, reason: Option<&str>, now: Timestamp) {
        if status == EndpointStatus::Disabled {
            self.disabled_at = self.disabled_at.or(Some(now));
            self.disabled_reason = reason.map(str::to_owned);
        } else {
            if self.status() == EndpointStatus::Disabled {
                self.failing_since = None;
            }
            self.disabled_at = None;
            self.disabled_reason = None;
        }
        status.as_str().clone_into(&mut self.status);
    }

    /// Returns the types of events that the endpoint receives.
    pub(crate) fn events(&self) -> Vec<String> {
        serde_json::from_str(&self.events).unwrap_or_default()
    }

    /// Returns what is needed to send to the endpoint.
    pub(crate) fn open(self, keys: &KeyRing, now: Timestamp) -> Result<SigningEndpoint, crypto::Error> {
        let Self { id, url, headers, scheme, secrets, .. } = self;
        open(SealedEndpoint { id, url, headers, scheme, secrets }, keys, now)
    }
}

/// An endpoint of a tenant, without its secret and the values of its custom headers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookEndpoint {
    /// The id of the endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: WebhookEndpointId,
    /// The URL to which events are sent.
    pub(crate) url: String,
    /// The description.
    pub(crate) description: String,
    /// The types of events that are sent; `["*"]` for all.
    pub(crate) events: Vec<String>,
    /// The scheme by which events are signed.
    pub(crate) scheme: SigningScheme,
    /// The public key that verifies signatures of the scheme `v1a`; `null` for `v1`.
    #[schema(required)]
    pub(crate) public_key: Option<String>,
    /// The time until which events are also signed with the previous secret; `null` if they are not.
    #[schema(required)]
    pub(crate) previous_secret_until: Option<Timestamp>,
    /// The names of the custom headers. Their values are not shown.
    pub(crate) header_names: Vec<String>,
    /// The largest number of requests a second; `null` if there is no limit.
    #[schema(required)]
    pub(crate) rate_per_second: Option<u32>,
    /// The status.
    pub(crate) status: EndpointStatus,
    /// The reason why the endpoint is disabled: `gone` (it responded with 410), `failing` (it failed for five days) or
    /// `operator`; `null` if it is not disabled.
    #[schema(required)]
    pub(crate) disabled_reason: Option<String>,
    /// The time at which the endpoint was disabled; `null` if it is not.
    #[schema(required)]
    pub(crate) disabled_at: Option<Timestamp>,
    /// The time of the first failure since the last success; `null` if the last request succeeded.
    #[schema(required)]
    pub(crate) failing_since: Option<Timestamp>,
    /// Whether it is the endpoint of `PUT /configure`.
    pub(crate) is_default: bool,
    /// The user who created the endpoint.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(crate) created_by: Option<UserId>,
    /// The time of creation.
    pub(crate) created_at: Timestamp,
    /// The time of the last change.
    pub(crate) updated_at: Timestamp,
}

impl WebhookEndpoint {
    /// Reads an endpoint from its row.
    ///
    /// # Errors
    /// Fails if the secrets or the custom headers can't be opened.
    pub(crate) fn read(row: EndpointRow, keys: &KeyRing, now: Timestamp) -> Result<Self, crypto::Error> {
        let secrets = SecretList::open(&row.secrets, keys, row.id)?;
        let headers = open_headers(row.headers.as_deref(), keys, row.id)?;
        Ok(Self {
            id: row.id,
            events: row.events(),
            scheme: SigningScheme::from_stored(&row.scheme),
            public_key: secrets.public_key().map_err(|_| crypto::Error::Malformed)?,
            previous_secret_until: secrets.previous_until(now),
            header_names: headers.into_keys().collect(),
            rate_per_second: row.rate_per_second.and_then(|rate| u32::try_from(rate).ok()),
            status: row.status(),
            url: row.url,
            description: row.description,
            disabled_reason: row.disabled_reason,
            disabled_at: row.disabled_at,
            failing_since: row.failing_since,
            is_default: row.is_default,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The columns of an endpoint that are needed to send to it. The secrets and headers are sealed.
pub(crate) struct SealedEndpoint {
    pub(crate) id: WebhookEndpointId,
    pub(crate) url: String,
    pub(crate) headers: Option<String>,
    pub(crate) scheme: String,
    pub(crate) secrets: String,
}

/// An endpoint to which a message can be sent.
#[derive(Clone)]
pub(crate) struct SigningEndpoint {
    pub(crate) url: String,
    /// The custom headers, with names in lower case.
    pub(crate) headers: Vec<(String, SecretString)>,
    pub(crate) scheme: SigningScheme,
    /// The secrets that have not expired, the newest first.
    pub(crate) secrets: Vec<SecretString>,
}

/// Opens the secrets and the custom headers of an endpoint. Secrets that have expired at `now` are left out.
///
/// # Errors
/// Fails if they can't be opened, for example because their key is no longer in `SECRET_KEYS`.
pub(crate) fn open(row: SealedEndpoint, keys: &KeyRing, now: Timestamp) -> Result<SigningEndpoint, crypto::Error> {
    let headers = open_headers(row.headers.as_deref(), keys, row.id)?;
    Ok(SigningEndpoint {
        url: row.url,
        headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
        scheme: SigningScheme::from_stored(&row.scheme),
        secrets: SecretList::open(&row.secrets, keys, row.id)?.valid(now),
    })
}
