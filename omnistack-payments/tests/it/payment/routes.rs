//! Tests of the routes: users, API keys, tenants, and idempotency keys.

use std::time::Duration;

use omnistack_core::{
    db::Dialect,
    id::Id,
    identity::{ApiKeyId, Identity},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{PAYMENTS, TestTenant, start};

/// Returns a client with an API key of a tenant.
fn program(app: &TestApp, tenant: &TestTenant<'_>, permissions: &str) -> (TestClient, ApiKeyId) {
    let now = app.clock().clock().now();
    let key: ApiKeyId = Id::new(now);
    let identity = Identity::user(Id::new(now)).for_tenant(tenant.id).with_permissions(permissions.parse().unwrap());
    (app.client_as(identity.with_api_key(key).into_service_account()), key)
}

fn order() -> Value {
    json!({ "amount": 1000, "currency": "USD", "token": "tok_ok", "metadata": { "order": "17" } })
}

on_each_database! {
    async fn users_and_programs_create_and_read_payments(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let created = tenant.post("", "k1", order()).await.expect(201).json();
        assert_eq!((&created["status"], &created["amount"]), (&json!("succeeded"), &json!(1000)));
        assert_eq!((&created["environment"], &created["provider"]), (&json!("test"), &json!("fake")));
        assert_eq!((&created["metadata"], &created["api_key_id"]), (&json!({ "order": "17" }), &Value::Null));
        let id = created["id"].as_str().unwrap();

        let (program, key) = program(&app, &tenant, "payments:*");
        let one = program.get(format!("/v1/payments/{id}")).await.expect(200).json();
        assert_eq!(one, created);
        let two = program.get(format!("/v2/payments/{id}")).await.expect(200).json();
        assert_eq!(two["data"], created);
        app.clock().advance(Duration::from_secs(1));
        let request = program.post("/v1/payments", order()).header("idempotency-key", "k1");
        let other = request.await.expect(201).json();
        assert_ne!(other["id"], created["id"], "the key of another caller is another key");
        assert_eq!(other["api_key_id"], json!(key));
        let second = program.post("/v2/payments", order()).header("idempotency-key", "k2").await.expect(201).json();
        assert_eq!(second["data"]["status"], "succeeded");

        let list = format!("{PAYMENTS}?environment=test&limit=2");
        let page = tenant.client.get(&list).await.expect(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), 2);
        let next = format!("{list}&cursor={}", page["next_cursor"].as_str().unwrap());
        let page = tenant.client.get(next).await.expect(200).json();
        assert_eq!(page["items"], json!([created]));
        let failed = tenant.client.get(format!("{PAYMENTS}?environment=test&status=failed")).await.expect(200).json();
        assert_eq!(failed["items"], json!([]));
        let live = tenant.client.get(PAYMENTS).await.expect(200).json();
        assert_eq!(live["items"], json!([]), "data of the environments is kept apart");
        app.client_as(tenant.client.identity().unwrap().clone()).get("/v1/payments").await.expect(403);
    }

    async fn a_payment_is_captured_refunded_and_canceled_by_requests(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let manual = json!({ "amount": 500, "currency": "EUR", "token": "tok_ok", "capture": "manual" });
        let create = async |key: &str| {
            let created = tenant.post("", key, manual.clone()).await.expect(201).json();
            created["id"].as_str().unwrap().to_owned()
        };
        let id = create("a").await;
        let captured = tenant.post(&format!("/{id}/capture"), "b", json!({ "amount": 300 })).await.expect(200).json();
        assert_eq!((&captured["status"], &captured["captured"]), (&json!("succeeded"), &json!(300)));
        let refund = json!({ "amount": 100, "reason": "damaged" });
        for _ in 0..2 {
            let refunded = tenant.post(&format!("/{id}/refund"), "c", refund.clone()).await.expect(200).json();
            assert_eq!((&refunded["refunded"], &refunded["refunds"][0]["reason"]), (&json!(100), &json!("damaged")));
        }
        let resolved = tenant.post(&format!("/{id}/resolve"), "d", json!({})).await.expect(200).json();
        assert_eq!(resolved["refunds"].as_array().unwrap().len(), 1);
        let id = create("e").await;
        let canceled = tenant.post(&format!("/{id}/cancel"), "f", json!({})).await.expect(200).json();
        assert_eq!(canceled["status"], "canceled");
        let retried = tenant.post(&format!("/{id}/retry"), "g", json!({ "token": "tok_ok" })).await.expect(200).json();
        assert_eq!((&retried["status"], retried["attempts"].as_array().unwrap().len()), (&json!("authorized"), 2));
    }

    async fn a_request_with_the_same_key_is_carried_out_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let first = tenant.post("", "k", order()).await.expect(201).json();
        let second = tenant.post("", "k", order()).await.expect(201);
        assert_eq!((second.header("idempotent-replayed"), second.json()), (Some("true"), first.clone()));
        let other = json!({ "amount": 1001, "currency": "USD", "token": "tok_ok" });
        tenant.post("", "k", other).await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        tenant.client.post(PAYMENTS, order()).await.expect_error(400, "IDEMPOTENCY_KEY_REQUIRED");
        // The responses of another route and a lost store of responses: the payment itself has the key.
        let user = tenant.client.identity().unwrap().user;
        let same = tenant.ledger.create(tenant.request(&format!("{user}/k"), "tok_ok")).await.unwrap();
        assert_eq!(json!(same.id), first["id"]);
        let amount = omnistack_core::money::Money::new(7, omnistack_core::money::Currency::USD);
        let other = omnistack_payments::PaymentRequest::new(tenant.id, format!("{user}/k"), amount);
        assert_eq!(tenant.ledger.create(other).await.unwrap_err().code(), "PAYMENT_CONFLICT");
        assert_eq!(tenant.charges(&same).await, 1);

        // Version 2 replays the response in its envelope.
        let (program, _) = program(&app, &tenant, "payments:*");
        let send = || program.post("/v2/payments", order()).header("idempotency-key", "k");
        let (first, second) = (send().await.expect(201), send().await.expect(201));
        assert_eq!((second.header("idempotent-replayed"), second.json()), (Some("true"), first.json()));
        assert_eq!(second.json()["data"]["status"], "succeeded");
    }

    async fn a_result_is_stored_if_another_request_has_taken_over_the_key(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        // A trigger gives the claim of the request to another owner when the first attempt is stored.
        let statements = match app.db().dialect() {
            Dialect::Postgres => vec![
                "create function take_over() returns trigger language plpgsql as
                    'begin update omni_idempotency_keys set owner = gen_random_uuid(); return new; end'",
                "create trigger take_over after insert on omni_payment_attempts
                    for each row execute function take_over()",
            ],
            Dialect::Sqlite => vec![
                "create trigger take_over after insert on omni_payment_attempts
                    begin update omni_idempotency_keys set owner = randomblob(16); end",
            ],
        };
        for sql in statements {
            app.db().app_database().query(sql).execute().await.unwrap();
        }
        let payment = tenant.post("", "k", order()).await.expect(201).json();
        assert_eq!((&payment["status"], &payment["attempts"][0]["status"]), (&json!("succeeded"), &json!("succeeded")));
        let id = payment["id"].as_str().unwrap();
        assert_eq!(tenant.client.get(format!("{PAYMENTS}/{id}")).await.expect(200).json(), payment);
        tenant.check_ledger().await;
    }

    async fn tenants_are_kept_apart(database: TestDatabase) {
        let app = start(database).await;
        let (tenant, other) = (TestTenant::new(&app).await, TestTenant::new(&app).await);
        let payment = tenant.pay("a", "tok_ok").await;
        let path = format!("/{}", payment.id);
        other.client.get(format!("{PAYMENTS}{path}")).await.expect(404);
        for action in ["capture", "cancel", "refund", "retry", "resolve"] {
            other.post(&format!("{path}/{action}"), action, json!({})).await.expect(404);
        }
        let list = other.client.get(format!("{PAYMENTS}?environment=test")).await.expect(200).json();
        assert_eq!(list["items"], json!([]));
        assert_ne!(other.pay("a", "tok_ok").await.id, payment.id, "keys are those of a tenant");
        app.anonymous().get(PAYMENTS).await.expect(401);
        let (reader, _) = program(&app, &tenant, "payments:read");
        reader.get(format!("/v1/payments{path}")).await.expect(200);
        let quote = reader.get("/v1/payments/quote?amount=1000&currency=USD").await.expect(200).json();
        assert_eq!(quote["chosen"], "fake");
        reader.post("/v1/payments", order()).header("idempotency-key", "x").await.expect(403);
    }

    async fn requests_with_invalid_values_are_refused(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let values = [
            ("amount", json!(0)),
            ("amount", json!(10.5)),
            ("amount", json!("1000")),
            ("amount", json!(1_000_000_000_001_i64)),
            ("amount", json!(i64::MAX)),
            ("return_url", json!("javascript:alert(1)")),
            ("return_url", json!("/orders")),
            ("currency", json!("usd")),
            ("currency", json!("DOLLAR")),
            ("country", json!("de")),
            ("token", json!("")),
            ("token", json!("t".repeat(501))),
            ("tokens", json!({ "fake": "" })),
            ("metadata", json!({ "": "a" })),
            ("metadata", json!({ "a": "v".repeat(501) })),
            ("capture", json!("later")),
            ("other", json!(1)),
        ];
        for (index, (field, value)) in values.into_iter().enumerate() {
            let mut body = order();
            body[field] = value;
            tenant.post("", &format!("k{index}"), body).await.expect_error(422, "VALIDATION_FAILED");
        }
        let live = json!({ "amount": 1000, "currency": "USD", "token": "tok_ok", "environment": "live" });
        tenant.post("", "live", live).await.expect_error(422, "PAYMENT_NOT_ROUTABLE");
        tenant.client.get(format!("{PAYMENTS}/none")).await.expect(422);
        tenant.client.get(format!("{PAYMENTS}?cursor=x")).await.expect_error(422, "VALIDATION_FAILED");
    }
}
