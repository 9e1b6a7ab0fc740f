//! Tests of the routes of tenants and operators.

use std::time::Duration;

use omnistack_billing::WalletEntryKind;
use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ADMIN, STATEMENT, TestWallet, WALLET, credits, put, start};

on_each_database! {
    async fn a_tenant_reads_its_wallet_and_its_statement(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let empty = wallet.client.get(WALLET).await.expect(200).json();
        let expected = json!({
            "environment": "live", "balance": 0, "low_below": null, "top_up_amount": null, "low_since": null,
            "grants": [],
        });
        assert_eq!(empty, expected);
        let end = app.clock().clock().now() + Duration::from_secs(86_400);
        let grant = wallet.new_grant("payment/1", 100).priority(3).expires_at(end).description("Invoice 17");
        let id = wallet.grant(grant).await.unwrap().id;
        app.operator()
            .post(format!("{ADMIN}/{}/grants", wallet.tenant), json!({ "key": "gift", "amount": 0.25 }))
            .await
            .expect(201);
        wallet.spend("use/1", 18).await.unwrap();
        let shown = wallet.client.get(WALLET).await.expect(200).json();
        assert_eq!(shown["balance"], json!(82.25));
        let expected = json!([{
            "id": id, "key": "payment/1", "description": "Invoice 17", "priority": 3, "amount": 100, "remaining": 82.25,
            "expires_at": "2030-01-02T00:00:00Z", "created_at": "2030-01-01T00:00:00Z",
        }]);
        assert_eq!(shown["grants"], expected);

        let page = wallet.client.get(format!("{STATEMENT}?limit=2")).await.expect(200).json();
        let [used, gift] = page["items"].as_array().unwrap().as_slice() else { panic!("{page}") };
        assert_eq!((&used["kind"], &used["amount"], &used["balance"]), (&json!("used"), &json!(-18), &json!(82.25)));
        assert_eq!(used["parts"][1], json!({ "grant_id": id, "amount": -17.75 }));
        assert_eq!((&gift["kind"], &gift["amount"], &gift["key"]), (&json!("granted"), &json!(0.25), &json!("gift")));
        let next = format!("{STATEMENT}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
        let page = wallet.client.get(next).await.expect(200).json();
        assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (1, &Value::Null));
        assert_eq!(page["items"][0]["description"], "Invoice 17");

        // Another environment and another tenant.
        let test = wallet.client.get(format!("{WALLET}?environment=test")).await.expect(200).json();
        assert_eq!((&test["environment"], &test["balance"]), (&json!("test"), &json!(0)));
        let other = app.user();
        assert_eq!(other.get(WALLET).await.expect(200).json()["balance"], 0);
        assert_eq!(other.get(STATEMENT).await.expect(200).json()["items"], json!([]));
        for query in ["?environment=none", "?limit=0", "?limit=101", "?cursor=x", "?page=1"] {
            wallet.client.get(format!("{STATEMENT}{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
        app.anonymous().get(WALLET).await.expect(401);
    }

    async fn an_operator_grants_and_adjusts_credits(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let operator = app.operator();
        let grants = format!("{ADMIN}/{}/grants", wallet.tenant);
        let body = json!({ "key": "support/17", "amount": 12.5, "description": "Sorry", "priority": -1,
            "expires_at": "2030-02-01T00:00:00Z" });
        let granted = operator.post(&grants, &body).await.expect(201).json();
        assert_eq!((&granted["amount"], &granted["remaining"]), (&json!(12.5), &json!(12.5)));
        assert_eq!(operator.post(&grants, &body).await.expect(200).json(), granted);
        let other = json!({ "key": "support/17", "amount": 13 });
        operator.post(&grants, other).await.expect_error(409, "GRANT_CONFLICT");
        assert_eq!(operator.get(format!("{ADMIN}/{}", wallet.tenant)).await.expect(200).json()["balance"], 12.5);

        let path = format!("{grants}/support%2F17");
        for amount in [10, 10] {
            let adjusted = put(&operator, &path, json!({ "amount": amount })).await.expect(200).json();
            assert_eq!((&adjusted["id"], &adjusted["amount"]), (&granted["id"], &json!(10)));
        }
        put(&operator, &format!("{grants}/other"), json!({ "amount": 1 })).await.expect_error(404, "NOT_FOUND");
        let test = format!("{grants}?environment=test");
        operator.post(&test, json!({ "key": "support/17", "amount": 1 })).await.expect(201);
        let balance = wallet.wallets.balance(wallet.tenant, DataEnvironment::Test).await.unwrap().balance;
        assert_eq!((balance, wallet.balance().await), (credits(1), credits(10)));

        let log: AuditStore = app.app().context().get().unwrap();
        let filter = AuditFilter::for_chain(wallet.tenant).action("wallet.");
        let entries = log.list(&filter, 10, None).await.unwrap().items;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["wallet.granted", "wallet.adjusted", "wallet.granted"]);
        let details = entries[1].details.as_ref().unwrap();
        assert_eq!((&details["from"], &details["to"]), (&json!(12.5), &json!(10)));
        assert!(entries.iter().all(|entry| entry.actor == operator.identity().map(|caller| caller.user)));
        wallet.client.get(format!("{ADMIN}/{}", wallet.tenant)).await.expect(403);
        wallet.client.post(&grants, &body).await.expect(403);
    }

    async fn a_grant_with_an_idempotency_key_is_made_once(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let grants = format!("{ADMIN}/{}/grants", wallet.tenant);
        let operator = app.operator();
        let send = || {
            operator.post(&grants, json!({ "key": "payment/1", "amount": 100 })).header("idempotency-key", "7f3c")
        };
        let first = send().await.expect(201).json();
        assert_eq!(send().await.expect(201).json(), first);
        assert_eq!(wallet.balance().await, credits(100));
        assert_eq!(wallet.lines().await, [(WalletEntryKind::Granted, 100, "payment/1".to_owned())]);
    }

    async fn requests_with_invalid_values_are_refused(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let operator = app.operator();
        let grants = format!("{ADMIN}/{}/grants", wallet.tenant);
        for (body, field) in [
            (json!({ "key": "a", "amount": 0.000_000_1 }), "amount"),
            (json!({ "key": "a", "amount": 0 }), "amount"),
            (json!({ "key": "a", "amount": -5 }), "amount"),
            (json!({ "key": "a", "amount": 1e30 }), "amount"),
            (json!({ "key": "a" }), "amount"),
            (json!({ "key": "", "amount": 1 }), "key"),
            (json!({ "key": "x".repeat(201), "amount": 1 }), "key"),
            (json!({ "key": "a", "amount": 1, "description": "x".repeat(501) }), "description"),
            (json!({ "key": "a", "amount": 1, "expires_at": "2029-12-31T00:00:00Z" }), "expires_at"),
            (json!({ "key": "a", "amount": 1, "expires_at": "tomorrow" }), "expires_at"),
            (json!({ "key": "a", "amount": 1, "priority": 0.5 }), "priority"),
            (json!({ "key": "a", "amount": 1, "currency": "USD" }), "currency"),
        ] {
            let error = operator.post(&grants, &body).await.expect_error(422, "VALIDATION_FAILED").json();
            let problem = error["error"]["details"]["fields"][0].to_string();
            assert!(problem.contains(field), "{body}: {problem}");
        }
        operator.post(format!("{ADMIN}/none/grants"), json!({ "key": "a", "amount": 1 })).await.expect(422);
        operator.get(format!("{ADMIN}/{}?environment=none", wallet.tenant)).await.expect(422);
        put(&operator, &format!("{grants}/a"), json!({ "amount": -1 })).await.expect(422);
        assert!(wallet.statement().await.is_empty());
    }
}
