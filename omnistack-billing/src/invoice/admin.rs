//! The routes of invoices for operators: `/api/v1/admin/billing/invoices`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, StatusCode},
    identity::{Identity, TenantId},
    module::Api,
    money::{Currency, Money},
    text::Text,
    usage::{DataEnvironment, Decimal},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    credit_note::NewCreditNote,
    handle::Invoices,
    model::{Invoice, InvoiceId, InvoiceListItem, InvoiceStatus},
    new_invoice::{NewInvoice, NewInvoiceLine},
    store::InvoiceFilter,
};
use crate::{quantity::Quantity, tax::TaxRate};

/// Returns the routes.
pub(super) fn api() -> Api<Invoices> {
    Api::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
        .routes(routes!(finalize))
        .routes(routes!(void))
        .routes(routes!(credit))
        .routes(routes!(record_payment))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AllInvoicesQuery {
    /// Only invoices of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    tenant: Option<TenantId>,
    /// Only invoices with this status.
    #[garde(skip)]
    status: Option<InvoiceStatus>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List the invoices of all tenants
///
/// The newest come first. Drafts and credit notes are included.
#[utoipa::path(get, path = "/", operation_id = "list_invoices", params(AllInvoicesQuery), responses(
    (status = 200, body = CursorPage<InvoiceListItem>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(invoices): State<Invoices>,
    Query(query): Query<AllInvoicesQuery>,
) -> Result<Json<CursorPage<InvoiceListItem>>, Error> {
    let AllInvoicesQuery { tenant, status, environment, limit, cursor } = query;
    let before = Invoices::cursor(cursor.as_deref())?;
    let environment = environment.unwrap_or_default();
    let filter = InvoiceFilter { tenant, environment, status, is_final: false, before };
    Ok(Json(invoices.list(filter, limit.unwrap_or(PageRequest::DEFAULT_SIZE)).await?))
}

/// An invoice to draft.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct InvoiceDraftRequest {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    tenant: TenantId,
    /// The key: what is billed. A second draft of the tenant with the same key is not made.
    key: Text<1, 200>,
    /// The ISO 4217 code of the currency, such as `EUR`.
    currency: Text<3, 3>,
    /// The environment. Default: `live`.
    environment: Option<DataEnvironment>,
    /// The lines.
    #[garde(length(min = 1, max = 1000), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    lines: Vec<InvoiceDraftLine>,
    /// A discount of all lines in percent.
    percent_off: Option<TaxRate>,
    /// Whether credits of the tenant's wallet pay the invoice. Default: `false`.
    #[serde(default)]
    pay_with_credits: bool,
    /// A text for the customer.
    #[serde(default)]
    note: Text<0, 500>,
}

/// A line of an invoice to draft.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct InvoiceDraftLine {
    /// The description of the goods or the service.
    description: Text<1, 500>,
    /// The quantity. Default: 1.
    quantity: Option<Quantity>,
    /// The unit of the quantity; empty for pieces.
    #[serde(default)]
    unit: Text<0, 50>,
    /// The price of a unit: a decimal number with at most nine decimals.
    unit_price: Quantity,
    /// The product by which the tax is determined; empty for the app's service.
    #[serde(default)]
    product: Text<0, 50>,
}

/// Draft an invoice
///
/// If the tenant has an invoice with the same key, the response has that one.
#[utoipa::path(post, path = "/", operation_id = "create_invoice", request_body = InvoiceDraftRequest, responses(
    (status = 201, body = Invoice),
    (status = 422, body = ErrorEnvelope)))]
async fn create(
    State(invoices): State<Invoices>,
    caller: Identity,
    Json(request): Json<InvoiceDraftRequest>,
) -> Result<(StatusCode, Json<Invoice>), Error> {
    let currency = Currency::from_code(&request.currency).ok_or_else(|| {
        Error::invalid([FieldError::new("currency", "must be an ISO 4217 code in capitals, such as `USD`")])
    })?;
    let mut invoice = NewInvoice::new(request.tenant, request.key, currency).note(request.note);
    invoice = invoice.environment(request.environment.unwrap_or_default());
    for line in request.lines {
        let quantity = line.quantity.map_or(Decimal::ONE, |quantity| quantity.0);
        let new = NewInvoiceLine::item(line.description, quantity, line.unit_price.0);
        invoice = invoice.line(new.unit(line.unit).product(line.product));
    }
    if let Some(percent) = request.percent_off {
        invoice = invoice.percent_off("Discount", percent);
    }
    if request.pay_with_credits {
        invoice = invoice.pay_with_credits();
    }
    Ok((StatusCode::CREATED, Json(invoices.draft_as_operator(&caller, request.tenant, invoice).await?)))
}

/// Get an invoice of any tenant
#[utoipa::path(get, path = "/{id}", operation_id = "get_invoice",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Invoice),
    (status = 404, body = ErrorEnvelope)))]
