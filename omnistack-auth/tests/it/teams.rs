//! Tests of teams: permissions, privilege escalation and invitations.

mod billing_mails;
mod invitations;
mod member_limit;
pub(crate) mod members;
mod roles;
mod table;
mod usage_mails;

use omnistack_core::{
    email::{Email, MemoryProvider},
    identity::{TenantId, UserId},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::json;

use super::support::{start_with, verified};

pub(crate) const TEAMS: &str = "/api/v1/app/teams";

/// A team with a member of each role, and a stranger with their own team.
pub(crate) struct Team {
    pub(crate) app: TestApp,
    pub(crate) outbox: MemoryProvider,
    pub(crate) id: TenantId,
    /// The owner, admin, developer and viewer, in this order.
    pub(crate) members: [(UserId, TestClient); 4],
    pub(crate) stranger: (UserId, TestClient),
}

/// Returns the token of the link in a mail.
pub(crate) fn token_of(mail: &Email) -> String {
    let (_, after) = mail.text.as_deref().unwrap().split_once("#token=").expect("it has a link");
    after.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "_-".contains(*letter)).collect()
}

pub(crate) const ROLES: [&str; 4] = ["owner", "admin", "developer", "viewer"];

impl Team {
    pub(crate) async fn start(database: TestDatabase) -> Self {
        let (app, outbox) = start_with(database, &[]).await;
        Self::in_app(app, outbox).await
    }

    /// Creates the team in a running app.
    pub(crate) async fn in_app(app: TestApp, outbox: MemoryProvider) -> Self {
        let mut members = Vec::new();
        for role in ROLES {
            let (made, client) = verified(&app, &format!("{role}@example.com")).await;
            members.push((made.user, client));
        }
        let Ok(members) = <[(UserId, TestClient); 4]>::try_from(members) else { panic!("four roles") };
        let (stranger, client) = verified(&app, "stranger@example.com").await;
        let made = members[0].1.post(TEAMS, json!({ "name": "Acme", "slug": "acme" })).await.expect(201).json();
        let id = made["id"].as_str().unwrap().parse().unwrap();
        let team = Self { app, outbox, id, members, stranger: (stranger.user, client) };
        for (at, role) in ROLES.iter().enumerate().skip(1) {
            team.set_role(team.members[at].0, role).await;
        }
        team
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{TEAMS}/{}{rest}", self.id)
    }

    pub(crate) fn owner(&self) -> &TestClient {
        &self.members[0].1
    }

    pub(crate) fn admin(&self) -> &TestClient {
        &self.members[1].1
    }

    pub(crate) fn viewer(&self) -> &TestClient {
        &self.members[3].1
    }

    /// Sets the membership of a user to this role.
    pub(crate) async fn set_role(&self, user: UserId, role: &str) {
        let mut tx = self.app.db().app_database().tenant(self.id).begin().await.unwrap();
        let sql = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, $3, $4) \
                   on conflict (tenant_id, user_id) do update set role = excluded.role";
        let insert = tx.query(sql).bind(self.id).bind(user).bind(role.to_owned());
        insert.bind(self.app.clock().clock().now()).execute().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Adds a new user as a member with this role.
    pub(crate) async fn join(&self, email: &str, role: &str) -> (UserId, TestClient) {
        let (made, client) = verified(&self.app, email).await;
        self.set_role(made.user, role).await;
        (made.user, client)
    }

    /// Returns the token in the last mail.
    pub(crate) async fn token(&self) -> String {
        self.app.run_jobs().await;
        let mail = self.outbox.take().pop().expect("a mail was sent");
        token_of(&mail)
    }

    /// Returns the number of owners.
    pub(crate) async fn owners(&self) -> i64 {
        let mut tx = self.app.db().app_database().tenant(self.id).begin_read().await.unwrap();
        let sql = "select count(*) from omni_members where tenant_id = $1 and role = 'owner'";
        let (count,): (i64,) = tx.query(sql).bind(self.id).fetch_one().await.unwrap();
        count
    }
}
