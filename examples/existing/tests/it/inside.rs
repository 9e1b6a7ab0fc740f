//! Tests of the shop inside an app, with its own sessions.

use existing::{before, with_own_sessions};
use omnistack::http::Method;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::shop;

on_each_database! {
    async fn old_and_new_routes_share_customers_orders_and_the_stack(database: TestDatabase) {
        let pool = shop(&database).await;
        let app = TestApp::start_with_auth(database, |app| with_own_sessions(app, &pool)).await;
        let ada = app.client_with_token("ada");

        // The old routes, inside the stack of the app.
        let page = app.anonymous().get("/").await.expect(200);
        assert_eq!(page.text(), "the shop");
        assert!(page.header("x-request-id").is_some());
        ada.request(Method::POST, "/orders").body("tea").await.expect(201);
        app.anonymous().get("/orders").await.expect_error(401, "UNAUTHORIZED");
        app.anonymous().get("/nowhere").await.expect_error(404, "NOT_FOUND");

        // The new ones.
        let endpoint = json!({ "url": "https://receiver.example/hook", "events": ["order.placed"] });
        ada.post("/api/v1/app/webhooks/endpoints", endpoint).await.expect(201);
        let placed = ada.post("/api/v1/app/orders", json!({ "item": "coffee" })).await.expect(201).json();
        assert_eq!((&placed["item"], &placed["brewed"]), (&json!("coffee"), &json!(false)));
        app.run_events().await;
        app.run_jobs().await;

        let orders = ada.get("/api/v1/app/orders").await.expect(200).json();
        assert_eq!((&orders[0]["item"], &orders[1]["item"]), (&json!("tea"), &json!("coffee")));
        assert_eq!((&orders[0]["brewed"], &orders[1]["brewed"]), (&json!(false), &json!(true)));
        let deliveries = ada.get("/api/v1/app/webhooks/deliveries").await.expect(200).json();
        assert_eq!(deliveries["items"][0]["type"], "order.placed");
        let sent = app.sent_mails();
        assert_eq!(sent.len(), 1);

        let eve = app.client_with_token("eve");
        assert_eq!(eve.get("/api/v1/app/orders").await.expect(200).json(), json!([]));
        app.client_with_token("mallory").get("/api/v1/app/orders").await.expect_error(401, "UNAUTHORIZED");
    }

    async fn an_order_that_fails_leaves_nothing(database: TestDatabase) {
        let pool = shop(&database).await;
        let app = TestApp::start_with_auth(database, |app| with_own_sessions(app, &pool)).await;
        app.db().query("alter table omni_messages rename to away").execute().await.unwrap();
        let ada = app.client_with_token("ada");
        ada.post("/api/v1/app/orders", json!({ "item": "coffee" })).await.expect_error(500, "INTERNAL_ERROR");
        app.db().query("alter table away rename to omni_messages").execute().await.unwrap();
        assert!(before::orders(&pool, 1).await.unwrap().is_empty());
        assert_eq!(app.run_jobs().await, 0);
    }
}