async fn get(State(invoices): State<Invoices>, Path(id): Path<InvoiceId>) -> Result<Json<Invoice>, Error> {
    Ok(Json(invoices.get_of_any_tenant(id).await?))
}

/// Delete a draft
///
/// It had no number, so none is missing.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_invoice",
    params(("id" = String, Path, format = Uuid, description = "The draft.")), responses(
    (status = 204, description = "The draft is deleted."),
    (status = 404, description = "There is no such draft.", body = ErrorEnvelope)))]
async fn delete(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<StatusCode, Error> {
    invoices.delete_draft_as_operator(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Finalise a draft
///
/// The invoice gets its taxes and its number. One that is final already is returned as it is.
#[utoipa::path(post, path = "/{id}/finalize", operation_id = "finalize_invoice",
    params(("id" = String, Path, format = Uuid, description = "The draft.")), responses(
    (status = 200, body = Invoice),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`SELLER_UNKNOWN`: `BILLING_SELLER_NAME` is not set; or `INVOICE_NEGATIVE`: the total is \
        below zero.", body = ErrorEnvelope),
    (status = 503, description = "`TAXES_UNAVAILABLE`: the taxes can't be found out now.", body = ErrorEnvelope)))]
async fn finalize(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Json<Invoice>, Error> {
    Ok(Json(invoices.finalize_as_operator(&caller, id).await?))
}

/// Void an invoice
///
/// It keeps its number, and is not to be paid.
#[utoipa::path(post, path = "/{id}/void", operation_id = "void_invoice",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Invoice),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`INVOICE_NOT_OPEN`: it is not open; or `INVOICE_PARTLY_PAID`: a part is paid or \
        credited.", body = ErrorEnvelope)))]
async fn void(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Json<Invoice>, Error> {
    Ok(Json(invoices.void_as_operator(&caller, id).await?))
}

/// A credit note to make.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct CreditNoteRequest {
    /// The key: what is given back. A second credit note of the tenant with the same key is not made.
    key: Text<1, 190>,
    /// The lines to credit; if empty, all that is left of the invoice.
    #[garde(length(max = 1000), dive)]
    #[serde(default)]
    #[schema(max_items = 1000)]
    lines: Vec<CreditedLine>,
    /// The reason for the customer.
    #[serde(default)]
    reason: Text<0, 500>,
}

/// A line to credit.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreditedLine {
    /// The position of the line.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    position: u32,
    /// The amount without tax, in minor units of the currency, such as cents; `null` for all that is left of the line.
    #[garde(skip)]
    amount_minor: Option<i64>,
}

/// Make a credit note
///
/// It gets a number at once, and reduces what is owed of the invoice. Money is not paid back.
#[utoipa::path(post, path = "/{id}/credit-notes", operation_id = "create_credit_note", request_body = CreditNoteRequest,
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 201, body = Invoice),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`INVOICE_NOT_FINAL`: the invoice is a draft, void or a credit note; \
        `CREDIT_NOTE_TOO_LARGE`: more than is left of a line or of the invoice; `CREDIT_NOTE_NEGATIVE`: its total is below \
        zero; or `CREDIT_NOTE_CONFLICT`: another invoice has a credit note with this key.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn credit(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
    Json(request): Json<CreditNoteRequest>,
) -> Result<(StatusCode, Json<Invoice>), Error> {
    let mut note = NewCreditNote::new(request.key).reason(request.reason);
    for CreditedLine { position, amount_minor } in request.lines {
        note = match amount_minor {
            None => note.line(position),
            Some(minor) => note.part_of_line(position, minor),
        };
    }
    Ok((StatusCode::CREATED, Json(invoices.credit_as_operator(&caller, id, note).await?)))
}

/// A payment of an invoice.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct InvoicePaymentRequest {
    /// The amount.
    amount: Money,
    /// The reference, such as that of a bank transfer. A second payment with the same reference changes nothing.
    reference: Text<1, 200>,
}

/// Record a payment
///
/// Adds a payment that no payment provider reports, such as a bank transfer.
#[utoipa::path(post, path = "/{id}/payments", operation_id = "create_invoice_payment",
    request_body = InvoicePaymentRequest,
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Invoice),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`INVOICE_NOT_OPEN`: it is a draft, void or a credit note.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn record_payment(
    State(invoices): State<Invoices>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
    Json(request): Json<InvoicePaymentRequest>,
) -> Result<Json<Invoice>, Error> {
    let InvoicePaymentRequest { amount, reference } = request;
    Ok(Json(invoices.record_payment_as_operator(&caller, id, amount, &reference).await?))
}

impl Invoices {
    /// Drafts an invoice for an operator.
    async fn draft_as_operator(
        &self,
        operator: &Identity,
        tenant: TenantId,
        invoice: NewInvoice,
    ) -> Result<Invoice, Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let id = self.draft_in(&mut tx, invoice).await?;
        self.audit(&mut tx, operator, tenant, "invoice.drafted", id, json!({})).await?;
        tx.commit().await?;
        self.get(tenant, id).await
    }
}
