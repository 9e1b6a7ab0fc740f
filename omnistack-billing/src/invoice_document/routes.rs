//! The routes of documents, for tenants and for operators.

#![cfg_attr(
    feature = "e-invoice",
    expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")
)]

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use omnistack_core::{
    http::{Error, ErrorEnvelope, HeaderValue, Path, header},
    identity::{Identity, Require},
    module::Api,
};
use utoipa_axum::routes;

#[cfg(feature = "e-invoice")]
use super::e_invoice;
#[cfg(feature = "invoice-pdf")]
use super::pdf;
use super::{InvoiceDocuments, html, view::DocumentView};
use crate::invoice::{Invoice, InvoiceId};

#[cfg(feature = "e-invoice")]
use {
    en16931_formats::Syntax,
    garde::Validate,
    omnistack_core::http::Query,
    serde::Deserialize,
    utoipa::{IntoParams, ToSchema},
};

/// Returns the routes below `/billing` for tenants.
pub(super) fn app() -> Api<InvoiceDocuments> {
    let read = || Require::permission("billing:read");
    let api = Api::new().require(read(), routes!(get_html));
    #[cfg(feature = "invoice-pdf")]
    let api = api.require(read(), routes!(get_pdf));
    #[cfg(feature = "e-invoice")]
    let api = api.require(read(), routes!(get_xml));
    #[cfg(feature = "factur-x")]
    let api = api.require(read(), routes!(get_factur_x));
    api
}

/// Returns the routes below `/billing/invoices` for operators.
pub(super) fn admin() -> Api<InvoiceDocuments> {
    let api = Api::new().routes(routes!(get_html_of_any));
    #[cfg(feature = "invoice-pdf")]
    let api = api.routes(routes!(get_pdf_of_any));
    #[cfg(feature = "e-invoice")]
    let api = api.routes(routes!(get_xml_of_any));
    #[cfg(feature = "factur-x")]
    let api = api.routes(routes!(get_factur_x_of_any));
    api
}

impl InvoiceDocuments {
    async fn own(&self, caller: &Identity, id: InvoiceId) -> Result<Invoice, Error> {
        self.invoices.get(caller.require_tenant()?, id).await
    }

    async fn any(&self, id: InvoiceId) -> Result<Invoice, Error> {
        self.invoices.get_of_any_tenant(id).await
    }
}

/// Get an invoice as a page
///
/// Needs `billing:read`.
#[utoipa::path(get, path = "/invoices/{id}/html", operation_id = "get_invoice_html",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = String, content_type = "text/html", description = "The page."),
    (status = 404, body = ErrorEnvelope)))]
async fn get_html(
    State(documents): State<InvoiceDocuments>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    Ok(page(&documents.own(&caller, id).await?))
}

/// Get an invoice of any tenant as a page
#[utoipa::path(get, path = "/{id}/html", operation_id = "get_invoice_html",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = String, content_type = "text/html", description = "The page."),
    (status = 404, body = ErrorEnvelope)))]
async fn get_html_of_any(
    State(documents): State<InvoiceDocuments>,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    Ok(page(&documents.any(id).await?))
}

/// Get an invoice as a PDF
///
/// Needs `billing:read`.
#[cfg(feature = "invoice-pdf")]
#[utoipa::path(get, path = "/invoices/{id}/pdf", operation_id = "get_invoice_pdf",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/pdf", description = "The PDF."),
    (status = 404, body = ErrorEnvelope)))]
async fn get_pdf(
    State(documents): State<InvoiceDocuments>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    let invoice = documents.own(&caller, id).await?;
    file_of_pdf(documents, invoice).await
}

/// Get an invoice of any tenant as a PDF
#[cfg(feature = "invoice-pdf")]
#[utoipa::path(get, path = "/{id}/pdf", operation_id = "get_invoice_pdf",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/pdf", description = "The PDF."),
    (status = 404, body = ErrorEnvelope)))]
async fn get_pdf_of_any(
    State(documents): State<InvoiceDocuments>,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    let invoice = documents.any(id).await?;
    file_of_pdf(documents, invoice).await
}

/// The syntax of an e-invoice.
#[cfg(feature = "e-invoice")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EInvoiceSyntax {
    /// UBL 2.1, which XRechnung and Peppol use.
    #[default]
    Ubl,
    /// UN/CEFACT Cross Industry Invoice, which Factur-X and ZUGFeRD use.
    Cii,
}

#[cfg(feature = "e-invoice")]
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EInvoiceQuery {
    /// The syntax. Default: `ubl`.
    #[garde(skip)]
    #[param(inline)]
    syntax: Option<EInvoiceSyntax>,
}

