//! Tests of every route of teams with every role.

use omnistack_core::http::Method;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ROLES, Team};

/// Resets the team. Returns the ids of a spare member and of an invitation.
async fn reset(team: &Team, spare: omnistack_core::identity::UserId) {
    for (at, role) in ROLES.iter().enumerate() {
        team.set_role(team.members[at].0, role).await;
    }
    team.set_role(spare, "viewer").await;
    let mut tx = team.app.db().tenant(team.id).begin().await.unwrap();
    for sql in [
        "delete from omni_invitations where tenant_id = $1",
        "delete from omni_roles where tenant_id = $1",
        "update omni_tenants set delete_at = null, name = 'Acme', slug = 'acme' where id = $1",
    ] {
        tx.query(sql).bind(team.id).execute().await.unwrap();
    }
    tx.commit().await.unwrap();
    team.app.db().query("delete from omni_email_recipients").execute().await.unwrap();
}

on_each_database! {
    async fn who_may_do_what(database: TestDatabase) {
        let team = Team::start(database).await;
        let (spare, _) = team.join("spare@example.com", "viewer").await;
        let (owner, none) = (team.members[0].0, Value::Null);
        let invite = |role: &str| json!({ "email": "new@example.com", "role": role });
        let role = |permission: &str| json!({ "name": "tester", "permissions": [permission] });
        // The statuses for owner, admin, developer, viewer, a stranger, and a caller without credentials.
        let all = [200, 200, 200, 200, 404, 401];
        let manage = |status| [status, status, 403, 403, 404, 401];
        let own = |status| [status, 403, 403, 403, 404, 401];
        let table: Vec<(&str, String, Value, [u16; 6])> = vec![
            ("GET", String::new(), none.clone(), all),
            ("PATCH", String::new(), json!({ "name": "Acme Ltd" }), manage(200)),
            ("PATCH", String::new(), json!({ "plan": "gold" }), [422, 422, 422, 422, 422, 401]),
            ("DELETE", String::new(), none.clone(), own(200)),
            ("POST", "/restore".into(), none.clone(), own(409)),
            ("POST", "/transfer".into(), json!({ "user_id": spare }), own(204)),
            ("GET", "/members".into(), none.clone(), all),
            ("PATCH", format!("/members/{spare}"), json!({ "role": "developer" }), manage(200)),
            ("PATCH", format!("/members/{spare}"), json!({ "role": "owner" }), own(200)),
            ("PATCH", format!("/members/{spare}"), json!({ "role": "king" }), manage(422)),
            ("PATCH", format!("/members/{owner}"), json!({ "role": "viewer" }), own(409)),
            ("DELETE", format!("/members/{spare}"), none.clone(), manage(204)),
            ("DELETE", format!("/members/{owner}"), none.clone(), own(409)),
            ("POST", "/leave".into(), none.clone(), [409, 204, 204, 204, 404, 401]),
            ("GET", "/invitations".into(), none.clone(), all),
            ("POST", "/invitations".into(), invite("viewer"), manage(201)),
            ("POST", "/invitations".into(), invite("owner"), own(201)),
            ("POST", "/invitations/INVITATION/resend".into(), none.clone(), manage(200)),
            ("DELETE", "/invitations/INVITATION".into(), none.clone(), manage(204)),
            ("GET", "/roles".into(), none.clone(), all),
            ("POST", "/roles".into(), role("tenant:manage"), manage(201)),
            ("POST", "/roles".into(), role("tenant:delete"), own(201)),
            ("PATCH", "/roles/auditor".into(), json!({ "permissions": ["roles:read"] }), manage(200)),
            ("DELETE", "/roles/auditor".into(), none.clone(), manage(204)),
            ("GET", "/activity".into(), none.clone(), all),
        ];
        let nobody = team.app.anonymous();
        let callers = team.members.iter().map(|(_, client)| client).chain([&team.stranger.1, &nobody]);
        let callers: Vec<_> = callers.collect();
        for (method, rest, body, expected) in table {
            let mut statuses = Vec::new();
            for caller in &callers {
                reset(&team, spare).await;
                let owner = team.owner();
                let mut rest = rest.clone();
                if rest.contains("INVITATION") {
                    let made = owner.post(team.path("/invitations"), invite("viewer")).await.expect(201).json();
                    rest = rest.replace("INVITATION", made["id"].as_str().unwrap());
                }
                if rest.contains("auditor") {
                    let new = json!({ "name": "auditor", "permissions": ["activity:read"] });
                    owner.post(team.path("/roles"), new).await.expect(201);
                }
                let request = caller.request(Method::from_bytes(method.as_bytes()).unwrap(), team.path(&rest));
                let answer = if body.is_null() { request.await } else { request.json(&body).await };
                statuses.push(answer.status.as_u16());
            }
            assert_eq!(statuses, expected, "{method} {rest} {body}");
        }
    }
}
