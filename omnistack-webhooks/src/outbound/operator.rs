//! What operators do with the endpoints of all tenants.

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    identity::{Identity, TenantId},
};
use reqwest::Url;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    endpoint::{DISABLED_BY_OPERATOR, EndpointRow, EndpointStatus, WebhookEndpointId},
    endpoints::{WebhookEndpoints, not_found},
    store::{self, endpoints::EndpointFilter},
};

/// An endpoint of any tenant, as operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TenantWebhookEndpoint {
    /// The id of the endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: WebhookEndpointId,
    /// The tenant that owns the endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) tenant_id: TenantId,
    /// The URL without its query, which may be secret.
    pub(crate) url: String,
    /// The types of events that are sent; `["*"]` for all.
    pub(crate) events: Vec<String>,
    /// The status.
    pub(crate) status: EndpointStatus,
    /// The reason why the endpoint is disabled: `gone`, `failing` or `operator`; `null` if it is not disabled.
    #[schema(required)]
    pub(crate) disabled_reason: Option<String>,
    /// The time at which the endpoint was disabled; `null` if it is not.
    #[schema(required)]
    pub(crate) disabled_at: Option<Timestamp>,
    /// The time of the first failure since the last success; `null` if the last request succeeded.
    #[schema(required)]
    pub(crate) failing_since: Option<Timestamp>,
    /// The time of creation.
    pub(crate) created_at: Timestamp,
}

impl From<EndpointRow> for TenantWebhookEndpoint {
    fn from(row: EndpointRow) -> Self {
        Self {
            id: row.id,
            tenant_id: row.tenant_id,
            url: without_query(&row.url),
            events: row.events(),
            status: row.status(),
            disabled_reason: row.disabled_reason,
            disabled_at: row.disabled_at,
            failing_since: row.failing_since,
            created_at: row.created_at,
        }
    }
}

impl WebhookEndpoints {
    /// Returns the endpoints of all tenants that match, in the order of their creation, at most `limit`.
    pub(crate) async fn list_all(
        &self,
        filter: EndpointFilter,
        after: Option<WebhookEndpointId>,
        limit: u32,
    ) -> Result<Vec<TenantWebhookEndpoint>, Error> {
        // An operator sees the endpoints of all tenants.
        let mut tx = self.db.all_tenants().begin_read().await?;
        let rows = store::endpoints::list(&mut tx, filter, after, limit.into()).await?;
        tx.commit().await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Disables an endpoint of any tenant, so that only an operator can enable it again, or enables it. Deliveries that
    /// wait are skipped when it is disabled.
    ///
    /// # Errors
    /// 404 if there is no such endpoint.
    pub(crate) async fn set_enabled(
        &self,
        operator: &Identity,
        id: WebhookEndpointId,
        enabled: bool,
        reason: Option<String>,
    ) -> Result<TenantWebhookEndpoint, Error> {
        let now = self.clock.now();
        // The tenant is not known before the row is read.
        let mut tx = self.db.all_tenants().begin().await?;
        let tenant = store::endpoints::tenant_of(&mut tx, id).await?.ok_or_else(not_found)?;
        let mut row = store::endpoints::lock(&mut tx, tenant, id).await?.ok_or_else(not_found)?;
        let was_disabled = row.status() == EndpointStatus::Disabled;
        let (status, why, action) = if enabled {
            (EndpointStatus::Enabled, None, "webhook_endpoint.enabled")
        } else {
            (EndpointStatus::Disabled, Some(DISABLED_BY_OPERATOR), "webhook_endpoint.disabled")
        };
        row.set_status(status, why, now);
        row.updated_at = now;
        store::endpoints::update(&mut tx, &row).await?;
        if !enabled {
            store::deliveries::skip(&mut tx, id.uuid(), now).await?;
        } else if was_disabled {
            store::endpoints::skip_pending(&mut tx, &row, now).await?;
        }
        let details = json!({ "reason": why, "note": reason });
        self.record(&mut tx, action, operator, &row, details).await?;
        self.wake.wake_on_commit(&mut tx);
        tx.commit().await?;
        Ok(row.into())
    }
}

/// Returns a URL without its query, which may have a token of the receiver.
pub(super) fn without_query(url: &str) -> String {
    url.parse::<Url>().map_or_else(
        |_| String::new(),
        |mut url| {
            url.set_query(None);
            url.into()
        },
    )
}