/// Get an invoice as an e-invoice
///
/// XRechnung 3.0, or EN 16931 if the seller or the customer has stated less than XRechnung asks for. Needs `billing:read`.
#[cfg(feature = "e-invoice")]
#[utoipa::path(get, path = "/invoices/{id}/xml", operation_id = "get_invoice_xml",
    params(("id" = String, Path, format = Uuid, description = "The invoice."), EInvoiceQuery), responses(
    (status = 200, body = String, content_type = "application/xml", description = "The e-invoice."),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`INVOICE_NOT_FINAL`: it is a draft; `E_INVOICE_CURRENCY`: the currency has other than two \
        decimals; `E_INVOICE_INCOMPLETE`: facts are missing, see `problems`.", body = ErrorEnvelope)))]
async fn get_xml(
    State(documents): State<InvoiceDocuments>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
    Query(query): Query<EInvoiceQuery>,
) -> Result<Response, Error> {
    file_of_e_invoice(&documents.own(&caller, id).await?, query)
}

/// Get an invoice of any tenant as an e-invoice
#[cfg(feature = "e-invoice")]
#[utoipa::path(get, path = "/{id}/xml", operation_id = "get_invoice_xml",
    params(("id" = String, Path, format = Uuid, description = "The invoice."), EInvoiceQuery), responses(
    (status = 200, body = String, content_type = "application/xml", description = "The e-invoice."),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "As for tenants.", body = ErrorEnvelope)))]
async fn get_xml_of_any(
    State(documents): State<InvoiceDocuments>,
    Path(id): Path<InvoiceId>,
    Query(query): Query<EInvoiceQuery>,
) -> Result<Response, Error> {
    file_of_e_invoice(&documents.any(id).await?, query)
}

/// Get an invoice as a Factur-X document
///
/// A PDF/A-3 with the invoice in CII, of the profile EN 16931, which is also ZUGFeRD. Needs `billing:read`.
#[cfg(feature = "factur-x")]
#[utoipa::path(get, path = "/invoices/{id}/factur-x", operation_id = "get_invoice_factur_x",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/pdf", description = "The PDF."),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "As for the e-invoice; `INVOICE_FONT_INCOMPLETE`: the font lacks characters of the \
        invoice, see `texts`.", body = ErrorEnvelope)))]
async fn get_factur_x(
    State(documents): State<InvoiceDocuments>,
    caller: Identity,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    let invoice = documents.own(&caller, id).await?;
    file_of_factur_x(documents, invoice).await
}

/// Get an invoice of any tenant as a Factur-X document
#[cfg(feature = "factur-x")]
#[utoipa::path(get, path = "/{id}/factur-x", operation_id = "get_invoice_factur_x",
    params(("id" = String, Path, format = Uuid, description = "The invoice.")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/pdf", description = "The PDF."),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "As for tenants.", body = ErrorEnvelope)))]
async fn get_factur_x_of_any(
    State(documents): State<InvoiceDocuments>,
    Path(id): Path<InvoiceId>,
) -> Result<Response, Error> {
    let invoice = documents.any(id).await?;
    file_of_factur_x(documents, invoice).await
}

fn page(invoice: &Invoice) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(html::PAGE_CSP)),
    ];
    (headers, html::render(&DocumentView::new(invoice))).into_response()
}

#[cfg(feature = "invoice-pdf")]
async fn file_of_pdf(documents: InvoiceDocuments, invoice: Invoice) -> Result<Response, Error> {
    let view = DocumentView::new(&invoice);
    // An invoice of hundreds of lines takes milliseconds, in which other requests should not wait.
    let rendered = tokio::task::spawn_blocking(move || pdf::render(&view, &documents.font)).await;
    let pdf = rendered.map_err(Error::internal)?.map_err(Error::internal)?;
    Ok(file(&invoice, "application/pdf", "pdf", pdf))
}

#[cfg(feature = "factur-x")]
async fn file_of_factur_x(documents: InvoiceDocuments, invoice: Invoice) -> Result<Response, Error> {
    let created = tokio::task::spawn_blocking(move || factur_x(&documents, &invoice).map(|pdf| (invoice, pdf))).await;
    let (invoice, pdf) = created.map_err(Error::internal)??;
    Ok(file(&invoice, "application/pdf", "pdf", pdf))
}

#[cfg(feature = "factur-x")]
fn factur_x(documents: &InvoiceDocuments, invoice: &Invoice) -> Result<Vec<u8>, Error> {
    let issued_at = invoice.issued_at.ok_or_else(e_invoice::not_final)?;
    let rendered = pdf::render_archival(&DocumentView::new(invoice), &documents.font, issued_at);
    let pdf = rendered.map_err(Error::internal)?.map_err(|texts| {
        let message =
            "the font of invoices lacks characters of this one; set BILLING_INVOICE_FONT to a font that has them";
        Error::conflict("INVOICE_FONT_INCOMPLETE", message).with_detail("texts", texts)
    })?;
    e_invoice::embed(invoice, &pdf)
}

#[cfg(feature = "e-invoice")]
fn file_of_e_invoice(invoice: &Invoice, query: EInvoiceQuery) -> Result<Response, Error> {
    let syntax = match query.syntax.unwrap_or_default() {
        EInvoiceSyntax::Ubl => Syntax::Ubl,
        EInvoiceSyntax::Cii => Syntax::Cii,
    };
    let xml = e_invoice::render(invoice, syntax)?;
    Ok(file(invoice, "application/xml", "xml", xml.into_bytes()))
}

/// Returns a response with a file, which is named after the invoice.
#[cfg(any(feature = "invoice-pdf", feature = "e-invoice"))]
fn file(invoice: &Invoice, content_type: &'static str, extension: &str, bytes: Vec<u8>) -> Response {
    // Prefixes of numbers have only letters, digits, `-`, `/` and `.`.
    let name = invoice.number.as_deref().unwrap_or("draft").replace('/', "-");
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(disposition) = HeaderValue::from_str(&format!("inline; filename=\"{name}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}
