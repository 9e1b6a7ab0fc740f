//! Payments in exports of tenants.

use omnistack_payments::RefundRequest;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{TestTenant, start};

on_each_database! {
    async fn an_export_has_payments_and_refunds_without_credentials(database: TestDatabase) {
        let app = start(database).await;
        let (tenant, other) = (TestTenant::new(&app).await, TestTenant::new(&app).await);
        for payer in [&tenant, &other] {
            let payment = payer.pay("order/1", "tok_ok").await;
            let refund = RefundRequest::new("r").amount(250).reason("damaged");
            payer.ledger.refund(payer.id, payment.id, refund).await.unwrap();
            payer.pay("order/2", "tok_declined").await;
        }

        let mut exported = app.exported_rows(tenant.id).await;
        exported.retain(|name, _| name.starts_with("payment"));
        let text = serde_json::to_string(&exported).unwrap();
        for hidden in ["fake_test_1", "tok_ok", "order/1", "action_url"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        let payments = &exported["payments"];
        assert_eq!(payments.len(), 2, "{text}");
        let paid = payments.iter().find(|payment| payment["status"] == "succeeded").unwrap();
        assert_eq!((&paid["amount_minor"], &paid["refunded_minor"]), (&json!(1_000), &json!(250)));
        assert!(paid["metadata"].is_object(), "{text}");
        let refunds = &exported["payment-refunds"];
        assert_eq!((refunds.len(), &refunds[0]["payment_id"]), (1, &paid["id"]), "{text}");
        assert_eq!(refunds[0]["reason"], "damaged");
        let attempts = &exported["payment-attempts"];
        assert!(attempts.iter().any(|attempt| attempt["state"] == "succeeded"), "{text}");
        let own: Vec<_> = payments.iter().map(|payment| &payment["id"]).collect();
        for name in ["payment-attempts", "payment-entries"] {
            let rows = &exported[name];
            assert!(!rows.is_empty() && rows.iter().all(|row| own.contains(&&row["payment_id"])), "{name}: {text}");
        }
        assert!(exported["payment-disputes"].is_empty(), "{text}");
    }
}
