//! Invoices: drafted in the transaction that makes them due, finalised with taxes and a number, and never changed.
//!
//! A draft has neither a number nor tax. [`finalize`] asks the [source of taxes](crate::tax), lets credits of the wallet
//! pay, and takes the next number of the series in the transaction that stores the invoice, so that numbers have no gaps.
//! A [credit note](credit_note) corrects a finalised invoice. An invoice that is voided keeps its number.
//!
//! The [arithmetic](amounts) follows EN 16931. The [job of billing periods](jobs) bills the plan and the usage of the
//! ledger; usage that arrives later has a line in the next invoice.

mod admin;
mod amounts;
mod credit_note;
mod details;
mod events;
mod export;
mod finalize;
mod handle;
mod jobs;
mod mirror;
mod model;
mod new_invoice;
mod party;
mod payments;
mod period_invoice;
mod preview;
mod routes;
mod settings;
mod snapshot;
mod store;
mod usage_price;

use std::sync::Arc;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

pub use credit_note::NewCreditNote;
pub use events::{InvoiceFacts, InvoiceFinalized, InvoicePaid, InvoiceVoided};
pub use handle::Invoices;
pub use model::{
    Invoice, InvoiceDiscount, InvoiceId, InvoiceKind, InvoiceLine, InvoiceLineKind, InvoiceListItem, InvoiceReference,
    InvoiceStatus, InvoiceTax, MirroredInvoice,
};
pub use new_invoice::{NewInvoice, NewInvoiceLine};
pub use party::InvoiceParty;
pub(crate) use settings::InvoiceSettings;
pub use usage_price::UsagePrice;

use crate::{meter::MeterSet, tax::TaxProvider};
use handle::InvoiceParts;
use jobs::{AnnounceInvoices, BillPeriods, VoidTaxes};

/// Registers invoices, their jobs, events and routes. The routes exist if the app authenticates callers.
pub(crate) fn register(
    registry: &mut Registry,
    settings: InvoiceSettings,
    meters: &MeterSet,
    usage_prices: Vec<UsagePrice>,
    taxes: Arc<dyn TaxProvider>,
) {
    for price in &usage_prices {
        if let Some(problem) = price.problem(meters) {
            let what = format!("the price of the meter `{}`: {problem}", price.meter());
            registry.report_problem(what, "correct the call of `Billing::usage_price`");
        }
    }
    let usage_prices: Arc<[UsagePrice]> = usage_prices.into();
    registry
        // Final invoices of a deleted tenant are kept: the law asks the seller for them.
        .tenant_tables(["omni_billing_details", "omni_provider_invoices"])
        .provide_from(move |ctx| {
            Ok(Invoices::new(InvoiceParts {
                // Invoices are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: ctx.get()?,
                events: ctx.get()?,
                jobs: ctx.get()?,
                log: ctx.get()?,
                ledger: ctx.get()?,
                wallets: ctx.get()?,
                settings: settings.clone(),
                taxes: Arc::clone(&taxes),
                usage_prices: Arc::clone(&usage_prices),
            }))
        })
        .forward_to_webhooks::<InvoiceFinalized>("invoice-finalized")
        .forward_to_webhooks::<InvoicePaid>("invoice-paid")
        .forward_to_webhooks::<InvoiceVoided>("invoice-voided")
        .job::<AnnounceInvoices>(|ctx| ctx.get::<Invoices>())
        .job::<VoidTaxes>(|ctx| ctx.get::<Invoices>())
        .job::<BillPeriods>(|ctx| ctx.get::<Invoices>())
        .cron(Cron::new("19 * * * *", BillPeriods {}))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let billing = Mount::app("/billing").without_plan_limits();
            registry.routes(billing, routes::api(), |ctx| ctx.get::<Invoices>()).routes(
                Mount::admin("/billing/invoices"),
                admin::api(),
                |ctx| ctx.get::<Invoices>(),
            );
        });
    export::register(registry);
}
