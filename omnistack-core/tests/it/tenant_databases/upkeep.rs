//! Tests of migrations of all tenant databases, and of deleted tenants.

use omnistack_core::{
    app::{App, DevIdentity},
    audit::{AuditEntry, AuditFilter, AuditLog, AuditStore},
    db::ErrorKind,
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{
    bound::drop_database,
    notes::{FULL, NOTES, Notes, Records},
    start, tenant_of,
};

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
}
