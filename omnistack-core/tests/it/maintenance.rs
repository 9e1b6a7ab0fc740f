//! Tests of maintenance.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use omnistack_core::{
    app::App,
    identity::{AccessLevel, Identity},
    maintenance::MaintenanceMode,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use tokio::sync::Notify;
use utoipa_axum::routes;

/// A module with a public route, one for users, and a public one that stays open.
struct Doors;

impl Module for Doors {
    fn name(&self) -> &'static str {
        "doors"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .routes(Mount::public("/door").operation_prefix("public"), Api::new().routes(routes!(door)), |_| Ok(()))
            .routes(Mount::app("/door"), Api::new().routes(routes!(door)), |_| Ok(()))
            .routes(Mount::public("/window").during_maintenance(), Api::new().routes(routes!(window)), |_| Ok(()));
    }
}

/// Open the door
#[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
async fn door() -> &'static str {
    "open"
}

/// Open the window
#[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
async fn window() -> &'static str {
    "open"
}

/// A module that serves a page of the app that was there before.
struct KeptPage;

impl Module for KeptPage {
    fn name(&self) -> &'static str {
        "kept-page"
    }

    fn register(&self, registry: &mut Registry) {
        let page = Api::new().hidden("/ready", get(|| async { "ready" }));
        registry.routes(Mount::root("/shop", AccessLevel::Public).during_maintenance(), page, |_| Ok(()));
    }
}

fn mode(app: &App) -> MaintenanceMode {
    app.context().get().unwrap()
}

async fn start_maintenance(app: &TestApp) {
    let mut tx = app.db().app_database().begin().await.unwrap();
    mode(app.app()).start_in(&mut tx, Duration::from_secs(90), "we are moving").await.unwrap();
    tx.commit().await.unwrap();
    mode(app.app()).refresh().await.unwrap();
}

async fn end_maintenance(app: &TestApp) {
    let mut tx = app.db().app_database().begin().await.unwrap();
    assert!(mode(app.app()).end_in(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
    mode(app.app()).refresh().await.unwrap();
}

on_each_database! {
    async fn only_operators_are_served_during_maintenance(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Doors)).await;
        let (alice, owner, guest) = (app.user(), app.operator(), app.anonymous());
        let user = alice.identity().unwrap().clone();
        let helper = app.client_as(user.with_impersonator(owner.identity().unwrap().user));
        let (public, own) = ("/api/v1/public/door", "/api/v1/app/door");
        guest.get(public).await.expect(200);

        // Another replica of the app, on the same database.
        let config = app.database().config().with("HTTP_RATE_LIMIT", "off");
        let other = App::builder(config).clock(app.clock().clock()).build().unwrap();
        let mut tx = other.db().begin().await.unwrap();
        mode(&other).start_in(&mut tx, Duration::from_secs(90), "we are moving").await.unwrap();
        tx.commit().await.unwrap();
        mode(app.app()).refresh().await.unwrap();

        for refused in [guest.get(public).await, alice.get(own).await] {
            let refused = refused.expect_error(503, "MAINTENANCE");
            assert_eq!(refused.header("retry-after"), Some("90"));
            assert_eq!(refused.json()["error"]["message"], "we are moving");
            assert!(refused.json()["error"]["request_id"].is_string());
        }
        owner.get(own).await.expect(200);
        helper.get(own).await.expect(200);
        for open in ["/health", "/health/ready", "/api/v1/public/health", "/api/v1/public/window", "/openapi.json"] {
            guest.get(open).await.expect(200);
        }
        // A caller who is not known is told to sign in, which is possible.
        guest.get(own).await.expect_error(401, "UNAUTHORIZED");

        app.clock().advance(Duration::from_secs(3600));
        assert_eq!(guest.get(public).await.expect(503).header("retry-after"), Some("10"));
        let mut tx = app.db().begin().await.unwrap();
        assert!(mode(app.app()).end_in(&mut tx).await.unwrap());
        tx.commit().await.unwrap();
        assert!(mode(app.app()).refresh().await.unwrap().is_none());
        guest.get(public).await.expect(200);
        assert_eq!(alice.get(own).await.expect(200).text(), "open");
        other.db().close().await;
    }

    async fn the_router_of_the_app_that_was_there_before_is_closed(database: TestDatabase) {
        let shop = Router::new().route("/", get(|| async { "the shop" })).route("/orders", get(|| async { "none" }));
        let app = TestApp::start(database, |app| app.with(KeptPage).fallback(shop)).await;
        let (guest, owner) = (app.anonymous(), app.operator());
        assert_eq!(guest.get("/").await.expect(200).text(), "the shop");
        start_maintenance(&app).await;
        for (client, path) in [(&guest, "/"), (&guest, "/orders"), (&guest, "/no"), (&owner, "/orders")] {
            let refused = client.get(path).await.expect_error(503, "MAINTENANCE");
            assert_eq!(refused.header("retry-after"), Some("90"));
            assert!(refused.json()["error"]["request_id"].is_string());
        }
        guest.get("/shop/ready").await.expect(200);
        guest.get("/health/ready").await.expect(200);
        end_maintenance(&app).await;
        assert_eq!(guest.get("/").await.expect(200).text(), "the shop");
        guest.get("/no").await.expect_error(404, "NOT_FOUND");
    }

    async fn what_waits_for_maintenance_is_told(database: TestDatabase) {
        let app = TestApp::start(database, |app| app).await;
        let (mode, began) = (mode(app.app()), Arc::new(Notify::new()));
        mode.wait_for_end().await;
        let waiting = tokio::spawn({
            let (mode, began) = (mode.clone(), began.clone());
            async move {
                mode.wait_for_start().await;
                began.notify_one();
                mode.wait_for_end().await;
            }
        });
        start_maintenance(&app).await;
        began.notified().await;
        end_maintenance(&app).await;
        waiting.await.unwrap();
    }

    async fn an_app_whose_database_was_not_migrated_is_open(database: TestDatabase) {
        let app = App::builder(database.config()).build().unwrap();
        assert!(mode(&app).refresh().await.is_err());
        assert!(mode(&app).current().is_none());
        app.db().close().await;
    }
}

#[tokio::test]
async fn an_identity_alone_opens_no_door() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Doors)).await;
    let mut tx = app.db().begin().await.unwrap();
    mode(app.app()).start_in(&mut tx, Duration::from_secs(90), "later").await.unwrap();
    tx.commit().await.unwrap();
    mode(app.app()).refresh().await.unwrap();
    let program: Identity = app.user().identity().unwrap().clone().into_service_account();
    app.client_as(program).get("/api/v1/app/door").await.expect_error(503, "MAINTENANCE");
}
