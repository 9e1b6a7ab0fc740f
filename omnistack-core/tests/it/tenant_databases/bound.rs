//! Tests of the limit of open databases, and of an unavailable database.

use std::time::Duration;

use omnistack_core::{
    db::{Dialect, ErrorKind},
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{BEYOND_ALL_TIMEOUTS, notes::NOTES, start, start_with, tenant_of};

/// Deletes a tenant's database, so that it is unavailable.
pub(super) async fn drop_database(app: &TestApp, tenant: TenantId) {
    let url = app.database().tenant_url().replace("{tenant}", &tenant.uuid().simple().to_string());
    match app.db().dialect() {
        Dialect::Sqlite => std::fs::remove_file(url.trim_start_matches("sqlite:")).unwrap(),
        Dialect::Postgres => {
            let name = url.rsplit_once('/').unwrap().1.split('?').next().unwrap();
            let drop = sqlx::AssertSqlSafe(format!("drop database \"{name}\" with (force)"));
            sqlx::raw_sql(drop).execute(app.db().postgres().unwrap()).await.unwrap();
        }
    }
}

on_each_database! {
    async fn no_more_are_open_than_may_be(database: TestDatabase) {
        let more = |app: omnistack_core::app::AppBuilder| {
            app.set("TENANT_DATABASES_OPEN", "2").set("DATABASE_ACQUIRE_TIMEOUT", "2s")
        };
        let app = start_with(database, more).await;
        let databases = app.db().tenant_databases().unwrap();
        let clients: Vec<_> = (0..5).map(|_| app.user()).collect();
        for round in 0..2 {
            for client in &clients {
                client.post(NOTES, json!({ "title": "x" })).await.expect(201);
                assert_eq!(client.get(NOTES).await.json()["items"].as_array().unwrap().len(), round + 1);
                assert!(databases.open_count() <= 2);
            }
        }
        // Two databases in use are not closed: another caller waits and then times out.
        let first = app.db().tenant(tenant_of(&clients[0])).begin().await.unwrap();
        let mut second = app.db().tenant(tenant_of(&clients[1])).begin().await.unwrap();
        let refused = clients[2].get(NOTES).await.expect_error(503, "DATABASE_UNAVAILABLE");
        drop(refused);
        assert_eq!(databases.open_count(), 2);
        second.query("delete from notes").execute().await.unwrap();
        second.commit().await.unwrap();
        // One waits until the other is released.
        let (third, ()) = tokio::join!(clients[2].get(NOTES), async {
            tokio::task::yield_now().await;
            first.rollback().await.unwrap();
        });
        third.expect_ok();
        assert_eq!(databases.open_count(), 2);
        // No request comes for a while.
        app.clock().advance(BEYOND_ALL_TIMEOUTS);
        assert_eq!(databases.close_idle().await, 2);
        assert_eq!(databases.open_count(), 0);
        clients[0].get(NOTES).await.expect_ok();
    }

    async fn one_that_is_away_is_nobody_elses_trouble(database: TestDatabase) {
        let app = start_with(database, |app| app.set("DATABASE_ACQUIRE_TIMEOUT", "2s")).await;
        let (ada, bob) = (app.user(), app.user());
        for client in [&ada, &bob] {
            client.post(NOTES, json!({ "title": "x" })).await.expect(201);
        }
        app.clock().advance(BEYOND_ALL_TIMEOUTS);
        app.db().tenant_databases().unwrap().close_idle().await;
        drop_database(&app, tenant_of(&ada)).await;
        let began = tokio::time::Instant::now();
        ada.get(NOTES).await.expect_error(503, "DATABASE_UNAVAILABLE");
        assert!(began.elapsed() < Duration::from_secs(30));
        bob.get(NOTES).await.expect_ok();
        // No empty database is created in its place.
        ada.post(NOTES, json!({ "title": "y" })).await.expect_error(503, "DATABASE_UNAVAILABLE");
        let health = app.anonymous().get("/health/ready").await.expect_ok().json();
        assert_eq!(health["status"], "degraded", "{health}");
        // Work on all databases continues.
        assert_eq!(app.run_jobs().await, 0);
        let error = app.app().migrate_tenant(tenant_of(&ada)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(app.app().migrate_tenant(tenant_of(&bob)).await.unwrap(), 0);
    }

    /// Transactions of one tenant don't block those of another.
    async fn a_transaction_holds_up_nobody_else(database: TestDatabase) {
        let app = start(database).await;
        let (ada, bob) = (app.user(), app.user());
        let tx = app.db().tenant(tenant_of(&ada)).begin().await.unwrap();
        bob.post(NOTES, json!({ "title": "x" })).await.expect(201);
        tx.rollback().await.unwrap();
    }
}
