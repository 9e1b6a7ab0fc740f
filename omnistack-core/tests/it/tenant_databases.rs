//! Tests of tenant databases, on both kinds of database.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bound;
mod carried;
mod keys;
mod notes;
mod upkeep;

use std::time::Duration;

use omnistack_core::{
    app::{App, AppBuilder},
    db::ErrorKind,
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::json;

use notes::{NOTES, Notes, Records};

/// Starts an app with notes in which each tenant has a database.
async fn start(database: TestDatabase) -> TestApp {
    start_with(database, |app| app).await
}

async fn start_with(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    let database = database.with_tenant_databases();
    TestApp::start(database, |app| more(app.with(Notes::new(Records::default())))).await
}

/// Starts another process of the app, which shares no state with the first. Its jobs and subscribers record into the
/// returned `Told`.
fn second_process(app: &TestApp) -> (App, Records) {
    let told = Records::default();
    let builder = App::builder(app.database().config()).clock(app.clock().clock());
    let builder = builder.with(Notes::new(told.clone())).with(omnistack_core::app::DevIdentity::default());
    (builder.build().unwrap(), told)
}

fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

/// Returns the number of rows that a tenant's transaction finds in a table, or the app's own without a tenant.
async fn count(app: &TestApp, tenant: Option<TenantId>, table: &str) -> i64 {
    let mut tx = match tenant {
        Some(tenant) => app.db().tenant(tenant).begin_read().await.unwrap(),
        None => app.db().all_tenants().begin_read().await.unwrap(),
    };
    let (count,): (i64,) =
        tx.query(sqlx::AssertSqlSafe(format!("select count(*) from {table}"))).fetch_one().await.unwrap();
    count
}

on_each_database! {
    /// The module, its table and its routes don't mention tenant databases, and the table has no policy.
    async fn two_tenants_have_two_databases(database: TestDatabase) {
        let app = start(database).await;
        let (ada, bob) = (app.user(), app.user());
        for (client, title) in [(&ada, "Ada's"), (&bob, "Bob's")] {
            client.post(NOTES, json!({ "title": title })).await.expect(201);
            let items = client.get(NOTES).await.expect_ok().json()["items"].clone();
            assert_eq!(items.as_array().unwrap().len(), 1);
            assert_eq!(items[0]["title"], title);
        }
        // Without a `where` clause on purpose.
        let mut tx = app.db().tenant(tenant_of(&ada)).begin_read().await.unwrap();
        let titles: Vec<(String,)> = tx.query("select title from notes").fetch_all().await.unwrap();
        assert_eq!(titles, [("Ada's".to_owned(),)]);
        drop(tx);
        assert_eq!(count(&app, None, "notes").await, 0);
        // Another tenant's row is not found.
        let id = bob.get(NOTES).await.json()["items"][0]["id"].clone();
        let path = format!("{NOTES}/{}", id.as_str().unwrap());
        bob.get(&path).await.expect_ok();
        ada.get(&path).await.expect_error(404, "NOT_FOUND");

        let databases = app.db().tenant_databases().unwrap();
        let mut all = vec![tenant_of(&ada), tenant_of(&bob)];
        all.sort_by_key(|tenant| tenant.uuid());
        assert_eq!(databases.all().await.unwrap(), all);
        // A query without `where` in the app's database finds no notes, because they are in the tenants' databases.
        let mut tx = app.db().app_database().tenant(tenant_of(&ada)).begin_read().await.unwrap();
        assert!(tx.query("select title from notes").fetch_all::<(String,)>().await.unwrap().is_empty());
    }

    /// Several first requests of a tenant arrive at once.
    async fn a_database_is_made_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let opened = (0..20).map(|_| {
            let db = app.db().clone();
            tokio::spawn(async move { db.tenant(tenant).begin_read().await.map(drop).map_err(|error| error.kind()) })
        });
        for opened in opened.collect::<Vec<_>>() {
            assert_eq!(opened.await.unwrap(), Ok(()));
        }
        assert_eq!(app.db().tenant_databases().unwrap().open_count(), 1);
    }

    async fn settings_that_can_not_be_are_refused(database: TestDatabase) {
        let own = database.url().to_owned();
        let long = own.replacen("omnistack_test", &"x".repeat(40), 1) + "{tenant}";
        let mut wrong = vec![own.clone(), "mysql://there/app_{tenant}".into()];
        if own.starts_with("postgres") {
            wrong.push(long);
            wrong.push("sqlite:tenants/{tenant}.db".into());
        } else {
            wrong.push("postgres://app@localhost/app_{tenant}".into());
            wrong.push("sqlite:{tenant}?mode=memory".into());
        }
        for wrong in wrong {
            let config = database.config().with("TENANT_DATABASE_URL", wrong.clone());
            let refused = App::builder(config).build().unwrap_err().to_string();
            assert!(refused.contains("TENANT_DATABASE_URL"), "{wrong}: {refused}");
        }
    }

    async fn unset_all_is_as_it_was(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Notes::new(Records::default()))).await;
        assert!(app.db().tenant_databases().is_none());
        let ada = app.user();
        ada.post(NOTES, json!({ "title": "shared" })).await.expect(201);
        assert_eq!(count(&app, None, "notes").await, 1);
        let refused = app.app().migrate_tenant(tenant_of(&ada)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        let mut tx = app.db().begin().await.unwrap();
        app.db().drop_tenant_in(&mut tx, tenant_of(&ada)).await.unwrap();
        tx.commit().await.unwrap();
        app.app().relay_tenant_outboxes().await.unwrap();
        assert_eq!(count(&app, None, "notes").await, 1);
    }
}

/// A time longer than any lease and timeout in these tests.
const BEYOND_ALL_TIMEOUTS: Duration = Duration::from_secs(20 * 60);
