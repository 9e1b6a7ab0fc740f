//! Documents of invoices: HTML always, PDF with the feature `invoice-pdf`, e-invoices of EN 16931 and XRechnung (UBL and
//! CII) with the feature `e-invoice`, and both in one file with the feature `factur-x`.
//!
//! They are made on demand from the invoice, which never changes, so they are not stored.

#[cfg(feature = "e-invoice")]
mod e_invoice;
#[cfg(feature = "invoice-pdf")]
mod font;
#[cfg(not(feature = "invoice-pdf"))]
#[path = "invoice_document/font/settings.rs"]
mod font;
mod html;
#[cfg(feature = "invoice-pdf")]
mod pdf;
mod routes;
mod view;

use omnistack_core::{
    identity::Authenticator,
    module::{Context, MissingDependency, Mount, Registry},
};

#[cfg(feature = "invoice-pdf")]
use self::font::InvoiceFont;
use self::font::InvoiceFontSettings;
use crate::invoice::Invoices;

/// The state of the routes.
#[derive(Clone)]
struct InvoiceDocuments {
    invoices: Invoices,
    #[cfg(feature = "invoice-pdf")]
    font: InvoiceFont,
}

/// Registers the routes of documents, which exist if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<InvoiceFontSettings>() else { return };
    #[cfg(not(feature = "invoice-pdf"))]
    let _ = settings;
    #[cfg(feature = "invoice-pdf")]
    let font = match InvoiceFont::load(settings.font.as_deref()) {
        Ok(font) => font,
        Err(problem) => {
            registry.report_problem(problem, "set BILLING_INVOICE_FONT to a TrueType or OpenType font, or unset it");
            return;
        }
    };
    let state = move |ctx: &Context| -> Result<InvoiceDocuments, MissingDependency> {
        Ok(InvoiceDocuments {
            invoices: ctx.get()?,
            #[cfg(feature = "invoice-pdf")]
            font: font.clone(),
        })
    };
    registry.after_modules(move |registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        let billing = Mount::app("/billing").without_plan_limits();
        registry.routes(billing, routes::app(), state.clone()).routes(
            Mount::admin("/billing/invoices"),
            routes::admin(),
            state,
        );
    });
}
