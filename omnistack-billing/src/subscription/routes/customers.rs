//! The routes of what a provider has stored of a tenant.

use std::sync::Arc;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
    payment::{PaymentProvider, StoredPaymentMethod},
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{checkout_store, errors::payment_error, handle::Subscriptions},
    parse_path,
};

/// The page to which a customer returns.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct OpenPortal {
    /// The path in the app to which the customer returns. Default: `/`.
    #[serde(default)]
    return_path: Option<Text<0, 500>>,
}

/// A page of the provider.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PortalSession {
    /// The page.
    url: String,
}

/// Open the portal
///
/// Returns a page of the provider on which the tenant manages its payment methods and invoices.
#[utoipa::path(post, path = "/portal", operation_id = "open_billing_portal", request_body = OpenPortal, responses(
    (status = 200, body = PortalSession),
    (status = 409, body = ErrorEnvelope, description = "`NO_BILLING_CUSTOMER`, `PAYMENT_NOT_SUPPORTED`."),
    (status = 422, body = ErrorEnvelope),
))]
pub(super) async fn portal(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(OpenPortal { return_path }): Json<OpenPortal>,
) -> Result<Json<PortalSession>, Error> {
    caller.deny_impersonation()?;
    let return_url =
        format!("{}{}", subscriptions.0.public_url, parse_path("return_path", return_path.map(String::from))?);
    let (provider, customer) = subscriptions.known_customer(&caller).await?;
    let Some(customer) = customer else {
        let message = "the tenant has never paid; choose a plan by a checkout first";
        return Err(Error::conflict("NO_BILLING_CUSTOMER", message));
    };
    let url = provider.create_portal(&customer, &return_url).await.map_err(payment_error)?;
    Ok(Json(PortalSession { url }))
}

impl Subscriptions {
    /// Returns the provider that the tenant pays through, and its customer there if there is one.
    async fn known_customer(&self, caller: &Identity) -> Result<(Arc<dyn PaymentProvider>, Option<String>), Error> {
        let tenant = caller.require_tenant()?;
        let name = self.current_row(tenant).await?.map(|row| row.external.provider);
        // Without a subscription of a provider, such as with one of an app store, it is the default provider.
        let known = name.and_then(|name| self.0.providers.get(&name).cloned());
        let provider = match known {
            Some(provider) => provider,
            None => self.provider(None)?,
        };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let customer = checkout_store::customer(&mut tx, tenant, provider.name(), provider.environment()).await?;
        tx.commit().await?;
        Ok((provider, customer))
    }
}

/// The payment methods of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentMethods {
    /// The payment methods.
    items: Vec<StoredPaymentMethod>,
}

/// List payment methods
#[utoipa::path(get, path = "/payment-methods", operation_id = "list_payment_methods",
    responses((status = 200, body = PaymentMethods)))]
pub(super) async fn payment_methods(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<PaymentMethods>, Error> {
    let (provider, customer) = subscriptions.known_customer(&caller).await?;
    let items = match customer {
        Some(customer) => provider.payment_methods(&customer).await.map_err(payment_error)?,
        None => Vec::new(),
    };
    Ok(Json(PaymentMethods { items }))
}
