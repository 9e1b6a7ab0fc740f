//! Tests of rows whose columns can't be read.

use omnistack_core::{
    money::{Currency, Money},
    payment::{ProviderInvoice, ProviderInvoiceStatus},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestDatabase, TestResponse, on_each_database};

use super::{ADMIN, Customer, INVOICES, start};

/// Asserts that a response is a 500 whose cause names the column, the row and the table, and that its body has no such
/// name.
fn assert_names(response: TestResponse, table: &str, id: &str, column: &str) {
    let response = response.expect_error(500, "INTERNAL_ERROR");
    let expected = format!("`{column}` of the row {id} of `{table}` can't be read");
    assert!(response.causes().iter().any(|cause| cause.contains(&expected)), "{:?}", response.causes());
    assert!(!response.text().contains(column), "{}", response.text());
}

on_each_database! {
    async fn an_invoice_whose_currency_or_environment_cant_be_read_is_an_error(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[1_000])).await.unwrap();
        customer.finalize(id).await;
        let (id, path) = (id.to_string(), format!("{INVOICES}/{id}"));
        customer.client.get(&path).await.expect(200);
        for (column, sql, back) in [
            (
                "currency",
                "update omni_invoices set currency = 'ZZZ' where tenant_id = $1",
                "update omni_invoices set currency = 'EUR' where tenant_id = $1",
            ),
            (
                "environment",
                "update omni_invoices set environment = 'staging' where tenant_id = $1",
                "update omni_invoices set environment = 'live' where tenant_id = $1",
            ),
        ] {
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            tx.query(sql).bind(customer.tenant).execute().await.unwrap();
            tx.commit().await.unwrap();
            assert_names(customer.client.get(&path).await, "omni_invoices", &id, column);
            assert_names(app.operator().get(format!("{ADMIN}/{id}")).await, "omni_invoices", &id, column);
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            tx.query(back).bind(customer.tenant).execute().await.unwrap();
            tx.commit().await.unwrap();
            customer.client.get(&path).await.expect(200);
        }
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        let sql = "update omni_invoice_lines set tax_category = '?' where tenant_id = $1";
        tx.query(sql).bind(customer.tenant).execute().await.unwrap();
        tx.commit().await.unwrap();
        assert_names(customer.client.get(&path).await, "omni_invoice_lines", &format!("{id}/1"), "tax_category");
    }

    async fn a_copy_of_a_providers_invoice_whose_currency_cant_be_read_is_an_error(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let now = app.clock().clock().now();
        let total = Money::new(1_000, Currency::EUR);
        let invoice = ProviderInvoice {
            id: "in_1".to_owned(),
            number: None,
            subscription: None,
            status: ProviderInvoiceStatus::Open,
            total,
            paid: Money::new(0, Currency::EUR),
            attempts: 0,
            next_attempt_at: None,
            hosted_url: None,
            pdf_url: None,
            period: None,
            created_at: now,
        };
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        let environment = DataEnvironment::Live;
        customer.invoices.mirror_in(&mut tx, customer.tenant, environment, "fake", &invoice).await.unwrap();
        let sql = "update omni_provider_invoices set currency = 'euro' where tenant_id = $1";
        tx.query(sql).bind(customer.tenant).execute().await.unwrap();
        tx.commit().await.unwrap();
        let list = customer.client.get("/api/v1/app/billing/provider-invoices").await;
        assert_names(list, "omni_provider_invoices", "in_1 of fake", "currency");
    }
}
