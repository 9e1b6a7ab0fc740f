//! Tests of owners and of attempts to become one.

use std::time::Duration;

use omnistack_core::{ExposeSecret as _, audit::AuditStore};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{TEAMS, Team};
use crate::support::{client, sign_in, user, verified};

const ME: &str = "/api/v1/app/users/me";
const CURRENT: &str = "/api/v1/app/tenants/current";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

on_each_database! {
    async fn two_owners_can_not_demote_each_other_at_once(database: TestDatabase) {
        let team = Team::start(database).await;
        let (one, other) = (team.members[0].0, team.members[1].0);
        for round in 0..8 {
            team.set_role(one, "owner").await;
            team.set_role(other, "owner").await;
            let demote = |user| (team.path(&format!("/members/{user}")), json!({ "role": "viewer" }));
            let ((first, body), (second, _)) = (demote(other), demote(one));
            let (first, second) = if round % 2 == 0 {
                tokio::join!(team.owner().patch(first, &body), team.admin().patch(second, &body))
            } else {
                tokio::join!(team.owner().post(team.path("/leave"), ()), team.admin().post(team.path("/leave"), ()))
            };
            let mut statuses = [first.status.as_u16(), second.status.as_u16()];
            statuses.sort_unstable();
            assert!(matches!(statuses, [200 | 204, 403 | 409]), "{statuses:?}");
            assert_eq!(team.owners().await, 1);
        }
    }

    async fn nobody_makes_themselves_more(database: TestDatabase) {
        let team = Team::start(database).await;
        let [owner, admin, _, viewer] = &team.members;
        let path = |user| team.path(&format!("/members/{user}"));
        // A viewer can't become an admin, nor an admin an owner, and an admin can't demote the owner.
        viewer.1.patch(path(viewer.0), json!({ "role": "admin" })).await.expect_error(403, "PERMISSION_DENIED");
        admin.1.patch(path(admin.0), json!({ "role": "owner" })).await.expect_error(403, "PERMISSION_DENIED");
        admin.1.patch(path(owner.0), json!({ "role": "viewer" })).await.expect_error(403, "PERMISSION_DENIED");
        admin.1.delete(path(owner.0)).await.expect_error(403, "PERMISSION_DENIED");
        // A role can't have permissions that its author lacks, nor a wildcard permission.
        let role = |permission: &str| json!({ "name": "more", "permissions": [permission] });
        admin.1.post(team.path("/roles"), role("tenant:transfer")).await.expect_error(403, "PERMISSION_DENIED");
        for wrong in ["*", "*:write", "tenant:*", "tenant:conquer"] {
            owner.1.post(team.path("/roles"), role(wrong)).await.expect_error(422, "VALIDATION_FAILED");
        }
        owner.1.post(team.path("/roles"), role("tenant:transfer")).await.expect(201);
        // A member can't assign, change or delete roles with more permissions than their own.
        admin.1.patch(path(viewer.0), json!({ "role": "more" })).await.expect_error(403, "PERMISSION_DENIED");
        let change = json!({ "permissions": ["roles:read"] });
        admin.1.patch(team.path("/roles/more"), change).await.expect_error(403, "PERMISSION_DENIED");
        admin.1.delete(team.path("/roles/more")).await.expect_error(403, "PERMISSION_DENIED");
        // Fields that callers can't set.
        for (path, body) in [
            (TEAMS.to_owned(), json!({ "name": "Mine", "owner": viewer.0 })),
            (TEAMS.to_owned(), json!({ "name": "Mine", "suspended_at": null })),
            (team.path("/invitations"), json!({ "email": "a@example.com", "role": "viewer", "tenant_id": team.id })),
        ] {
            owner.1.post(path, body).await.expect_error(422, "VALIDATION_FAILED");
        }
        owner.1.patch(team.path(""), json!({ "personal_of": owner.0 })).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn a_change_of_rights_holds_at_once(database: TestDatabase) {
        let team = Team::start(database).await;
        let (viewer, tenant) = (&team.members[3], team.id.to_string());
        let permissions = async || {
            let me = viewer.1.get(ME).header("x-tenant-id", &tenant).await;
            if me.status == 200 { me.json()["permissions"].clone() } else { Value::from(me.status.as_u16()) }
        };
        assert_eq!(permissions().await, json!(["*:read"]));
        let path = team.path(&format!("/members/{}", viewer.0));
        team.owner().patch(&path, json!({ "role": "developer" })).await.expect(200);
        assert_eq!(permissions().await, json!(["*:read", "*:write"]));
        let role = json!({ "name": "auditor", "permissions": ["activity:read"] });
        team.owner().post(team.path("/roles"), role).await.expect(201);
        team.owner().patch(&path, json!({ "role": "auditor" })).await.expect(200);
        assert_eq!(permissions().await, json!(["activity:read"]));
        let change = json!({ "permissions": ["roles:read"] });
        team.owner().patch(team.path("/roles/auditor"), change).await.expect(200);
        assert_eq!(permissions().await, json!(["roles:read"]));
        team.owner().delete(&path).await.expect(204);
        assert_eq!(permissions().await, json!(403));
    }

    async fn a_team_changes_hands(database: TestDatabase) {
        let team = Team::start(database).await;
        let ([owner, admin, ..], to) = (&team.members, team.path("/transfer"));
        owner.1.post(&to, json!({ "user_id": team.stranger.0 })).await.expect(404);
        owner.1.post(&to, json!({ "user_id": owner.0 })).await.expect_error(409, "ALREADY_OWNER");
        team.app.clock().advance(Duration::from_secs(15 * 60 + 1));
        // The sign-in is no longer fresh, and the access token has expired.
        owner.1.post(&to, json!({ "user_id": admin.0 })).await.expect(401);
        let tokens = sign_in(&team.app, omnistack_auth::users::CreatedUser { user: owner.0, tenant: team.id }).await;
        let again = client(&team.app, &tokens);
        again.post(&to, json!({ "user_id": admin.0 })).await.expect(204);
        assert_eq!(again.get(team.path("")).await.expect(200).json()["role"], "admin");
        again.post(&to, json!({ "user_id": owner.0 })).await.expect_error(403, "PERMISSION_DENIED");
        assert_eq!(team.owners().await, 1);
    }

    async fn a_team_is_deleted_after_its_grace(database: TestDatabase) {
        let team = Team::start(database).await;
        let owner = team.owner();
        let deleted = owner.delete(team.path("")).await.expect(200).json();
        assert_eq!(deleted["delete_at"], "2030-01-31T00:00:00Z");
        let invite = json!({ "email": "new@example.com", "role": "viewer" });
        owner.post(team.path("/invitations"), &invite).await.expect_error(409, "TEAM_DELETION_PENDING");
        assert_eq!(owner.post(team.path("/restore"), ()).await.expect(200).json()["delete_at"], Value::Null);
        owner.post(team.path("/restore"), ()).await.expect_error(409, "NOT_DELETED");

        owner.delete(team.path("")).await.expect(200);
        for (days, there) in [(29, true), (2, false)] {
            team.app.clock().advance(DAY * days);
            team.app.jobs().enqueue(TeamMaintenanceJob {}).await.unwrap();
            team.app.run_jobs().await;
            let mut tx = team.app.db().all_tenants().begin_read().await.unwrap();
            let (count,): (i64,) =
                tx.query("select count(*) from omni_members where tenant_id = $1").bind(team.id).fetch_one().await.unwrap();
            assert_eq!(count > 0, there, "after {days} days more");
        }
    }

    async fn the_last_owner_leaves_a_team_that_is_being_deleted(database: TestDatabase) {
        let team = Team::start(database).await;
        let [owner, admin, ..] = &team.members;
        owner.1.post(team.path("/leave"), ()).await.expect_error(409, "LAST_OWNER");
        owner.1.post(team.path("/roles"), json!({ "name": "closer", "permissions": ["tenant:delete"] })).await.expect(201);
        team.set_role(admin.0, "closer").await;
        owner.1.delete(team.path("")).await.expect(200);
        owner.1.post(team.path("/leave"), ()).await.expect(204);
        owner.1.get(team.path("")).await.expect(404);
        assert_eq!(team.owners().await, 0);
        // Without an owner the team can't be restored, and is deleted when it is due.
        admin.1.post(team.path("/restore"), ()).await.expect_error(409, "NO_OWNER");
        team.app.clock().advance(DAY * 31);
        team.app.jobs().enqueue(TeamMaintenanceJob {}).await.unwrap();
        team.app.run_jobs().await;
        let mut tx = team.app.db().all_tenants().begin_read().await.unwrap();
        let (left,): (i64,) =
            tx.query("select count(*) from omni_members where tenant_id = $1").bind(team.id).fetch_one().await.unwrap();
        assert_eq!(left, 0);
    }

    async fn a_personal_tenant_stays_personal(database: TestDatabase) {
        let (app, _) = crate::support::start_with(database, &[]).await;
        let (ada, client) = verified(&app, "ada@example.com").await;
        let own = format!("{TEAMS}/{}", ada.tenant);
        let invite = json!({ "email": "eve@example.com", "role": "viewer" });
        client.post(format!("{own}/invitations"), invite).await.expect_error(409, "PERSONAL_TENANT");
        client.post(format!("{own}/leave"), ()).await.expect_error(409, "PERSONAL_TENANT");
        client.delete(&own).await.expect_error(409, "PERSONAL_TENANT");
        let role = json!({ "name": "more", "permissions": ["roles:read"] });
        client.post(format!("{own}/roles"), role).await.expect_error(409, "PERSONAL_TENANT");
    }

    async fn a_tenant_is_chosen_and_checked(database: TestDatabase) {
        let (app, _) = crate::support::start_with(database, &[("TENANT_DOMAIN", "example.com")]).await;
        let (ada, _) = (user(&app, "ada@example.com").await, user(&app, "bob@example.com").await);
        let tokens = sign_in(&app, ada).await;
        let ada_client = client(&app, &tokens);
        let made = ada_client.post(TEAMS, json!({ "name": "Acme", "slug": "acme" })).await.expect(201).json();
        let (_, eve) = verified(&app, "eve@example.com").await;
        eve.post(TEAMS, json!({ "name": "Evil", "slug": "acme" })).await.expect_error(409, "SLUG_TAKEN");
        let evil = eve.post(TEAMS, json!({ "name": "Evil", "slug": "evil" })).await.expect(201).json();

        for (host, status) in [
            ("acme.example.com", 200),
            ("evil.example.com", 403),
            ("nobody.example.com", 403),
            ("www.example.com", 200),
            ("example.com", 200),
        ] {
            let answer = ada_client.get(CURRENT).header("host", host).await;
            assert_eq!(answer.status.as_u16(), status, "{host}: {}", answer.text());
            if host == "acme.example.com" {
                assert_eq!(answer.json()["id"], made["id"]);
            }
        }
        assert_eq!(ada_client.get(CURRENT).await.expect(200).json()["id"], ada.tenant.to_string());
        let switch = |to: &Value| ada_client.request(http::Method::PUT, CURRENT).json(json!({ "tenant_id": to }));
        switch(&evil["id"]).await.expect(404);
        assert_eq!(switch(&made["id"]).await.expect(200).json()["role"], "owner");
        let next = crate::support::sessions(&app).refresh(tokens.refresh.expose_secret()).await.unwrap();
        let next = client(&app, &next);
        assert_eq!(next.get(CURRENT).await.expect(200).json()["id"], made["id"]);

        // A slug that the team has given up no longer selects the team.
        ada_client.patch(format!("{TEAMS}/{}", made["id"].as_str().unwrap()), json!({ "slug": "acme-2" })).await.expect(200);
        ada_client.get(CURRENT).header("host", "acme.example.com").await.expect_error(403, "NOT_A_MEMBER");
        ada_client.get(CURRENT).header("host", "acme-2.example.com").await.expect(200);
    }

    async fn everything_is_recorded(database: TestDatabase) {
        let team = Team::start(database).await;
        let (owner, viewer) = (&team.members[0], &team.members[3]);
        owner.1.patch(team.path(""), json!({ "name": "Acme Ltd" })).await.expect(200);
        owner.1.patch(team.path(&format!("/members/{}", viewer.0)), json!({ "role": "admin" })).await.expect(200);
        owner.1.delete(team.path(&format!("/members/{}", viewer.0))).await.expect(204);
        let list = owner.1.get(team.path("/activity")).await.expect(200).json();
        let entries: Vec<_> = list["items"].as_array().unwrap().iter().rev().collect();
        let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["team.created", "team.changed", "member.role_changed", "member.removed"]);
        assert_eq!(entries[1]["details"]["before"]["name"], "Acme");
        assert_eq!(entries[1]["details"]["after"]["name"], "Acme Ltd");
        assert_eq!((&entries[2]["details"]["before"], &entries[2]["details"]["after"]), (&json!("viewer"), &json!("admin")));
        assert!(entries.iter().all(|entry| entry["actor"] == owner.0.to_string()));
        let store: AuditStore = team.app.app().context().get().unwrap();
        assert_eq!(store.verify(team.id).await.unwrap().entries, 4);
        let some = owner.1.get(team.path("/activity?action=member.&limit=1")).await.expect(200).json();
        assert_eq!(some["items"][0]["action"], "member.removed");
    }
}

/// The module's own job, as its cron enqueues it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct TeamMaintenanceJob {}

#[omnistack_core::async_trait]
impl omnistack_core::jobs::Job for TeamMaintenanceJob {
    const NAME: &'static str = "auth.run_team_maintenance";
    type State = ();

    async fn run(self, (): &(), _: &omnistack_core::jobs::JobContext) -> Result<(), omnistack_core::jobs::JobError> {
        Ok(())
    }
}
