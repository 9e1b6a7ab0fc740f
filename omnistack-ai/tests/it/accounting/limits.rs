//! Tests of budgets: their scopes and periods, unknown prices, and what tenants are told.

use std::time::Duration;

use omnistack_core::{http::Method, id::Id, identity::Permissions};
use omnistack_testkit::on_each_database;

use super::*;

const ADMIN_BUDGETS: &str = "/api/v1/admin/ai/budgets";
const DAY: Duration = Duration::from_secs(86_400);

on_each_database! {
    async fn a_call_fits_into_all_budgets_of_its_caller(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        let user = account.caller().user.unwrap();
        let key = Id::new(app.clock().clock().now());
        for (scope, subject, limit) in [
            ("tenant", None, 1_000),
            ("user", Some(user.to_string()), 500),
            ("key", Some(key.to_string()), 100),
        ] {
            let limits = json!({ "limit_tokens": limit });
            let budget = json!({ "scope": scope, "subject": subject, "period": "day", "limits": limits });
            account.create_budget(budget).await;
        }
        let mut with_key = account.start(101, 0, 0);
        with_key.caller.api_key = Some(key);
        expect_refused(account.accounting.open(with_key.clone()).await);
        // Nothing of it stays reserved in the other budgets.
        with_key.estimated_input = 100;
        account.accounting.open(with_key).await.unwrap().settle(answered(100, 0, 0)).await.unwrap();
        account.open(400, 0, 0).await.unwrap().settle(answered(400, 0, 0)).await.unwrap();
        let refused = account.open(1, 0, 0).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), "AI_BUDGET_EXCEEDED");
        let mut without_user = account.start(500, 0, 0);
        without_user.caller.user = None;
        account.accounting.open(without_user.clone()).await.unwrap().settle(answered(500, 0, 0)).await.unwrap();
        expect_refused(account.accounting.open(without_user.clone()).await);
        // The next day has its own.
        app.clock().advance(DAY);
        account.accounting.open(without_user).await.unwrap().settle(answered(500, 0, 0)).await.unwrap();
        account.open(400, 0, 0).await.unwrap().settle(answered(400, 0, 0)).await.unwrap();
    }

    async fn a_new_budget_counts_what_was_used_before(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        account.open(30, 30, 60).await.unwrap().settle(answered(30, 30, 60)).await.unwrap();
        let running = account.open(20, 20, 40).await.unwrap();
        let budget = account.limit(json!({ "limit_tokens": 100 })).await;
        assert_eq!((&budget["spent_tokens"], &budget["spent_cost"]), (&json!(60), &json!("0.00000000006")));
        // A call that began before the budget counts when it ends.
        running.settle(answered(20, 20, 40)).await.unwrap();
        account.expect_settled(&usage).await;
        expect_refused(account.open(1, 0, 0).await);
    }

    async fn an_unknown_price_is_no_price_of_zero(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        account.limit(json!({ "limit_tokens": 100, "limit_cost": "1" })).await;
        let open = async || account.accounting.open(CallStart::new(account.caller(), "my-deploy").reserve(40, 10, None)).await;
        let outcome = || CallOutcome::new(CallStatus::Succeeded, "mine", "my-deploy").usage(tokens(40, 10));
        for _ in 0..2 {
            let summary = open().await.unwrap().settle(outcome()).await.unwrap();
            assert_eq!((summary.cost, summary.usage), (None, tokens(40, 10)));
        }
        let ledger = account.ledger().await;
        assert!(ledger.iter().all(|call| call.cost_pico.is_none() && call.price_unknown), "{ledger:?}");
        expect_refused(open().await);
        account.expect_settled(&usage).await;
    }

    async fn prices_below_a_nano_dollar_add_up(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        account.limit(json!({ "limit_cost": "1" })).await;
        // A token at 12.5 nano-USD.
        let calls = (0..1_000).map(|_| async {
            account.open(1, 0, 12_500).await.unwrap().settle(answered(1, 0, 12_500)).await.unwrap();
        });
        futures_util::future::join_all(calls).await;
        account.expect_settled(&usage).await;
        assert_eq!(account.uses().await[0].spent_pico, 12_500_000);
        let report = account.client.get("/api/v1/app/ai/usage").await.expect(200).json();
        assert_eq!((&report["total"]["cost"], &report["total"]["calls"]), (&json!("0.0000125"), &json!(1_000)));
    }

    async fn a_soft_limit_tells_and_a_hard_one_refuses(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        account.limit(json!({ "limit_tokens": 100, "soft_percent": 80, "hard": false })).await;
        for (input, told) in [(79, 0), (1, 80), (1, 80), (500, 100), (500, 100)] {
            account.open(input, 0, 0).await.unwrap().settle(answered(input, 0, 0)).await.unwrap();
            assert_eq!(account.uses().await[0].told_percent, told);
        }
        assert_eq!(app.run_events().await, 2, "80 and 100 percent");
    }

    async fn a_budget_in_place_of_another_tells_anew(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        let first = account.limit(json!({ "limit_tokens": 100, "hard": false })).await;
        account.open(100, 0, 0).await.unwrap().settle(answered(100, 0, 0)).await.unwrap();
        assert_eq!(account.uses().await[0].told_percent, 100);
        account.client.delete(format!("{BUDGETS}/{}", first["id"].as_str().unwrap())).await.expect(204);
        account.limit(json!({ "limit_tokens": 150, "soft_percent": 50, "hard": false })).await;
        account.open(1, 0, 0).await.unwrap().settle(answered(1, 0, 0)).await.unwrap();
        assert_eq!(account.uses().await[0].told_percent, 50);
        account.expect_settled(&usage).await;
    }

    async fn a_plan_limits_what_calls_cost(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("small").limit("ai_cost_cents", 1), &usage).await;
        let account = Account::new(&app);
        account.open(1, 1, 6_000_000_000).await.unwrap().settle(answered(1, 1, 6_000_000_000)).await.unwrap();
        expect_refused(account.open(1, 1, 4_000_000_001).await);
        account.open(1, 1, 4_000_000_000).await.unwrap().settle(answered(1, 1, 4_000_000_000)).await.unwrap();
        expect_refused(account.open(1, 1, 1).await);
        account.expect_settled(&usage).await;
    }

    async fn budgets_are_changed_by_those_who_set_them(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let (account, other, operator) = (Account::new(&app), Account::new(&app), app.operator());
        let own = account.limit(json!({ "limit_tokens": 100 })).await;
        let new = json!({ "scope": "tenant", "period": "month", "limits": { "limit_tokens": 1 } });
        account.client.post(BUDGETS, &new).await.expect_error(409, "ALREADY_EXISTS");
        let own_path = format!("{BUDGETS}/{}", own["id"].as_str().unwrap());
        other.client.delete(&own_path).await.expect_error(404, "NOT_FOUND");
        let limits = json!({ "limit_cost": "2.5", "hard": false });
        let changed = account.client.request(Method::PUT, &own_path).json(&limits).await.expect(200).json();
        assert_eq!((&changed["limit_tokens"], &changed["limit_cost"]), (&Value::Null, &json!("2.5")));

        // Lists are in the order of creation.
        app.clock().advance(Duration::from_secs(1));
        let new = json!({ "tenant": account.tenant, "scope": "tenant", "period": "day", "limits": { "limit_tokens": 5 } });
        let theirs = operator.post(ADMIN_BUDGETS, new).await.expect(201).json();
        let path = format!("{BUDGETS}/{}", theirs["id"].as_str().unwrap());
        account.client.request(Method::PUT, &path).json(&limits).await.expect_error(403, "BUDGET_OF_OPERATOR");
        account.client.delete(&path).await.expect_error(403, "BUDGET_OF_OPERATOR");
        let listed = account.client.get(BUDGETS).await.expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        assert_eq!(other.client.get(BUDGETS).await.expect(200).json()["items"], json!([]));
        let page = operator.get(format!("{ADMIN_BUDGETS}?limit=1")).await.expect(200).json();
        assert_eq!(page["items"][0]["id"], theirs["id"]);
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        let page = operator.get(format!("{ADMIN_BUDGETS}?limit=1&cursor={cursor}")).await.expect(200).json();
        assert_eq!(page["items"][0]["id"], own["id"]);
        let admin_path = format!("{ADMIN_BUDGETS}/{}", theirs["id"].as_str().unwrap());
        operator.delete(&admin_path).await.expect(204);
        operator.delete(&admin_path).await.expect_error(404, "NOT_FOUND");
        account.client.delete(&own_path).await.expect(204);
        let reader = account.client.identity().unwrap().clone().with_permissions(Permissions::none());
        app.client_as(reader).get(BUDGETS).await.expect_error(403, "PERMISSION_DENIED");
    }

    async fn a_budget_with_values_that_make_no_sense_is_refused(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        for budget in [
            json!({ "scope": "tenant", "period": "day", "limits": {} }),
            json!({ "scope": "plan", "period": "day", "limits": { "limit_tokens": 1 } }),
            json!({ "scope": "user", "period": "day", "limits": { "limit_tokens": 1 } }),
            json!({ "scope": "tenant", "subject": account.tenant, "period": "day", "limits": { "limit_tokens": 1 } }),
            json!({ "scope": "tenant", "period": "day", "limits": { "limit_tokens": u64::MAX } }),
            json!({ "scope": "tenant", "period": "day", "limits": { "limit_cost": "-1" } }),
            json!({ "scope": "tenant", "period": "day", "limits": { "limit_cost": "much" } }),
            json!({ "scope": "tenant", "period": "day", "limits": { "limit_tokens": 1, "soft_percent": 100 } }),
        ] {
            account.client.post(BUDGETS, &budget).await.expect_error(422, "VALIDATION_FAILED");
        }
    }
}
