//! Tests of the report of recurring revenue. The subscriptions are bought in the App Store.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::dashboard::{Dashboard, DayCount};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::app_store::{
    apple::{DAY, NOW, app, notification, token, transaction},
    notify, plan_of,
};

const REVENUE: &str = "/api/v1/admin/billing/revenue";

async fn revenue(app: &TestApp, query: &str) -> Value {
    app.operator().get(format!("{REVENUE}{query}")).await.expect(200).json()
}

on_each_database! {
    async fn revenue_is_that_of_paid_subscriptions(database: TestDatabase) {
        let (app, chain) = app(database).await;
        assert_eq!(revenue(&app, "").await["currencies"], json!([]));
        let clients = [app.user(), app.user(), app.user()];
        let mut bought = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let fields = json!({ "appAccountToken": token(client).await, "originalTransactionId": format!("{number}") });
            bought.push(transaction(&fields));
            notify(&app, "apple", &notification(&chain, 1, 0, &bought[number], true)).await.unwrap();
        }
        let report = revenue(&app, "?period=7d").await;
        let usd = &report["currencies"][0];
        assert_eq!((&usd["currency"], &usd["mrr"], &usd["customers"]), (&json!("USD"), &json!(8700), &json!(3)));
        assert_eq!((&usd["average_revenue"], &usd["mrr_at_start"]), (&json!(2900), &json!(0)));
        assert_eq!((&usd["changes"]["new"], &usd["changes"]["new_customers"]), (&json!(8700), &json!(3)));

        // A month later one upgrades, one leaves, and a payment of the third fails.
        app.clock().advance(Duration::from_secs(30 * 86_400));
        let renewed = |number: usize, product: &str| {
            let mut next = bought[number].clone();
            next["productId"] = json!(product);
            next["purchaseDate"] = json!(NOW + 30 * DAY);
            next["expiresDate"] = json!(NOW + 60 * DAY);
            next
        };
        notify(&app, "apple", &notification(&chain, 1, 30, &renewed(0, "team.monthly"), true)).await.unwrap();
        notify(&app, "apple", &notification(&chain, 2, 30, &bought[1], false)).await.unwrap();
        notify(&app, "apple", &notification(&chain, 4, 30, &bought[2], true)).await.unwrap();
        assert_eq!(plan_of(&app, &clients[0]).await, "team");
        let report = revenue(&app, "?period=7d").await;
        let usd = &report["currencies"][0];
        assert_eq!((&usd["mrr_at_start"], &usd["changes"]["expansion"]), (&json!(8700), &json!(7000)));
        assert_eq!((&usd["changes"]["churn"], &usd["changes"]["churned_customers"]), (&json!(2900), &json!(1)));
        assert_eq!(usd["changes"]["new"], 0, "it was before the period");
        assert_eq!(usd["failed"]["subscriptions"], 1);
        let quarter = revenue(&app, "?period=90d").await;
        assert_eq!(quarter["currencies"][0]["changes"]["new"], 8700);
    }

    async fn revenue_of_tests_is_kept_apart(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let client = app.user();
        let fields = json!({ "appAccountToken": token(&client).await, "environment": "Sandbox" });
        notify(&app, "apple", &notification(&chain, 1, 0, &transaction(&fields), true)).await.unwrap();
        assert_eq!(revenue(&app, "").await["currencies"], json!([]));
        assert_eq!(revenue(&app, "?environment=test").await["currencies"][0]["mrr"], 2900);
    }

    async fn live_subscriptions_are_counted_by_plan_and_day(database: TestDatabase) {
        let (app, chain) = app(database).await;
        for (id, environment) in [("1", "Production"), ("2", "Production"), ("3", "Sandbox")] {
            let token = token(&app.user()).await;
            let fields = json!({ "appAccountToken": token, "originalTransactionId": id, "environment": environment });
            notify(&app, "apple", &notification(&chain, 1, 0, &transaction(&fields), true)).await.unwrap();
        }
        let dashboard: Dashboard = app.app().context().get().unwrap();
        let counted = dashboard.count().await;
        let number = |metric: &str, plan: &str| {
            counted.iter().find(|count| count.metric.name == metric && count.labels == [plan]).map(|count| count.value)
        };
        for metric in ["active_subscriptions", "active_subscriptions_total"] {
            assert_eq!((number(metric, "pro"), number(metric, "team")), (Some(2.0), Some(0.0)), "{counted:?}");
        }
        let now = app.clock().clock().now();
        let days = dashboard.count_by_day("subscriptions", now).await.unwrap();
        assert_eq!(days, [DayCount::new(now.to_string()[..10].to_owned(), 2)]);
    }

    async fn only_operators_see_revenue(database: TestDatabase) {
        let (app, _) = app(database).await;
        app.user().get(REVENUE).await.expect(403);
        app.anonymous().get(REVENUE).await.expect(401);
        app.operator().get(format!("{REVENUE}?period=2d")).await.expect(422);
    }
}
