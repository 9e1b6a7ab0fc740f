//! Tests of the source of taxes: the questions that the app asks it, and the use of its answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_billing::{
    BillingPeriod, Credits, InvoicePaid, InvoiceStatus, LineTax, NewGrant, TaxProvider, TaxQuestion, TaxQuote, TaxRate,
    TaxTable, Wallets,
};
use omnistack_core::{BoxError, app::AppBuilder, async_trait};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{Customer, SELLER, billing, start_with};

async fn start_taxed(database: TestDatabase, taxes: impl TaxProvider) -> TestApp {
    TestApp::start(database, |app| {
        let app = SELLER.into_iter().fold(app, |app, (name, value)| app.set(name, value));
        app.set("USAGE_COUNT_REQUESTS", "false").with(billing().taxes(taxes))
    })
    .await
}

/// A source of taxes that fails the first time that it is told of an invoice.
#[derive(Clone, Default)]
struct Office(Arc<Mutex<Vec<&'static str>>>);

impl Office {
    fn told(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl TaxProvider for Office {
    async fn quote(&self, question: &TaxQuestion) -> Result<TaxQuote, BoxError> {
        Ok(TaxQuote::new(question.items.iter().map(|_| LineTax::of_rate(TaxRate::ZERO)).collect()))
    }

    async fn commit(&self, _: &str) -> Result<(), BoxError> {
        let mut told = self.0.lock().unwrap();
        if told.is_empty() {
            told.push("failed");
            return Err("the office is closed".into());
        }
        told.push("committed");
        Ok(())
    }

    async fn void(&self, _: &str) -> Result<(), BoxError> {
        self.0.lock().unwrap().push("voided");
        Ok(())
    }
}

on_each_database! {
    async fn the_rate_is_that_of_the_period_and_not_of_the_next(database: TestDatabase) {
        let taxes = TaxTable::europe().rate("DE", "", "2030-07-01", "16").unwrap();
        let app = start_taxed(database, taxes).await;
        let customer = Customer::new(&app);
        for (start, end, tax) in
            [("2030-06-01", "2030-07-01", 190), ("2030-07-01", "2030-08-01", 160), ("2030-06-15", "2030-07-15", 160)]
        {
            let time = |day: &str| format!("{day}T00:00:00Z").parse().unwrap();
            let period = BillingPeriod { start: time(start), end: time(end) };
            let id = customer.draft(customer.new_invoice(start, &[1000]).period(period)).await.unwrap();
            assert_eq!(customer.finalize(id).await.tax.minor(), tax, "{start}");
        }
    }

    async fn a_void_invoice_is_told_after_it_was_told_as_final(database: TestDatabase) {
        let office = Office::default();
        let app = start_taxed(database, office.clone()).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[1000])).await.unwrap();
        customer.finalize(id).await;
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        customer.invoices.void_in(&mut tx, customer.tenant, id).await.unwrap();
        tx.commit().await.unwrap();
        app.run_jobs().await;
        assert_eq!(office.told(), ["failed"], "it waits until the office knows the invoice");
        for _ in 0..10 {
            app.clock().advance(Duration::from_secs(600));
            app.run_jobs().await;
        }
        assert_eq!(office.told(), ["failed", "committed", "voided"]);
    }

    async fn an_invoice_that_credits_pay_is_told_as_paid(database: TestDatabase) {
        let app = start_with(database, |app: AppBuilder| app.set("BILLING_CREDIT_VALUE", "1.00 EUR")).await;
        let customer = Customer::new(&app);
        let wallets: Wallets = app.app().context().get().unwrap();
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        wallets.grant_in(&mut tx, NewGrant::new(customer.tenant, "a", Credits::from(100))).await.unwrap();
        tx.commit().await.unwrap();
        let mut paid = app.events().subscribe::<InvoicePaid>();
        let id = customer.draft(customer.new_invoice("a", &[1000]).pay_with_credits()).await.unwrap();
        assert_eq!(customer.finalize(id).await.status, InvoiceStatus::Paid);
        let open = customer.draft(customer.new_invoice("b", &[1000])).await.unwrap();
        customer.finalize(open).await;
        app.run_jobs().await;
        assert_eq!(paid.try_recv().unwrap().0.invoice, id);
        assert!(paid.try_recv().is_err(), "once, and not the one that is open");
    }
}
