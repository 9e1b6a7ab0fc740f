//! Tests of the deletion and the export of accounts.

use omnistack_core::{
    async_trait,
    identity::{TenantId, UserId},
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::on_each_database;
use serde::{Deserialize, Serialize};

use super::*;

/// The module's own job, as its cron enqueues it.
#[derive(Debug, Serialize, Deserialize)]
struct MaintenanceJob {}

#[async_trait]
impl Job for MaintenanceJob {
    const NAME: &'static str = "auth.run_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

impl AccountsApp {
    async fn upkeep(&self) {
        self.app.jobs().enqueue(MaintenanceJob {}).await.unwrap();
        self.app.run_jobs().await;
    }

    async fn leave(&self, signed: &SignedInUser) -> TestResponse {
        self.client(signed).delete(ME).json(json!({ "password": PASSWORD })).await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.app.db().all_tenants().begin_read().await.unwrap();
        let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        count
    }

    /// Deletes the only team of a new user and then the account. Returns when the account will be removed.
    async fn leave_a_deleted_team(&self) -> String {
        self.registered("ada@example.com").await;
        let ada = self.signed_in("ada@example.com").await;
        let team = self.client(&ada).post("/api/v1/app/teams", json!({ "name": "Lone" })).await.expect(201).json();
        self.leave(&ada).await.expect_error(409, "LAST_OWNER");
        self.client(&ada).delete(format!("/api/v1/app/teams/{}", team["id"].as_str().unwrap())).await.expect(200);
        let leaving = self.leave(&ada).await.expect(202).json();
        self.client(&ada).get(ME).await.expect(401);
        leaving["delete_at"].as_str().unwrap().to_owned()
    }

    /// Creates a team with these users as owners.
    async fn team(&self, owners: &[&str]) -> TenantId {
        let mut tx = self.app.db().all_tenants().begin().await.unwrap();
        let now = self.app.clock().clock().now();
        let team = TenantId::new(now);
        let sql = "insert into omni_tenants (id, name, slug, created_at, updated_at) values ($1, 'T', 't', $2, $2)";
        tx.query(sql).bind(team).bind(now).execute().await.unwrap();
        for owner in owners {
            let sql = "select id from omni_users where email = $1";
            let (user,): (UserId,) = tx.query(sql).bind((*owner).to_owned()).fetch_one().await.unwrap();
            let sql = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, 'owner', $3)";
            tx.query(sql).bind(team).bind(user).bind(now).execute().await.unwrap();
        }
        tx.commit().await.unwrap();
        team
    }
}

on_each_database! {
    async fn an_account_is_deleted_after_its_grace(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        post.registered("eve@example.com").await;
        let ada = post.signed_in("ada@example.com").await;
        post.client(&ada).delete(ME).json(json!({ "password": OTHER })).await.expect(422);
        post.client(&ada).delete(ME).json(json!({})).await.expect(422);
        let leaving = post.leave(&ada).await.expect(202).json();
        assert_eq!(leaving["delete_at"], "2030-01-31T00:00:00Z");
        post.client(&ada).get(ME).await.expect(401);
        post.refresh(&ada).await.expect(401);
        let mails = post.take_mails().await;
        assert!(text(&mails[0]).contains("deleted permanently on 31 January 2030, 00:00 UTC."), "{}", text(&mails[0]));

        post.app.clock().advance(29 * DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 2);
        post.app.clock().advance(DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 1);
        assert_eq!(post.count("select count(*) from omni_tenants").await, 1);
        assert_eq!(post.count("select count(*) from omni_members").await, 1);
        assert_eq!(post.count("select count(*) from omni_sessions").await, 0);
        post.login("ada@example.com", PASSWORD).await.expect(401);
        assert!(post.audit_actions().await.contains(&"account.deleted".to_owned()));
        // The address can be registered again.
        post.registered("ada@example.com").await;
    }

    async fn who_signs_in_during_the_grace_stays(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let ada = post.signed_in("ada@example.com").await;
        post.leave(&ada).await.expect(202);
        post.app.clock().advance(29 * DAY);
        post.login("ada@example.com", OTHER).await.expect(401);
        assert!(post.count("select count(*) from omni_users where delete_at is not null").await == 1);
        let back = post.signed_in("ada@example.com").await;
        assert!(post.client(&back).get(ME).await.json()["delete_at"].is_null());
        post.app.clock().advance(10 * DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 1);
        assert!(post.audit_actions().await.contains(&"account.deletion_cancelled".to_owned()));
    }

    async fn the_last_owner_of_a_team_stays(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada@example.com", "eve@example.com"] {
            post.registered(email).await;
        }
        let (ada, eve) = (post.signed_in("ada@example.com").await, post.signed_in("eve@example.com").await);
        let alone = post.team(&["ada@example.com"]).await;
        let refused = post.leave(&ada).await.expect_error(409, "LAST_OWNER").json();
        assert_eq!(refused["error"]["details"]["teams"], json!([alone.to_string()]));
        let mut tx = post.app.db().all_tenants().begin().await.unwrap();
        tx.query("delete from omni_tenants where id = $1").bind(alone).execute().await.unwrap();
        tx.commit().await.unwrap();

        // If both of two owners delete their accounts, the second deletion fails until the team has another owner.
        post.team(&["ada@example.com", "eve@example.com"]).await;
        post.leave(&ada).await.expect(202);
        post.leave(&eve).await.expect(202);
        post.app.clock().advance(31 * DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 1);
        assert_eq!(post.count("select count(*) from omni_members where role = 'owner'").await, 2, "her own, and the team's");
    }

    async fn who_deleted_their_only_team_may_leave_at_once(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_DELETION_GRACE", "60d")).await;
        assert_eq!(post.leave_a_deleted_team().await, "2030-03-02T00:00:00Z");
    }

    async fn an_account_whose_grace_is_shorter_waits_for_its_team(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_DELETION_GRACE", "7d")).await;
        assert_eq!(post.leave_a_deleted_team().await, "2030-01-31T00:00:00Z");
        post.app.clock().advance(29 * DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 1);
        post.app.clock().advance(DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 0);
    }

    async fn a_team_restored_meanwhile_keeps_its_owner(database: TestDatabase) {
        let post = start(database).await;
        post.leave_a_deleted_team().await;
        let mut tx = post.app.db().all_tenants().begin().await.unwrap();
        tx.query("update omni_tenants set delete_at = null where name = 'Lone'").execute().await.unwrap();
        tx.commit().await.unwrap();
        post.app.clock().advance(31 * DAY);
        post.upkeep().await;
        assert_eq!(post.count("select count(*) from omni_users").await, 1);
    }

    async fn the_only_operator_stays(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada@example.com", "eve@example.com"] {
            post.registered(email).await;
        }
        let (ada, eve) = (post.signed_in("ada@example.com").await, post.signed_in("eve@example.com").await);
        let operator = "update omni_users set operator = $1 where email = $2";
        let operate = async |email: &str, yes: bool| {
            post.app.db().query(operator).bind(yes).bind(email.to_owned()).execute().await.unwrap();
        };
        operate("ada@example.com", true).await;
        let refused = post.leave(&ada).await.expect_error(409, "LAST_OPERATOR").json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("make another user an operator first"));
        post.client(&ada).get(ME).await.expect(200);
        // If both do so at once, one of them fails.
        operate("eve@example.com", true).await;
        let (one, other) = tokio::join!(post.leave(&ada), post.leave(&eve));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409]);
        assert_eq!(post.count("select count(*) from omni_users where operator and delete_at is null").await, 1);
    }

    async fn ones_own_data_and_nobody_elses(database: TestDatabase) {
        let post = start(database).await;
        for email in ["ada@example.com", "eve@example.com"] {
            post.registered(email).await;
        }
        let ada = post.signed_in("ada@example.com").await;
        let answer = post.client(&ada).post(format!("{ME}/export"), json!({})).await.expect(200);
        let export = answer.json();
        assert_eq!(export["user"]["email"], "ada@example.com");
        assert_eq!(export["memberships"].as_array().unwrap().len(), 1);
        assert_eq!(export["memberships"][0]["role"], "owner");
        assert_eq!(export["sessions"][0]["id"], ada.session.as_str());
        for secret in ["eve@", "argon2", "password", "hash", "refresh"] {
            assert!(!answer.text().contains(secret), "{secret}: {}", answer.text());
        }
        let v2 = post.client(&ada).post("/api/v2/app/users/me/export", json!({})).await.expect(200).json();
        assert_eq!(v2["data"]["user"]["email"], "ada@example.com");
    }
}
