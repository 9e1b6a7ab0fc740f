//! Tests of rows whose columns can't be read.

use omnistack_testkit::{TestDatabase, TestResponse, on_each_database};

use super::{PAYMENTS, TestTenant, start};

fn assert_names(response: TestResponse, expected: &str) {
    let response = response.expect_error(500, "INTERNAL_ERROR");
    assert!(response.causes().iter().any(|cause| cause.contains(expected)), "{:?}", response.causes());
}

on_each_database! {
    async fn a_payment_with_a_column_that_cant_be_read_is_an_error(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let before = tenant.get(&payment).await;
        let (path, id) = (format!("{PAYMENTS}/{}", payment.id), payment.id);
        for (column, sql, back) in [
            (
                "currency",
                "update omni_payments set currency = 'ZZZ' where tenant_id = $1",
                "update omni_payments set currency = 'USD' where tenant_id = $1",
            ),
            (
                "environment",
                "update omni_payments set environment = 'staging' where tenant_id = $1",
                "update omni_payments set environment = 'test' where tenant_id = $1",
            ),
            (
                "method",
                "update omni_payments set method = 'shells' where tenant_id = $1",
                "update omni_payments set method = 'card' where tenant_id = $1",
            ),
            (
                "metadata",
                "update omni_payments set metadata = '' where tenant_id = $1",
                "update omni_payments set metadata = '{}' where tenant_id = $1",
            ),
        ] {
            let mut tx = app.db().app_database().tenant(tenant.id).begin().await.unwrap();
            tx.query(sql).bind(tenant.id).execute().await.unwrap();
            tx.commit().await.unwrap();
            let expected = format!("`{column}` of the row {id} of `omni_payments` can't be read");
            assert_names(tenant.client.get(&path).await, &expected);
            if column != "environment" {
                assert_names(tenant.client.get(format!("{PAYMENTS}?environment=test")).await, &expected);
            }
            let mut tx = app.db().app_database().tenant(tenant.id).begin().await.unwrap();
            tx.query(back).bind(tenant.id).execute().await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(tenant.get(&payment).await, before);
        }
    }

    async fn a_rule_that_cant_be_read_routes_no_payment(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let mut tx = app.db().app_database().tenant(tenant.id).begin().await.unwrap();
        let sql = "update omni_payment_routes set services = '?' where tenant_id = $1";
        tx.query(sql).bind(tenant.id).execute().await.unwrap();
        tx.commit().await.unwrap();
        let error = tenant.ledger.create(tenant.request("a", "tok_ok")).await.unwrap_err();
        assert_eq!(error.code(), "INTERNAL_ERROR", "{error}");
        let list = tenant.client.get(format!("{PAYMENTS}/routes?environment=test")).await;
        assert_names(list, "`services` of the row");
    }
}
