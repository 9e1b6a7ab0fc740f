//! Tests of accounts and teams with tenant databases.

use std::time::Duration;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    db::{Db, ErrorKind},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    support,
    teams::{Team, members::TeamMaintenanceJob},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The module's own job, as its cron enqueues it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct MaintenanceJob {}

#[omnistack_core::async_trait]
impl Job for MaintenanceJob {
    const NAME: &'static str = "auth.run_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn all(db: &Db) -> Vec<TenantId> {
    db.tenant_databases().unwrap().all().await.unwrap()
}

async fn open(db: &Db, tenant: TenantId) -> Result<(), ErrorKind> {
    db.tenant(tenant).begin_read().await.map(drop).map_err(|error| error.kind())
}

on_each_database! {
    /// Memberships are in the app's database, and their audit entries are in the tenant's chain with the tenant's own
    /// entries.
    async fn a_team_works_as_ever(database: TestDatabase) {
        let team = Team::start(database.with_tenant_databases()).await;
        let db = team.app.db();
        assert_eq!(all(db).await, []);
        let role = json!({ "name": "reader", "permissions": ["tenant:read"] });
        let made = team.owner().post(team.path("/roles"), role).await.expect(201).json();
        team.owner().patch(team.path(""), json!({ "name": "Acme & Sons" })).await.expect(200);
        team.viewer().get(team.path("/members")).await.expect(200);
        team.stranger.1.get(team.path("")).await.expect(404);
        let log: AuditLog = team.app.app().context().get().unwrap();
        let mut tx = db.tenant(team.id).begin().await.unwrap();
        log.record_in(&mut tx, AuditEntry::new("thing.made").for_tenant(team.id)).await.unwrap();
        tx.commit().await.unwrap();
        let activity = team.owner().get(team.path("/activity")).await.expect(200).json();
        let actions: Vec<_> = activity["items"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
        assert!(actions.contains(&json!("thing.made")) && actions.len() >= 4, "{made} {actions:?}");
        assert_eq!(all(db).await, [team.id]);
    }

    async fn a_team_that_is_deleted_takes_its_database_along(database: TestDatabase) {
        let team = Team::start(database.with_tenant_databases()).await;
        let db = team.app.db();
        open(db, team.id).await.unwrap();
        team.owner().delete(team.path("")).await.expect(200);
        for (days, there) in [(29, true), (2, false)] {
            team.app.clock().advance(DAY * days);
            team.app.jobs().enqueue(TeamMaintenanceJob {}).await.unwrap();
            team.app.run_jobs().await;
            assert_eq!(open(db, team.id).await.is_ok(), there, "after {days} days more");
        }
        assert_eq!(open(db, team.id).await, Err(ErrorKind::NotFound));
        assert_eq!(all(db).await, []);
    }

    async fn a_user_who_is_deleted_takes_their_own_along(database: TestDatabase) {
        let app = support::start(database.with_tenant_databases()).await;
        let (ada, bob) = (support::user(&app, "ada@example.com").await, support::user(&app, "bob@example.com").await);
        for tenant in [ada.tenant, bob.tenant] {
            open(app.db(), tenant).await.unwrap();
        }
        let leave = app.db().query("update omni_users set delete_at = $2 where id = $1").bind(ada.user);
        leave.bind(app.clock().clock().now()).execute().await.unwrap();
        app.jobs().enqueue(MaintenanceJob {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(open(app.db(), ada.tenant).await, Err(ErrorKind::NotFound));
        assert_eq!(all(app.db()).await, [bob.tenant]);
    }
}
