//! Tests of invoices.

#![cfg(test)]

mod crash;
mod documents;
mod money;
mod numbers;
mod periods;
#[cfg(feature = "factur-x")]
mod readers;
mod routes;
mod taxes;
mod unreadable;

use omnistack_billing::{Billing, Invoice, InvoiceId, Invoices, Meter, NewInvoice, NewInvoiceLine, UsagePrice};
use omnistack_core::{
    app::AppBuilder,
    async_trait,
    http::{Error, Method},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    money::Currency,
    usage::Decimal,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) const INVOICES: &str = "/api/v1/app/billing/invoices";
pub(crate) const DETAILS: &str = "/api/v1/app/billing/details";
pub(crate) const ADMIN: &str = "/api/v1/admin/billing/invoices";

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct BillPeriods {}

#[async_trait]
impl Job for BillPeriods {
    const NAME: &'static str = "invoices.bill_periods";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// The settings of the seller.
pub(crate) const SELLER: [(&str, &str); 10] = [
    ("BILLING_SELLER_NAME", "Acme Software GmbH"),
    ("BILLING_SELLER_ADDRESS", "Hauptstraße 1"),
    ("BILLING_SELLER_CITY", "Berlin"),
    ("BILLING_SELLER_POSTAL_CODE", "10115"),
    ("BILLING_SELLER_COUNTRY", "DE"),
    ("BILLING_SELLER_VAT_NUMBER", "DE123456789"),
    ("BILLING_SELLER_CONTACT", "Accounting"),
    ("BILLING_SELLER_PHONE", "+49 30 1234567"),
    ("BILLING_SELLER_EMAIL", "billing@acme.example"),
    ("BILLING_SELLER_IBAN", "DE02120300000000202051"),
];

/// The module, with a price of a hundredth of a euro for a page.
pub(crate) fn billing() -> Billing {
    Billing::from_env().meter(Meter::sum("pages", "pages").reported_by_tenants()).usage_price(UsagePrice::new(
        "pages",
        Decimal::new(1, 2),
        Currency::EUR,
    ))
}

pub(crate) async fn start(database: TestDatabase) -> TestApp {
    start_with(database, |app| app).await
}

pub(crate) async fn start_with(database: TestDatabase, with: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| {
        let app = SELLER.into_iter().fold(app, |app, (name, value)| app.set(name, value));
        with(app.set("USAGE_COUNT_REQUESTS", "false").with(billing()))
    })
    .await
}

pub(crate) fn handle(app: &TestApp) -> Invoices {
    app.app().context().get().unwrap()
}

/// A tenant that is billed.
pub(crate) struct Customer<'a> {
    app: &'a TestApp,
    pub(crate) invoices: Invoices,
    pub(crate) client: TestClient,
    pub(crate) tenant: TenantId,
}

impl<'a> Customer<'a> {
    pub(crate) fn new(app: &'a TestApp) -> Self {
        let client = app.user();
        let tenant = client.identity().unwrap().tenant.unwrap();
        Self { app, invoices: handle(app), client, tenant }
    }

    /// Creates an invoice in euros with a line for each price, in cents.
    pub(crate) fn new_invoice(&self, key: &str, cents: &[i64]) -> NewInvoice {
        let line = |cents: &i64| NewInvoiceLine::item("Support", 1, Decimal::new(*cents, 2));
        cents.iter().map(line).fold(NewInvoice::new(self.tenant, key, Currency::EUR), NewInvoice::line)
    }

    pub(crate) async fn draft(&self, invoice: NewInvoice) -> Result<InvoiceId, Error> {
        let mut tx = self.app.db().app_database().tenant(self.tenant).begin().await.unwrap();
        let id = self.invoices.draft_in(&mut tx, invoice).await?;
        tx.commit().await.unwrap();
        Ok(id)
    }

    pub(crate) async fn finalize(&self, id: InvoiceId) -> Invoice {
        self.invoices.finalize(self.tenant, id).await.unwrap()
    }

    pub(crate) async fn get(&self, id: InvoiceId) -> Invoice {
        self.invoices.get(self.tenant, id).await.unwrap()
    }

    /// Sets the billing details.
    pub(crate) async fn state(&self, details: Value) -> Value {
        put(&self.client, DETAILS, details).await.expect(200).json()
    }
}

pub(crate) fn put(client: &TestClient, path: &str, body: Value) -> TestRequest {
    client.request(Method::PUT, path).json(body)
}

/// Bills the periods that have ended, as the cron does.
pub(crate) async fn bill_periods(app: &TestApp) {
    app.jobs().enqueue(BillPeriods {}).await.unwrap();
    app.run_jobs().await;
}
