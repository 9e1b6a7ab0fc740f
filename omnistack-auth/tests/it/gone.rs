//! Tests of the data that is deleted with a tenant or a user.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_auth::Auth;
use omnistack_core::{
    async_trait,
    email::Email,
    events::{Delivery, Subscriber, UserDeleted},
    identity::{TenantId, UserId},
    jobs::{Job, JobContext, JobError, JobState},
    module::{Module, Registry},
};
use omnistack_messaging::email::{Mail, Outbox, template::TemplateOverrides};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    notes::{NOTES, Notes},
    support::start_app,
    teams::{TEAMS, Team},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A module of the app that records the deleted users.
#[derive(Clone, Default)]
struct TenantDataModule(Arc<Mutex<Vec<UserId>>>);

impl Module for TenantDataModule {
    fn name(&self) -> &'static str {
        "keeper"
    }

    fn register(&self, registry: &mut Registry) {
        let told = self.clone();
        registry.subscribe("forget-user", move |_| Ok(told));
    }
}

#[async_trait]
impl Subscriber for TenantDataModule {
    type Event = UserDeleted;

    async fn handle(&self, gone: UserDeleted, _: &mut Delivery) -> Result<(), JobError> {
        self.0.lock().unwrap().push(gone.user);
        Ok(())
    }
}

/// The module's own jobs, as their crons enqueue them.
#[derive(Serialize, Deserialize)]
struct TeamMaintenanceJob {}

#[async_trait]
impl Job for TeamMaintenanceJob {
    const NAME: &'static str = "auth.run_team_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Upkeep {}

#[async_trait]
impl Job for Upkeep {
    const NAME: &'static str = "auth.run_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn team(database: TestDatabase) -> (Team, TenantDataModule) {
    let keeper = TenantDataModule::default();
    let told = keeper.clone();
    let (app, outbox) =
        start_app(database, |app| app.with(Auth::built_in()).with(Mail::default()).with(Notes).with(keeper)).await;
    (Team::in_app(app, outbox).await, told)
}

async fn settle(team: &Team) {
    team.app.jobs().enqueue(TeamMaintenanceJob {}).await.unwrap();
    team.app.jobs().enqueue(Upkeep {}).await.unwrap();
    team.app.run_jobs().await;
    team.app.run_events().await;
    team.app.run_jobs().await;
}

/// Returns the number of rows of a tenant in three tables.
async fn rows(team: &Team, tenant: TenantId) -> [i64; 3] {
    let mut tx = team.app.db().all_tenants().begin_read().await.unwrap();
    let mut found = [0; 3];
    for (sql, count) in [
        "select count(*) from notes where tenant_id = $1",
        "select count(*) from omni_messages where tenant_id = $1",
        "select count(*) from omni_email_templates where tenant_id = $1",
    ]
    .into_iter()
    .zip(&mut found)
    {
        let (counted,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await.unwrap();
        *count = counted;
    }
    found
}

/// Inserts one row of a tenant into each table.
async fn fill(team: &Team, tenant: TenantId) {
    let note = team.owner().post(NOTES, json!({ "title": "kept" })).header("x-tenant-id", tenant.to_string());
    note.await.expect(201);
    let (outbox, overrides): (Outbox, TemplateOverrides) =
        (team.app.app().context().get().unwrap(), team.app.app().context().get().unwrap());
    let mail = Email::to("ada@example.com").subject("Hello").text("Hello").for_tenant(tenant);
    outbox.send(&mail).await.unwrap();
    overrides.save(tenant, "welcome", "en", "subject: Hi\n---\nHi\n").await.unwrap();
    team.app.run_jobs().await;
    assert_eq!(rows(team, tenant).await, [1, 1, 1]);
}

on_each_database! {
    async fn rows_of_other_modules_go_with_a_team(database: TestDatabase) {
        let (team, _) = team(database).await;
        let other = team.owner().post(TEAMS, json!({ "name": "Other", "slug": "other" })).await.expect(201).json();
        let other: TenantId = other["id"].as_str().unwrap().parse().unwrap();
        fill(&team, team.id).await;
        fill(&team, other).await;
        team.owner().delete(team.path("")).await.expect(200);
        for (days, left) in [(29, [1, 1, 1]), (2, [0, 0, 0])] {
            team.app.clock().advance(DAY * days);
            settle(&team).await;
            assert_eq!(rows(&team, team.id).await, left, "after {days} days more");
        }
        assert_eq!(rows(&team, other).await, [1, 1, 1], "nobody else's");
    }

    async fn rows_of_other_modules_go_with_a_user(database: TestDatabase) {
        let (team, told) = team(database).await;
        let (viewer, client) = (team.members[3].0, team.viewer());
        let teams = client.get(TEAMS).await.expect(200).json();
        let own = teams["items"].as_array().unwrap().iter().find(|item| item["id"] != team.id.to_string()).unwrap();
        let own: TenantId = own["id"].as_str().unwrap().parse().unwrap();
        let note = json!({ "title": "mine" });
        client.post(NOTES, note).header("x-tenant-id", own.to_string()).await.expect(201);
        client.delete("/api/v1/app/users/me").json(json!({})).await.expect(202);
        settle(&team).await;
        assert_eq!((rows(&team, own).await[0], told.0.lock().unwrap().len()), (1, 0));
        team.app.clock().advance(DAY * 31);
        settle(&team).await;
        assert_eq!(rows(&team, own).await[0], 0);
        assert_eq!(*told.0.lock().unwrap(), [viewer]);
    }

    /// The database of a team is deleted with the team, and the jobs that delete rows find nothing to do.
    async fn a_team_with_its_own_database_leaves_no_dead_letter(database: TestDatabase) {
        let (team, _) = team(database.with_tenant_databases()).await;
        let note = team.owner().post(NOTES, json!({ "title": "kept" })).header("x-tenant-id", team.id.to_string());
        note.await.expect(201);
        team.owner().delete(team.path("")).await.expect(200);
        team.app.clock().advance(DAY * 31);
        settle(&team).await;
        assert!(team.app.db().tenant(team.id).begin_read().await.is_err());
        let queues = team.app.jobs().queues().await.unwrap();
        for state in [JobState::Dead, JobState::Scheduled, JobState::Ready] {
            let count: u64 = queues.iter().filter_map(|queue| queue.jobs.get(&state)).sum();
            assert_eq!(count, 0, "{state:?}: {queues:?}");
        }
    }
}
