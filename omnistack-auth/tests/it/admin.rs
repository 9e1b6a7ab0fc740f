//! Tests of operators: users, tenants, impersonation and the audit log.

use std::time::Duration;

use omnistack_auth::users::{CreatedUser, NewUser, Users};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::{
    support::{client, sign_in, start, verified},
    teams::Team,
};

const USERS: &str = "/api/v1/admin/users";
const TENANTS: &str = "/api/v1/admin/tenants";
const IMPERSONATE: &str = "/api/v1/admin/impersonate";
const LOGS: &str = "/api/v1/admin/audit-logs";
const ME: &str = "/api/v1/app/users/me";
const REASON: &str = "asked for help in ticket 4711";

pub(crate) async fn operator(app: &TestApp, email: &str) -> (CreatedUser, TestClient) {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.operator = true;
    let made = users.create(new).await.unwrap();
    (made, client(app, &sign_in(app, made).await))
}

fn names(page: &Value, name: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

/// Impersonates a user.
async fn impersonate(app: &TestApp, operator: &TestClient, user: impl serde::Serialize) -> TestClient {
    let body = json!({ "user_id": user, "reason": REASON });
    let tokens = operator.post(IMPERSONATE, body).await.expect(201).json();
    app.client_with_token(tokens["access_token"].as_str().unwrap())
}

on_each_database! {
    async fn only_operators_come_in(database: TestDatabase) {
        let team = Team::start(database).await;
        let (boss, operator) = operator(&team.app, "boss@example.com").await;
        let document = team.app.anonymous().get("/openapi.json").await.expect(200).json();
        let mut tried = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            if !path.starts_with("/api/v1/admin/") {
                continue;
            }
            let path = path.replace("{id}", &boss.user.to_string());
            for method in item.as_object().unwrap().keys().filter_map(|name| http::Method::from_bytes(name.to_uppercase().as_bytes()).ok()) {
                if !["GET", "POST", "PATCH", "PUT", "DELETE"].contains(&method.as_str()) {
                    continue;
                }
                team.owner().request(method.clone(), &path).await.expect(403);
                team.app.anonymous().request(method, &path).await.expect(401);
                tried += 1;
            }
        }
        assert!(tried >= 15, "{tried} routes were tried");
        operator.get(USERS).await.expect(200);
    }

    async fn users_are_found(database: TestDatabase) {
        let app = start(database).await;
        let (_, operator) = operator(&app, "boss@example.com").await;
        for email in ["ada@example.com", "bob@example.com", "a_b%c@example.org"] {
            app.clock().advance(Duration::from_secs(1));
            verified(&app, email).await;
        }
        for (query, expected) in [
            ("", vec!["a_b%c", "bob", "ada", "boss"]),
            ("sort=name", vec!["a_b%c", "ada", "bob", "boss"]),
            ("sort=-email&page_size=2", vec!["boss", "bob"]),
            ("sort=-email&page_size=2&page=2", vec!["ada", "a_b%c"]),
            ("q=EXAMPLE.ORG", vec!["a_b%c"]),
            ("q=%25", vec!["a_b%c"]),
            ("q=_", vec!["a_b%c"]),
            ("q=nobody", vec![]),
            ("operator=true", vec!["boss"]),
            ("operator=false&q=b&sort=name", vec!["a_b%c", "bob"]),
            ("active=false", vec![]),
        ] {
            let page = operator.get(format!("{USERS}?{query}")).await.expect(200).json();
            assert_eq!(names(&page, "name"), expected, "{query}");
        }
        assert_eq!(operator.get(format!("{USERS}?page_size=1")).await.json()["total"], 4);
        for wrong in ["sort=password_hash", "sort=id;drop", "page=0", "page_size=101", "role=x"] {
            operator.get(format!("{USERS}?{wrong}")).await.expect_error(422, "VALIDATION_FAILED");
        }
    }

    async fn who_is_locked_out_is_out_at_once(database: TestDatabase) {
        let app = start(database).await;
        let (boss, operator) = operator(&app, "boss@example.com").await;
        let (ada, one) = verified(&app, "ada@example.com").await;
        let two = client(&app, &sign_in(&app, ada).await);
        let path = format!("{USERS}/{}", ada.user);
        let detail = operator.get(&path).await.expect(200).json();
        assert_eq!(detail["memberships"][0]["role"], "owner");
        assert!(detail.get("password_hash").is_none());
        let sessions = operator.get(format!("{path}/sessions")).await.expect(200).json();
        assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
        one.get(ME).await.expect(200);
        operator.patch(&path, json!({ "active": false })).await.expect(200);
        one.get(ME).await.expect(401);
        operator.patch(&path, json!({ "active": true })).await.expect(200);
        one.get(ME).await.expect(401);
        two.get(ME).await.expect(401);
        let again = client(&app, &sign_in(&app, ada).await);
        again.get(ME).await.expect(200);
        assert_eq!(operator.delete(format!("{path}/sessions")).await.expect(200).json()["ended"], 1);
        again.get(ME).await.expect(401);

        // Operators can promote others but not demote themselves. Fields they can't set are rejected.
        let again = client(&app, &sign_in(&app, ada).await);
        again.get(USERS).await.expect(403);
        operator.patch(&path, json!({ "operator": true })).await.expect(200);
        again.get(USERS).await.expect(200);
        // A stranger may have registered an unverified address.
        let stranger = format!("{USERS}/{}", crate::support::user(&app, "unconfirmed@example.com").await.user);
        operator.patch(&stranger, json!({ "operator": true })).await.expect_error(409, "EMAIL_NOT_VERIFIED");
        operator.patch(&stranger, json!({ "active": false })).await.expect(200);
        let own = format!("{USERS}/{}", boss.user);
        operator.patch(&own, json!({ "operator": false })).await.expect_error(409, "OWN_ACCOUNT");
        operator.patch(&own, json!({ "active": false })).await.expect_error(409, "OWN_ACCOUNT");
        operator.patch(&path, json!({ "email_verified_at": "2030-01-01T00:00:00Z" })).await.expect(422);
        let (first, second) =
            tokio::join!(operator.patch(&path, json!({ "operator": false })), again.patch(&own, json!({ "operator": false })));
        let mut statuses = [first.status.as_u16(), second.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "one remains");
        let left: (i64,) = app.db().query("select count(*) from omni_users where operator").fetch_one().await.unwrap();
        assert_eq!(left.0, 1);
    }

    async fn a_tenant_is_suspended_and_let_go_on(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, operator) = operator(&team.app, "boss@example.com").await;
        let (path, tenant) = (format!("{TENANTS}/{}", team.id), team.id.to_string());
        let key = json!({ "name": "robot", "scopes": ["*:read"] });
        let key = team.owner().post("/api/v1/app/api-keys", key).header("x-tenant-id", &tenant).await.expect(201).json();
        let robot = team.app.client_with_token(key["secret"].as_str().unwrap());
        let statuses = async || {
            let (people, there) = (team.viewer().get(ME).header("x-tenant-id", &tenant).await, team.viewer().get(team.path("")).await);
            [people.status.as_u16(), there.status.as_u16(), robot.get(ME).await.status.as_u16()]
        };
        assert_eq!(statuses().await, [200, 200, 200]);
        operator.post(format!("{path}/suspend"), json!({ "reason": "short" })).await.expect(422);
        operator.post(format!("{path}/suspend"), json!({ "reason": "the bill was not paid" })).await.expect(200);
        assert_eq!(statuses().await, [403, 403, 403]);
        team.viewer().get(team.path("")).await.expect_error(403, "TENANT_SUSPENDED");
        assert_eq!(names(&operator.get(format!("{TENANTS}?suspended=true")).await.json(), "slug"), ["acme"]);
        operator.post(format!("{path}/reactivate"), ()).await.expect(200);
        assert_eq!(statuses().await, [200, 200, 200]);

        let deleted = operator.delete(&path).await.expect(200).json();
        assert_eq!(deleted["delete_at"], "2030-01-31T00:00:00Z");
        assert_eq!(operator.post(format!("{path}/restore"), ()).await.expect(200).json()["delete_at"], Value::Null);
        let new = json!({ "name": "Globex", "slug": "globex", "owner_id": team.stranger.0 });
        operator.post(TENANTS, &new).await.expect(201);
        operator.post(TENANTS, &new).await.expect_error(409, "SLUG_TAKEN");
        assert_eq!(names(&operator.get(format!("{TENANTS}?personal=false&sort=name")).await.json(), "slug"), ["acme", "globex"]);
        let teams = team.stranger.1.get(crate::teams::TEAMS).await.expect(200).json();
        assert_eq!(names(&teams, "role"), ["owner", "owner"]);
    }

    async fn an_operator_acts_as_a_user_and_stops(database: TestDatabase) {
        let team = Team::start(database).await;
        let (boss, operator) = operator(&team.app, "boss@example.com").await;
        let viewer = team.members[3].0;
        for (reason, status) in [("", 422), ("short", 422), ("          x", 422), (REASON, 201)] {
            let body = json!({ "user_id": viewer, "reason": reason, "tenant_id": team.id });
            assert_eq!(operator.post(IMPERSONATE, body).await.status.as_u16(), status, "{reason}");
        }
        for wrong in [json!({ "minutes": 61 }), json!({ "minutes": 0 }), json!({ "lifetime": 9999 })] {
            let mut body = json!({ "user_id": viewer, "reason": REASON });
            body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            operator.post(IMPERSONATE, body).await.expect(422);
        }
        let body = json!({ "user_id": viewer, "reason": REASON, "tenant_id": team.id });
        let tokens = operator.post(IMPERSONATE, body).await.expect(201).json();
        let acting = team.app.client_with_token(tokens["access_token"].as_str().unwrap());
        let me = acting.get(ME).await.expect(200).json();
        assert_eq!((&me["id"], &me["impersonated_by"]), (&json!(viewer), &json!(boss.user)));
        assert_eq!(me["permissions"], json!(["*:read"]), "the rights of the user and no more");
        acting.get(USERS).await.expect(403);
        acting.post(IMPERSONATE, json!({ "user_id": team.members[0].0, "reason": REASON })).await.expect(403);
        // The user's list of sessions does not contain the impersonation.
        let sessions = team.viewer().get("/api/v1/app/auth/sessions").await.expect(200).json();
        assert_eq!(sessions["items"].as_array().unwrap().len(), 1);

        acting.delete("/api/v1/app/impersonation").await.expect(204);
        acting.get(ME).await.expect(401);
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        team.app.anonymous().post("/api/v1/public/auth/refresh", refresh).await.expect(401);
        operator.delete("/api/v1/app/impersonation").await.expect_error(409, "NOT_IMPERSONATING");
        operator.get(USERS).await.expect(200);
    }

    async fn what_nobody_does_in_another_ones_name(database: TestDatabase) {
        let team = Team::start(database).await;
        let (boss, first) = operator(&team.app, "boss@example.com").await;
        let (other, second) = operator(&team.app, "other@example.com").await;
        for user in [other.user, boss.user] {
            let body = json!({ "user_id": user, "reason": REASON });
            first.post(IMPERSONATE, body).await.expect_error(403, "IMPERSONATION_REFUSED");
        }
        let acting = impersonate(&team.app, &first, team.members[0].0).await;
        let key = json!({ "name": "robot", "scopes": ["*:read"] });
        acting.post("/api/v1/app/api-keys", key).await.expect_error(403, "IMPERSONATION_REFUSED");
        acting.delete(team.path("")).await.expect_error(403, "IMPERSONATION_REFUSED");
        let token = json!({ "token": "omi_" });
        acting.post("/api/v1/app/invitations/accept", token).await.expect_error(403, "IMPERSONATION_REFUSED");
        let to = json!({ "user_id": team.members[1].0 });
        acting.post(team.path("/transfer"), to).await.expect_error(403, "IMPERSONATION_REFUSED");
        // The audit entry names both the operator and the user.
        acting.patch(team.path(""), json!({ "name": "Acme Ltd" })).await.expect(200);
        let list = second.get(format!("{LOGS}?actor={}&action=team.changed", boss.user)).await.expect(200).json();
        let details = &list["items"][0]["details"];
        assert_eq!(details["on_behalf_of"], json!(team.members[0].0));
        assert_eq!(details["after"]["name"], "Acme Ltd");
        assert_eq!(details["address"], "127.0.0.1");
        assert!(details["request_id"].is_string());
        let began = second.get(format!("{LOGS}?action=impersonation.started&tenant=app")).await.expect(200).json();
        assert_eq!(began["items"][0]["details"]["reason"], REASON);

        // An impersonation ends when the operator is demoted, or when the user becomes an operator.
        second.patch(format!("{USERS}/{}", boss.user), json!({ "operator": false })).await.expect(200);
        acting.get(ME).await.expect(401);
        let acting = impersonate(&team.app, &second, team.members[3].0).await;
        acting.get(ME).await.expect(200);
        second.patch(format!("{USERS}/{}", team.members[3].0), json!({ "operator": true })).await.expect(200);
        acting.get(ME).await.expect(401);
    }

    async fn it_ends_by_itself(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, operator) = operator(&team.app, "boss@example.com").await;
        let body = json!({ "user_id": team.members[3].0, "reason": REASON, "minutes": 5 });
        let tokens = operator.post(IMPERSONATE, body).await.expect(201).json();
        let acting = team.app.client_with_token(tokens["access_token"].as_str().unwrap());
        team.app.clock().advance(Duration::from_secs(5 * 60 - 1));
        acting.get(ME).await.expect(200);
        team.app.clock().advance(Duration::from_secs(1));
        acting.get(ME).await.expect(401);
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        team.app.anonymous().post("/api/v1/public/auth/refresh", refresh).await.expect(401);
    }

    async fn every_sign_in_is_exported_with_its_address_and_request(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, operator) = operator(&team.app, "boss@example.com").await;
        let post = async |path: &str, body: Value| {
            let request = team.app.anonymous().post(format!("/api/v1/public/auth/{path}"), body);
            request.header("x-request-id", format!("request-of-{path}")).header("user-agent", "acme-cli/2.1").await
        };
        let (email, password) = ("ada@example.com", "correct horse battery");
        post("register", json!({ "email": email, "password": password })).await.expect(202);
        let token = team.token().await;
        post("verify-email", json!({ "token": token, "password": password })).await.expect(204);
        post("login", json!({ "email": email, "password": "wrong donkey accumulator" })).await.expect(401);
        post("login", json!({ "email": "nobody@example.com", "password": password })).await.expect(401);
        let tokens = post("login", json!({ "email": email, "password": password })).await.expect(200).json();
        let ada = team.app.client_with_token(tokens["access_token"].as_str().unwrap());
        ada.post(format!("{ME}/export"), json!({})).header("x-request-id", "request-of-export").await.expect(200);
        ada.delete("/api/v1/app/auth/sessions").header("x-request-id", "request-of-sessions").await.expect_ok();

        let csv = operator.get(format!("{LOGS}/export?format=csv&action=account.")).await.expect(200).text();
        for (action, path, times) in [
            ("account.registered", "register", 1),
            ("account.email_verified", "verify-email", 1),
            ("account.sign_in_failed", "login", 2),
            ("account.signed_in", "login", 1),
            ("account.exported", "export", 1),
            ("account.sessions_ended", "sessions", 1),
        ] {
            let cells = format!(",127.0.0.1,request-of-{path},");
            let lines: Vec<_> = csv.lines().filter(|line| line.contains(&format!(",{action},"))).collect();
            assert!(lines.len() == times && lines.iter().all(|line| line.contains(&cells)), "{action}: {lines:?}");
        }
        let jsonl = operator.get(format!("{LOGS}/export?format=jsonl&action=account.signed_in")).await.expect(200).text();
        let entry: Value = serde_json::from_str(jsonl.trim()).unwrap();
        let details = &entry["details"];
        let told = [&details["address"], &details["request_id"], &details["user_agent"], &details["how"]];
        assert_eq!(told, ["127.0.0.1", "request-of-login", "acme-cli/2.1", "password"]);
    }

    async fn the_audit_log_is_exported_and_verified(database: TestDatabase) {
        let team = Team::start(database).await;
        let (_, operator) = operator(&team.app, "boss@example.com").await;
        for number in 0..120 {
            team.owner().patch(team.path(""), json!({ "name": format!("=Acme, {number}") })).await.expect(200);
        }
        let csv = operator.get(format!("{LOGS}/export?format=csv&tenant={}&action=team.changed", team.id)).await.expect(200);
        assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
        let lines: Vec<_> = csv.text().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 121);
        assert!(lines[0].starts_with("at,tenant,sequence,actor,on_behalf_of,action"));
        assert!(lines[1].contains("team.changed") && lines[1].contains("127.0.0.1"));
        let jsonl = operator.get(format!("{LOGS}/export?format=jsonl&tenant={}", team.id)).await.expect(200);
        let entries: Vec<Value> = jsonl.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((entries.len(), &entries[0]["sequence"], &entries[120]["sequence"]), (121, &json!(121), &json!(1)));
        for wrong in ["", "format=xml", "format=csv&limit=3", "format=csv&tenant=x"] {
            operator.get(format!("{LOGS}/export?{wrong}")).await.expect_error(422, "VALIDATION_FAILED");
        }

        let verified = operator.get(format!("{LOGS}/verify")).await.expect(200).json();
        assert_eq!(verified["intact"], true);
        let entries: Vec<_> = verified["items"].as_array().unwrap().iter().map(|chain| chain["entries"].as_u64()).collect();
        assert!(entries.len() == 2 && entries.contains(&Some(121)), "the app's own chain and the team's: {verified}");
        // An attacker with access to the database.
        let mut tx = team.app.db().all_tenants().begin().await.unwrap();
        let off = omnistack_core::db::Sql {
            postgres: "alter table omni_audit_entries disable trigger omni_audit_entries_update",
            sqlite: "drop trigger omni_audit_entries_update",
        };
        tx.query(off).execute().await.unwrap();
        let sql = "update omni_audit_entries set action = 'nothing.happened' where sequence = 7";
        tx.query(sql).execute().await.unwrap();
        tx.commit().await.unwrap();
        let verified = operator.get(format!("{LOGS}/verify?tenant={}", team.id)).await.expect(200).json();
        assert_eq!((&verified["intact"], &verified["items"][0]["intact"]), (&json!(false), &json!(false)));
        assert!(verified["items"][0]["problem"].as_str().unwrap().contains('7'));
    }
}
