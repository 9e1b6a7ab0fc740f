//! Tests of the reports of payments.

#![cfg(test)]

mod speed;

use std::time::Duration;

use omnistack_core::identity::ApiKeyId;
use omnistack_payments::FakeFault;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::payment::{SERVICES, TestTenant, start};

const ANALYTICS: &str = "/api/v1/app/analytics";

async fn report(tenant: &TestTenant<'_>, path: &str) -> Value {
    let separator = if path.contains('?') { '&' } else { '?' };
    tenant.client.get(format!("{ANALYTICS}/{path}{separator}environment=test")).await.expect(200).json()
}

on_each_database! {
    async fn reports_count_calls_errors_and_costs(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        for number in 0..3 {
            tenant.pay(&format!("ok {number}"), "tok_ok").await;
        }
        tenant.pay("declined", "tok_declined").await;
        tenant.fault("fake", FakeFault::RequestLost);
        tenant.pay("unknown", "tok_ok").await;
        tenant.fault("fake", FakeFault::Unavailable);
        tenant.pay("failover", "tok_ok").await;

        let overview = report(&tenant, "overview?period=7d").await;
        let calls = &overview["calls"];
        assert_eq!((&calls["calls"], &calls["succeeded"], &calls["declined"]), (&json!(7), &json!(4), &json!(1)));
        assert_eq!((&calls["failed"], &calls["unknown"]), (&json!(1), &json!(1)));
        assert_eq!((&calls["success_rate"], &calls["p95_ms"]), (&json!(0.5714), &json!(50)));
        assert_eq!(overview["providers"][0]["provider"], "fake");
        assert_eq!(overview["providers"][1]["calls"]["calls"], 1);
        assert_eq!(overview["trend"], json!([{ "date": "2030-01-01", "calls": 7, "succeeded": 4 }]));
        assert_eq!(overview["projected_month_calls"], 30);
        assert_eq!(overview["api_keys"], json!([{ "api_key_id": null, "calls": 7, "success_rate": 0.5714 }]));
        assert_eq!(overview["volume"][0]["captured"], 3_000);

        let service = report(&tenant, "service/fake?period=7d").await;
        assert_eq!((&service["calls"]["calls"], service["errors"].as_array().unwrap().len()), (&json!(6), 3));
        let errors = report(&tenant, "errors?period=7d").await;
        let codes: Vec<_> = errors["errors"].as_array().unwrap().iter().map(|error| error["code"].as_str().unwrap()).collect();
        assert_eq!(codes, ["declined", "outcome_unknown", "provider_unavailable"]);
        assert_eq!(errors["errors"][0]["rate"], json!(0.1667));
        let rates: Vec<_> = errors["providers"].as_array().unwrap().iter().map(|one| &one["calls"]["error_rate"]).collect();
        assert_eq!(rates, [&json!(0.5), &json!(0.0)]);

        let costs = report(&tenant, "costs?period=7d").await;
        let [first, second] = costs["providers"].as_array().unwrap().as_slice() else { panic!("{costs}") };
        assert_eq!((&first["provider"], &first["payments"], &first["captured"]), (&json!("fake"), &json!(3), &json!(3_000)));
        assert!(first["fees"].as_i64().unwrap() > 0);
        assert_eq!((&second["provider"], &second["payments"]), (&json!("fake_b"), &json!(1)));
        // The fakes have the same prices, so the same payments would have cost as much.
        let is_fake = |one: &&Value| SERVICES.iter().any(|name| one["provider"] == *name);
        let elsewhere: Vec<_> = costs["elsewhere"].as_array().unwrap().iter().filter(is_fake).collect();
        assert_eq!(elsewhere.len(), SERVICES.len());
        assert!(elsewhere.iter().all(|one| one["saved"] == 0), "{costs}");
        assert_eq!(costs["trend"][0]["captured"], 4_000);
    }

    async fn costs_are_known_by_api_key(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let key = ApiKeyId::new(app.clock().clock().now());
        for (number, api_key) in [Some(key), Some(key), None].into_iter().enumerate() {
            let request = tenant.request(&format!("payment {number}"), "tok_ok").api_key(api_key);
            tenant.ledger.create(request).await.unwrap();
        }
        // Without money there are no costs.
        tenant.ledger.create(tenant.request("declined", "tok_declined").api_key(key)).await.unwrap();
        let costs = report(&tenant, "costs?period=7d").await;
        let [most, others] = costs["api_keys"].as_array().unwrap().as_slice() else { panic!("{costs}") };
        assert_eq!((&most["api_key_id"], &most["payments"]), (&json!(key), &json!(2)));
        assert_eq!((&most["currency"], &most["captured"]), (&json!("USD"), &json!(2_000)));
        assert_eq!((&others["api_key_id"], &others["captured"]), (&Value::Null, &json!(1_000)));
        let fees = |one: &Value| one["fees"].as_i64().unwrap();
        assert_eq!((fees(most), fees(most) + fees(others)), (2 * fees(others), fees(&costs["providers"][0])));
        assert_eq!(most["fee_rate"], costs["providers"][0]["fee_rate"]);
        let calls = report(&tenant, "overview?period=7d").await["api_keys"].clone();
        assert_eq!(calls[0], json!({ "api_key_id": key, "calls": 3, "success_rate": 0.6667 }));
    }

    async fn reports_are_of_a_period_an_environment_and_a_tenant(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        tenant.pay("old", "tok_ok").await;
        app.clock().advance(Duration::from_secs(8 * 86_400));
        tenant.pay("new", "tok_ok").await;
        for (period, calls) in [("7d", 1), ("30d", 2), ("90d", 2), ("1y", 2)] {
            let overview = report(&tenant, &format!("overview?period={period}")).await;
            assert_eq!(overview["calls"]["calls"], calls, "{period}");
        }
        // For a minute, a report stays as it is.
        tenant.pay("newer", "tok_ok").await;
        assert_eq!(report(&tenant, "overview?period=7d").await["calls"]["calls"], 1);
        app.clock().advance(Duration::from_secs(61));
        assert_eq!(report(&tenant, "overview?period=7d").await["calls"]["calls"], 2);

        let live = tenant.client.get(format!("{ANALYTICS}/overview")).await.expect(200).json();
        assert_eq!((&live["environment"], &live["calls"]["calls"]), (&json!("live"), &json!(0)));
        assert_eq!((&live["period"], &live["calls"]["success_rate"]), (&json!("30d"), &Value::Null));
        let other = TestTenant::new(&app).await;
        assert_eq!(report(&other, "overview").await["calls"]["calls"], 0);
        tenant.client.get(format!("{ANALYTICS}/service/none")).await.expect(404);
        tenant.client.get(format!("{ANALYTICS}/costs?period=2d")).await.expect_error(422, "VALIDATION_FAILED");
        app.anonymous().get(format!("{ANALYTICS}/errors")).await.expect(401);
    }
}
