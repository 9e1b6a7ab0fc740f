//! Tests of the routes of tenants and operators.

use std::time::Duration;

use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    clock::Timestamp,
    money::{Currency, Money},
    payment::{ProviderInvoice, ProviderInvoiceStatus},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ADMIN, Customer, DETAILS, INVOICES, put, start};

on_each_database! {
    async fn an_operator_drafts_finalises_and_corrects(database: TestDatabase) {
        let app = start(database).await;
        let (customer, operator) = (Customer::new(&app), app.operator());
        let body = json!({
            "tenant": customer.tenant, "key": "setup", "currency": "EUR", "percent_off": "10", "note": "Thank you",
            "lines": [{ "description": "Setup", "unit_price": 100 },
                { "description": "Training", "quantity": 1.5, "unit": "days", "unit_price": 0.333 }],
        });
        let draft = operator.post(ADMIN, &body).await.expect(201).json();
        assert_eq!(operator.post(ADMIN, &body).await.expect(201).json()["id"], draft["id"]);
        assert_eq!((&draft["status"], &draft["net"]["amount"]), (&json!("draft"), &json!("90.45")));
        let path = format!("{ADMIN}/{}", draft["id"].as_str().unwrap());
        // Tenants don't see drafts in the list.
        assert_eq!(customer.client.get(INVOICES).await.expect(200).json()["items"], json!([]));

        let invoice = operator.post(format!("{path}/finalize"), json!({})).await.expect(200).json();
        assert_eq!((&invoice["number"], &invoice["status"]), (&json!("INV-000001"), &json!("open")));
        assert_eq!(invoice["total"], json!({ "amount": "107.64", "currency": "EUR" }));
        assert_eq!(invoice["due_at"], "2030-01-15T00:00:00Z");
        assert_eq!(operator.get(&path).await.expect(200).json(), invoice);
        operator.delete(&path).await.expect_error(404, "NOT_FOUND");
        let own = format!("{INVOICES}/{}", invoice["id"].as_str().unwrap());
        assert_eq!(customer.client.get(&own).await.expect(200).json(), invoice);

        let payment = json!({ "amount": { "amount": "7.64", "currency": "EUR" }, "reference": "bank/1" });
        for _ in 0..2 {
            let paid = operator.post(format!("{path}/payments"), &payment).await.expect(200).json();
            assert_eq!(paid["due"]["amount"], "100.00");
        }
        operator.post(format!("{path}/void"), json!({})).await.expect_error(409, "INVOICE_PARTLY_PAID");
        // So that the credit note is newer.
        app.clock().advance(Duration::from_secs(1));
        let note = json!({ "key": "a", "lines": [{ "position": 2, "amount_minor": 20 }], "reason": "One hour less" });
        let note = operator.post(format!("{path}/credit-notes"), note).await.expect(201).json();
        assert_eq!((&note["number"], &note["kind"]), (&json!("CN-000001"), &json!("credit_note")));
        assert_eq!((&note["total"]["amount"], &note["original"]["number"]), (&json!("0.24"), &json!("INV-000001")));
        let too_much = json!({ "key": "b", "lines": [{ "position": 2, "amount_minor": 9999 }] });
        operator.post(format!("{path}/credit-notes"), too_much).await.expect_error(409, "CREDIT_NOTE_TOO_LARGE");
        let listed = operator.get(format!("{ADMIN}?tenant={}&limit=1", customer.tenant)).await.expect(200).json();
        assert_eq!(listed["items"][0]["id"], note["id"]);
        let next = listed["next_cursor"].as_str().unwrap();
        let listed = operator.get(format!("{ADMIN}?cursor={next}&status=open")).await.expect(200).json();
        assert_eq!(listed["items"][0]["id"], invoice["id"]);

        let log: AuditStore = app.app().context().get().unwrap();
        let filter = AuditFilter::for_chain(customer.tenant).action("invoice.");
        let entries = log.list(&filter, 10, None).await.unwrap().items;
        let actions: Vec<_> = entries.iter().rev().map(|entry| entry.action.as_str()).collect();
        let paid = "invoice.payment_recorded";
        let expected = ["invoice.drafted", "invoice.drafted", "invoice.finalized", paid, paid, "invoice.credited"];
        assert_eq!(actions, expected);
    }

    async fn invoices_of_others_are_not_found(database: TestDatabase) {
        let app = start(database).await;
        let (customer, other) = (Customer::new(&app), Customer::new(&app));
        let id = customer.draft(customer.new_invoice("a", &[100])).await.unwrap();
        customer.finalize(id).await;
        let path = format!("{INVOICES}/{id}");
        customer.client.get(&path).await.expect(200);
        for path in [path.clone(), format!("{path}/html")] {
            other.client.get(&path).await.expect_error(404, "NOT_FOUND");
            app.anonymous().get(&path).await.expect(401);
        }
        assert_eq!(other.client.get(INVOICES).await.expect(200).json()["items"], json!([]));
        for action in ["/finalize", "/void", "/credit-notes", "/payments"] {
            customer.client.post(format!("{ADMIN}/{id}{action}"), json!({})).await.expect(403);
        }
        for query in ["?limit=0", "?cursor=x", "?environment=none", "?page=1"] {
            customer.client.get(format!("{INVOICES}{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
    }

    async fn billing_details_are_checked(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        assert_eq!(customer.client.get(DETAILS).await.expect(200).json()["name"], "");
        let details = json!({ "name": "Beispiel AG", "city": "Wien", "country": "AT", "vat_number": "ATU12345678" });
        let stated = customer.state(details).await;
        assert_eq!(customer.client.get(DETAILS).await.expect(200).json(), stated);
        let test = customer.client.get(format!("{DETAILS}?environment=test")).await.expect(200).json();
        assert_eq!(test["name"], "");
        for wrong in [
            json!({}),
            json!({ "name": "" }),
            json!({ "name": "a", "country": "at" }),
            json!({ "name": "a", "vat_number": "1" }),
            json!({ "name": "a", "iban": "DE1" }),
            json!({ "name": "a".repeat(201) }),
        ] {
            put(&customer.client, DETAILS, wrong).await.expect(422);
        }
    }

    async fn invoices_of_providers_are_listed(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let at = |day: u32| format!("2030-01-0{day}T00:00:00Z").parse::<Timestamp>().unwrap();
        for (day, status) in
            [(1, ProviderInvoiceStatus::Paid), (2, ProviderInvoiceStatus::Draft), (2, ProviderInvoiceStatus::Open)]
        {
            let invoice = ProviderInvoice {
                id: format!("in_{day}"),
                number: None,
                status,
                subscription: None,
                total: Money::new(2900, Currency::USD),
                paid: Money::new(0, Currency::USD),
                period: None,
                attempts: 0,
                next_attempt_at: None,
                hosted_url: Some("https://pay.example/in".to_owned()),
                pdf_url: None,
                created_at: at(day),
            };
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let environment = DataEnvironment::Live;
            customer.invoices.mirror_in(&mut tx, customer.tenant, environment, "fake", &invoice).await.unwrap();
            tx.commit().await.unwrap();
        }
        let path = "/api/v1/app/billing/provider-invoices?limit=1";
        let first = customer.client.get(path).await.expect(200).json();
        assert_eq!((&first["items"][0]["id"], &first["items"][0]["status"]), (&json!("in_2"), &json!("open")));
        let next = format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap());
        let second = customer.client.get(next).await.expect(200).json();
        assert_eq!((&second["items"][0]["id"], &second["next_cursor"]), (&json!("in_1"), &Value::Null));
        customer.client.get(format!("{path}&cursor=x")).await.expect_error(422, "VALIDATION_FAILED");
    }
}
