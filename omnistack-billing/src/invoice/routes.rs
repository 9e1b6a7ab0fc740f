//! The routes of invoices for tenants: `/api/v1/app/billing`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query},
    identity::{Identity, Require},
    module::Api,
    text::Text,
    usage::DataEnvironment,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    handle::Invoices,
    model::{Invoice, InvoiceId, InvoiceListItem, MirroredInvoice},
    party::InvoiceParty,
    preview::{CostSummary, DemandedPeriod},
    store::InvoiceFilter,
};

/// Returns the routes.
pub(super) fn api() -> Api<Invoices> {
    let read = || Require::permission("billing:read");
    Api::new()
        .require(read(), routes!(list))
        .require(read(), routes!(get))
        .require(read(), routes!(list_of_providers))
        .require(read(), routes!(summary))
        .require(read(), routes!(on_demand))
        .require(read(), routes!(details))
        // The details decide which tax applies.
        .require(Require::permission("billing:manage"), routes!(update_details))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InvoiceListQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 300))]
    #[param(max_length = 300)]
    cursor: Option<String>,
}

/// List the invoices
///
/// The final invoices and credit notes of the current tenant, the newest first. Needs `billing:read`.
#[utoipa::path(get, path = "/invoices", operation_id = "list_invoices", params(InvoiceListQuery), responses(
    (status = 200, body = CursorPage<InvoiceListItem>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<InvoiceListQuery>,
) -> Result<Json<CursorPage<InvoiceListItem>>, Error> {
    let filter = InvoiceFilter {
        tenant: Some(caller.require_tenant()?),
        environment: query.environment.unwrap_or_default(),
        status: None,
        is_final: true,
        before: Invoices::cursor(query.cursor.as_deref())?,
    };
    Ok(Json(invoices.list(filter, query.limit.unwrap_or(PageRequest::DEFAULT_SIZE)).await?))
}

/// Get an invoice
///
/// An invoice or a credit note of the current tenant, with its lines and taxes. Needs `billing:read`.
#[utoipa::path(get, path = "/invoices/{id}", operation_id = "get_invoice",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Invoice),
    (status = 404, body = ErrorEnvelope)))]
async fn get(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Json<Invoice>, Error> {
    Ok(Json(invoices.get(caller.require_tenant()?, id).await?))
}

/// List the invoices of payment providers
///
/// Copies of the invoices that payment providers have made for the current tenant, the newest first. Needs
/// `billing:read`.
#[utoipa::path(get, path = "/provider-invoices", operation_id = "list_provider_invoices", params(InvoiceListQuery),
    responses(
    (status = 200, body = CursorPage<MirroredInvoice>),
    (status = 422, body = ErrorEnvelope)))]
async fn list_of_providers(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<InvoiceListQuery>,
) -> Result<Json<CursorPage<MirroredInvoice>>, Error> {
    let (tenant, environment) = (caller.require_tenant()?, query.environment.unwrap_or_default());
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(invoices.mirrored(tenant, environment, query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingEnvironmentQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// Get the cost of the billing period
///
/// The plan and the usage of the running billing period so far, without tax. Needs `billing:read`.
#[utoipa::path(get, path = "/summary", operation_id = "get_cost_summary", params(BillingEnvironmentQuery), responses(
    (status = 200, body = CostSummary)))]
async fn summary(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<BillingEnvironmentQuery>,
) -> Result<Json<CostSummary>, Error> {
    Ok(Json(invoices.summary(caller.require_tenant()?, query.environment.unwrap_or_default()).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DemandedInvoiceQuery {
    /// The billing period: `monthly` for the last one that has ended, `current` for the running one. Default: `monthly`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<DemandedPeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// Get the invoice of a billing period
///
/// The invoice of the billing period. If there is none yet, the response is what it would be now: a draft without tax,
/// which is not stored. Needs `billing:read`.
#[utoipa::path(get, path = "/invoice", operation_id = "get_period_invoice", params(DemandedInvoiceQuery), responses(
    (status = 200, body = Invoice),
    (status = 404, description = "Nothing was used in the period that costs something.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn on_demand(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<DemandedInvoiceQuery>,
) -> Result<Json<Invoice>, Error> {
    let (tenant, environment) = (caller.require_tenant()?, query.environment.unwrap_or_default());
    let period = query.period.unwrap_or(DemandedPeriod::Monthly);
    Ok(Json(invoices.on_demand(tenant, environment, period).await?))
}

/// Get the billing details
///
/// The name and the address that invoices of the current tenant have. Needs `billing:read`.
#[utoipa::path(get, path = "/details", operation_id = "get_billing_details", params(BillingEnvironmentQuery), responses(
    (status = 200, body = InvoiceParty)))]
async fn details(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<BillingEnvironmentQuery>,
) -> Result<Json<InvoiceParty>, Error> {
    Ok(Json(invoices.billing_details(caller.require_tenant()?, query.environment.unwrap_or_default()).await?))
}

/// The billing details of a tenant. They replace the present ones.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct BillingDetails {
    /// The name of the company or the person.
    name: Text<1, 200>,
    /// The street and the house number.
    #[serde(default)]
    address: Text<0, 200>,
    /// The city.
    #[serde(default)]
    city: Text<0, 200>,
    /// The postal code.
    #[serde(default)]
    postal_code: Text<0, 20>,
    /// The ISO 3166 code of the country, such as `DE`.
    #[serde(default)]
    country: Text<0, 2>,
    /// The VAT number, with the code of its country.
    #[serde(default)]
    vat_number: Text<0, 15>,
    /// The mail address to which invoices are sent.
    #[serde(default)]
    email: Text<0, 200>,
    /// The reference that invoices must have, such as the Leitweg-ID of a German authority.
    #[serde(default)]
    reference: Text<0, 100>,
}

/// Change the billing details
///
/// Final invoices keep the details with which they were issued. Needs `billing:manage`.
#[utoipa::path(put, path = "/details", operation_id = "update_billing_details", request_body = BillingDetails,
    params(BillingEnvironmentQuery), responses(
    (status = 200, body = InvoiceParty),
    (status = 422, body = ErrorEnvelope)))]
async fn update_details(
    State(invoices): State<Invoices>,
    caller: Identity,
    Query(query): Query<BillingEnvironmentQuery>,
    Json(details): Json<BillingDetails>,
) -> Result<Json<InvoiceParty>, Error> {
    let BillingDetails { name, address, city, postal_code, country, vat_number, email, reference } = details;
    let party = InvoiceParty {
        name: name.into(),
        address: address.into(),
        city: city.into(),
        postal_code: postal_code.into(),
        country: country.into(),
        vat_number: vat_number.into(),
        email: email.into(),
        reference: reference.into(),
        ..InvoiceParty::unknown()
    };
    Ok(Json(invoices.set_billing_details(&caller, query.environment.unwrap_or_default(), party).await?))
}
