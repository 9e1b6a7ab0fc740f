//! Tests of the reports of what calls have used and cost.

#![cfg(test)]

use std::time::Duration;

use omnistack_ai::{CallOutcome, CallStatus, Cost};
use omnistack_core::identity::Plan;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::accounting::{Account, RecordedUsage, answered, start, tokens};

const USAGE: &str = "/api/v1/app/ai/usage";
const SPEND: &str = "/api/v1/admin/ai/spend";
const DAY: Duration = Duration::from_secs(86_400);
/// A US dollar in pico-USD.
const DOLLAR: i64 = 1_000_000_000_000;

/// Returns the groups of a report with their costs.
fn costs(report: &Value) -> Vec<(Value, Value)> {
    let items = report["items"].as_array().unwrap();
    items.iter().map(|item| (item["group"].clone(), item["usage"]["cost"].clone())).collect()
}

on_each_database! {
    async fn a_tenant_sees_its_own_usage_by_each_group(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let (account, other) = (Account::new(&app), Account::new(&app));
        other.open(5, 5, 0).await.unwrap().settle(answered(5, 5, DOLLAR)).await.unwrap();
        account.open(5, 5, 0).await.unwrap().settle(answered(10, 20, DOLLAR / 2)).await.unwrap();
        app.clock().advance(DAY);
        let outcome = CallOutcome::new(CallStatus::Succeeded, "fake", "fake-large").usage(tokens(1, 2));
        let mut start = account.start(5, 5, 0);
        start.caller.user = None;
        let call = account.accounting.open(start).await.unwrap();
        call.settle(outcome.cost(Cost::from_pico(2 * DOLLAR))).await.unwrap();
        let failed = account.open(5, 5, 0).await.unwrap();
        failed.settle(CallOutcome::new(CallStatus::Failed, "fake", "fake-small")).await.unwrap();
        // An open call is in no report.
        let open = account.open(5, 5, 0).await.unwrap();

        let report = account.client.get(USAGE).await.expect(200).json();
        let total = &report["total"];
        assert_eq!((&total["calls"], &total["failed_calls"], &total["cost"]), (&json!(3), &json!(1), &json!("2.5")));
        assert_eq!((&total["input_tokens"], &total["output_tokens"]), (&json!(11), &json!(22)));
        let by_model = [(json!("fake-large"), json!("2")), (json!("fake-small"), json!("0.5"))];
        assert_eq!(costs(&report), by_model);
        let user = account.caller().user.unwrap();
        for (group, expected) in [
            ("day", vec![(json!("2030-01-01"), json!("0.5")), (json!("2030-01-02"), json!("2"))]),
            ("user", vec![(Value::Null, json!("2")), (json!(user), json!("0.5"))]),
            ("provider", vec![(json!("fake"), json!("2.5"))]),
            ("tenant", vec![(json!(account.tenant), json!("2.5"))]),
            ("key", vec![(Value::Null, json!("2.5"))]),
        ] {
            let report = account.client.get(format!("{USAGE}?group_by={group}")).await.expect(200).json();
            assert_eq!(costs(&report), expected, "{group}");
        }
        let report = account.client.get(format!("{USAGE}?from=2030-01-02T00:00:00Z")).await.expect(200).json();
        assert_eq!(report["total"]["cost"], json!("2"));
        drop(open);
    }

    async fn an_operator_sees_costs_latencies_errors_and_the_projection(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let (one, two) = (Account::new(&app), Account::new(&app));
        // Half of January.
        app.clock().advance(DAY * 15 + DAY / 2);
        for (account, cost, took) in [(&one, 4 * DOLLAR, 100), (&one, 2 * DOLLAR, 300), (&two, DOLLAR, 200)] {
            let call = account.open(5, 5, 0).await.unwrap();
            let mut outcome = answered(5, 5, cost);
            outcome.first_byte = Some(Duration::from_millis(took / 10));
            call.settle(outcome).await.unwrap();
        }
        let mut cached = answered(5, 5, 0);
        cached.cached = true;
        two.open(5, 5, 0).await.unwrap().settle(cached).await.unwrap();
        for _ in 0..2 {
            let mut failed = CallOutcome::new(CallStatus::Failed, "fake", "fake-small");
            failed.error = Some("rate_limited".into());
            two.open(5, 5, 0).await.unwrap().settle(failed).await.unwrap();
        }
        let report = app.operator().get(format!("{SPEND}?group_by=tenant")).await.expect(200).json();
        assert_eq!(costs(&report), [(json!(one.tenant), json!("6")), (json!(two.tenant), json!("1"))]);
        assert_eq!(report["errors"], json!([{ "provider": "fake", "error": "rate_limited", "calls": 2 }]));
        assert_eq!(report["latencies"]["first_byte_ms"], json!({ "p50": 20, "p95": 30, "p99": 30 }));
        assert_eq!(report["latencies"]["calls"], json!(3));
        assert!((report["cached_share"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-9, "{report}");
        let projection = json!({ "month": "2030-01-01T00:00:00Z", "cost": "7", "projected_cost": "14" });
        assert_eq!(report["projection"], projection);
        let of_tenant = app.operator().get(format!("{SPEND}?tenant={}", two.tenant)).await.expect(200).json();
        assert_eq!(of_tenant["total"]["cost"], json!("1"));
        one.client.get(SPEND).await.expect_error(403, "FORBIDDEN");
    }

    async fn sums_larger_than_a_number_of_the_database_are_shown(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        for _ in 0..3 {
            account.open(1, 1, 0).await.unwrap().settle(answered(1, 1, 4_000_000 * DOLLAR)).await.unwrap();
        }
        let report = account.client.get(USAGE).await.expect(200).json();
        // The largest amount, in place of 12 million.
        assert_eq!(report["total"]["cost"], json!(Cost::from_pico(i64::MAX)));
    }

    async fn a_period_has_a_limit(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let app = start(database, Plan::new("none"), &usage).await;
        let account = Account::new(&app);
        for query in [
            "from=2030-01-02T00:00:00Z&until=2030-01-01T00:00:00Z",
            "from=2029-01-01T00:00:00Z",
            "group_by=colour",
            "colour=blue",
        ] {
            account.client.get(format!("{USAGE}?{query}")).await.expect(422);
        }
    }
}
