//! Tests of migrations of all tenant databases, and of deleted tenants.

use std::time::Duration;

use omnistack_core::{
    app::{App, DevIdentity},
    audit::{AuditEntry, AuditFilter, AuditLog, AuditStore},
    db::ErrorKind,
    events::TenantDeleted,
    id::Id,
    identity::TenantId,
    jobs::JobState,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{
    bound::drop_database,
    count,
    notes::{FULL, NOTES, Notes, Records},
    start, tenant_of,
};
use crate::database::maintenance::PurgeJob;

fn newer(app: &TestApp) -> App {
    let builder = App::builder(app.database().config()).clock(app.clock().clock());
    builder.with(Notes::newer(Records::default())).with(DevIdentity::default()).build().unwrap()
}

async fn stars(app: &App, tenant: TenantId) -> i64 {
    let mut tx = app.db().tenant(tenant).begin_read().await.unwrap();
    let (stars,): (i64,) =
        tx.query("select cast(sum(stars) as bigint) from notes").fetch_one::<(i64,)>().await.unwrap();
    stars
}

on_each_database! {
    /// A database is migrated when it is opened, or before by `migrate`, which continues past an unavailable database.
    async fn a_release_migrates_every_tenant(database: TestDatabase) {
        let app = start(database).await;
        let clients: Vec<_> = (0..3).map(|_| app.user()).collect();
        for client in &clients {
            client.post(NOTES, json!({ "title": "x" })).await.expect(201);
        }
        let [first, second, third] = [0, 1, 2].map(|index| tenant_of(&clients[index]));
        drop_database(&app, third).await;
        app.app().db().close().await;
        let newer = newer(&app);
        newer.migrate().await.unwrap();
        let databases = newer.db().tenant_databases().unwrap();
        let missing = async |tenant| {
            let states = databases.migration_states(tenant).await.unwrap();
            states.into_iter().filter(|state| !state.applied).map(|state| state.name).collect::<Vec<_>>()
        };
        assert_eq!(missing(first).await, ["0002_stars"]);
        assert_eq!(newer.migrate_tenant(first).await.unwrap(), 1);
        assert_eq!(newer.migrate_tenant(first).await.unwrap(), 0);
        assert_eq!((missing(first).await.len(), missing(second).await.len()), (0, 1));
        assert_eq!(stars(&newer, second).await, 7);
        assert!(missing(second).await.is_empty());
        assert_eq!(newer.migrate_tenant(third).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    async fn a_tenant_that_is_gone_leaves_no_database(database: TestDatabase) {
        let app = start(database).await;
        let (ada, bob) = (app.user(), app.user());
        for client in [&ada, &bob] {
            client.post(FULL, json!({ "title": "x" })).await.expect(201);
        }
        let tenant = tenant_of(&ada);
        let log: AuditLog = app.app().context().get().unwrap();
        let store: AuditStore = app.app().context().get().unwrap();
        let leave = async |commit: bool| {
            let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
            log.record_in(&mut tx, AuditEntry::new("left").for_tenant(tenant)).await.unwrap();
            app.db().drop_tenant_in(&mut tx, tenant).await.unwrap();
            if commit { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        };
        leave(false).await;
        app.app().relay_tenant_outboxes().await.unwrap();
        ada.get(NOTES).await.expect_ok();
        leave(true).await;
        // Access ends at once, whether or not the database is already dropped.
        ada.get(NOTES).await.expect_error(404, "NOT_FOUND");
        app.app().relay_tenant_outboxes().await.unwrap();
        ada.get(NOTES).await.expect_error(404, "NOT_FOUND");
        bob.get(NOTES).await.expect_ok();
        let databases = app.db().tenant_databases().unwrap();
        assert_eq!(databases.all().await.unwrap(), [tenant_of(&bob)]);
        assert!(databases.unavailable().is_empty());
        let url = app.database().tenant_url().replace("{tenant}", &tenant.uuid().simple().to_string());
        match app.db().postgres() {
            None => assert!(!std::path::Path::new(url.trim_start_matches("sqlite:")).exists()),
            Some(_) => {
                let name = url.rsplit_once('/').unwrap().1.split('?').next().unwrap().to_owned();
                let there = app.db().query("select datname::text from pg_database where datname = $1").bind(name);
                assert!(there.fetch_optional::<(String,)>().await.unwrap().is_none());
            }
        }
        // Audit entries of the deletion are in the app's database.
        let page = store.list(&AuditFilter::for_chain(tenant), 10, None).await.unwrap();
        assert_eq!(page.items.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(), ["left"]);
        assert_eq!(store.verify(tenant).await.unwrap().entries, 1);
    }

    /// The rows go with the tenant's database. Those that are left in the app's own database, as in an app that shared it
    /// before, are deleted.
    async fn a_deleted_tenant_leaves_no_dead_letter(database: TestDatabase) {
        let app = start(database).await;
        let (ada, bob) = (app.user(), app.user());
        for client in [&ada, &bob] {
            client.post(NOTES, json!({ "title": "x" })).await.expect(201);
            let mut tx = app.db().app_database().tenant(tenant_of(client)).begin().await.unwrap();
            tx.query("insert into notes (id, tenant_id, title, created_at, updated_at) values ($1, $2, 'old', $3, $3)")
                .bind(Id::<Notes>::new(app.clock().clock().now()))
                .bind(tenant_of(client))
                .bind(app.clock().clock().now())
                .execute()
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
        app.db().drop_tenant_in(&mut tx, tenant_of(&ada)).await.unwrap();
        app.events().publish_in(&mut tx, &TenantDeleted::new(tenant_of(&ada))).await.unwrap();
        tx.commit().await.unwrap();
        app.app().relay_tenant_outboxes().await.unwrap();
        assert_eq!(app.db().tenant(tenant_of(&ada)).begin().await.unwrap_err().kind(), ErrorKind::NotFound);
        app.run_events().await;
        assert_eq!(app.run_jobs().await, 1);
        let queues = app.jobs().queues().await.unwrap();
        let states: Vec<_> = queues.iter().flat_map(|queue| queue.jobs.iter()).filter(|(_, count)| **count > 0).collect();
        assert_eq!(states, [(&JobState::Done, &1)]);
        assert_eq!(count(&app, None, "notes").await, 1);
        bob.get(NOTES).await.expect_ok();
    }

    async fn deleted_rows_are_purged_in_every_database(database: TestDatabase) {
        let app = start(database).await;
        let (ada, bob, eve) = (app.user(), app.user(), app.user());
        for client in [&ada, &bob, &eve] {
            for title in ["kept", "gone"] {
                client.post(NOTES, json!({ "title": title })).await.expect(201);
            }
            let id = client.get(format!("{NOTES}?title=gone")).await.json()["items"][0]["id"].clone();
            client.delete(format!("{NOTES}/{}", id.as_str().unwrap())).await.expect(204);
        }
        drop_database(&app, tenant_of(&eve)).await;
        for (days, left) in [(29, 2), (2, 1)] {
            app.clock().advance(Duration::from_hours(24 * days));
            app.jobs().enqueue(PurgeJob {}).await.unwrap();
            app.run_jobs().await;
            for client in [&ada, &bob] {
                assert_eq!(count(&app, Some(tenant_of(client)), "notes").await, left, "after {days} days more");
            }
        }
    }
}
