//! Tests of the operations that API keys and impersonating operators can call: every operation of the OpenAPI
//! document is tried, and all but those listed here must be rejected.

use std::collections::BTreeMap;

use omnistack_core::http::Method;
use omnistack_testkit::{TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{
    admin::operator,
    isolation::{UNKNOWN_ID, document, everything, existing_ids, filled},
    operations::{Operation, operations},
    teams::Team,
};

/// The method and path of an operation, and the reason why it is allowed.
type Allowed = (&'static str, &'static str, &'static str);

/// The operations that an API key without scopes can call.
const ALLOWED_FOR_API_KEYS: [Allowed; 4] = [
    ("GET", "/api/v1/app/users/me", "a program learns in whose name and where it calls"),
    ("GET", "/api/v2/app/users/me", "the same in version 2"),
    ("GET", "/api/v1/app/teams", "of the teams, the one the key is for"),
    ("GET", "/api/v1/app/tenants/current", "the team the key is for"),
];

/// The operations that an operator can call while impersonating a team's owner.
const ALLOWED_WHILE_IMPERSONATING: [Allowed; 23] = [
    ("GET", "/api/v1/app/users/me", "says that an operator acts as the user"),
    ("GET", "/api/v2/app/users/me", "the same in version 2"),
    ("DELETE", "/api/v1/app/impersonation", "ends it"),
    ("GET", "/api/v1/app/tenants/current", "looks"),
    ("PUT", "/api/v1/app/tenants/current", "chooses a tenant for the impersonation alone"),
    ("GET", "/api/v1/app/teams", "looks"),
    ("GET", "/api/v1/app/teams/{id}", "looks"),
    ("PATCH", "/api/v1/app/teams/{id}", "renames; gives no rights"),
    ("GET", "/api/v1/app/teams/{id}/activity", "looks"),
    ("GET", "/api/v1/app/teams/{id}/members", "looks"),
    ("DELETE", "/api/v1/app/teams/{id}/members/{user}", "takes rights; gives none"),
    ("GET", "/api/v1/app/teams/{id}/roles", "looks"),
    ("DELETE", "/api/v1/app/teams/{id}/roles/{name}", "takes rights; gives none"),
    ("GET", "/api/v1/app/teams/{id}/invitations", "looks"),
    ("DELETE", "/api/v1/app/teams/{id}/invitations/{invitation}", "takes rights; gives none"),
    ("GET", "/api/v1/app/api-keys", "looks; secrets are not shown"),
    ("GET", "/api/v1/app/api-keys/{id}", "looks; the secret is not shown"),
    ("GET", "/api/v1/app/notes", "the team's data"),
    ("POST", "/api/v1/app/notes", "the team's data"),
    ("GET", "/api/v1/app/notes/{id}", "the team's data"),
    ("PATCH", "/api/v1/app/notes/{id}", "the team's data"),
    ("DELETE", "/api/v1/app/notes/{id}", "the team's data"),
    ("POST", "/api/v1/app/notes/{id}/restore", "the team's data"),
];

/// The path prefixes of operations that don't authenticate the caller.
const UNAUTHENTICATED_PREFIXES: [&str; 6] =
    ["/api/v1/public/", "/api/v2/public/", "/.well-known/", "/health", "/openapi", "/docs"];

const REFUSALS: [&str; 5] =
    ["API_KEY_REFUSED", "IMPERSONATION_REFUSED", "PERMISSION_DENIED", "FORBIDDEN", "NOT_IMPERSONATING"];

fn is_refused(answer: &TestResponse) -> bool {
    let code = || answer.json()["error"]["code"].as_str().map(str::to_owned);
    matches!(answer.status.as_u16(), 403 | 409) && code().is_some_and(|code| REFUSALS.contains(&code.as_str()))
}

/// Returns every operation that authenticates its caller, in this order: reads, changes, deletions, restores, and
/// last the end of an impersonation.
fn guarded(document: &Value, id: &str) -> Vec<Operation> {
    let all = operations(document, "/", id);
    let mut guarded: Vec<_> =
        all.into_iter().filter(|one| !UNAUTHENTICATED_PREFIXES.iter().any(|open| one.path.starts_with(open))).collect();
    let rank = |one: &Operation| match one.method {
        _ if one.path.ends_with("/impersonation") => 4,
        _ if one.path.ends_with("/restore") => 3,
        Method::GET => 0,
        Method::DELETE => 2,
        _ => 1,
    };
    guarded.sort_by_key(rank);
    guarded
}

/// Tries every operation and returns those that were not rejected, each with the path of its request.
async fn tried(
    team: &Team,
    client: &TestClient,
    things: &BTreeMap<&str, String>,
    allowed: &[Allowed],
) -> Vec<(Method, String)> {
    let (document, tenant) = (document(team).await, team.id.to_string());
    let (mut reached, mut wrong, mut count) = (Vec::new(), Vec::new(), 0);
    let mut listed: Vec<_> = allowed.iter().map(|(method, path, _)| (*method, *path)).collect();
    for operation in guarded(&document, &tenant) {
        let (path, what) = (filled(&operation, things), (operation.method.as_str(), operation.path.as_str()));
        let answer = operation.send(client, &path).await;
        let at = listed.iter().position(|one| *one == what);
        match (at.map(|at| listed.remove(at)), answer.status.is_success()) {
            (Some(_), true) => reached.push((operation.method.clone(), path)),
            (None, _) if is_refused(&answer) => {}
            _ => wrong.push(format!("{} {}: {} {}", what.0, what.1, answer.status, answer.text())),
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "neither refused nor listed with its reason:\n{}", wrong.join("\n"));
    assert!(listed.is_empty(), "listed, and not there: {listed:?}");
    assert!(count >= 80, "{count} operations were tried");
    reached
}

/// Returns a value for every parameter, including those of operators.
async fn all_things(team: &Team) -> BTreeMap<&'static str, String> {
    let mut things = existing_ids(team).await;
    for name in ["users", "tenants", "jobs", "queues", "events", "suppressions"] {
        things.entry(name).or_insert_with(|| UNKNOWN_ID.to_owned());
    }
    things
}

on_each_database! {
    async fn what_a_key_without_a_scope_reaches(database: TestDatabase) {
        let team = everything(database).await;
        let things = all_things(&team).await;
        let key = json!({ "name": "idle", "scopes": ["tenant:read"] });
        let tenant = team.id.to_string();
        let key = team.owner().post("/api/v1/app/api-keys", key).header("x-tenant-id", &tenant).await.expect(201).json();
        let mut tx = team.app.db().all_tenants().begin().await.unwrap();
        tx.query("update omni_api_keys set scopes = '' where name = 'idle'").execute().await.unwrap();
        tx.commit().await.unwrap();
        let robot = team.app.client_with_token(key["secret"].as_str().unwrap());
        let before = team.owner().get("/api/v1/app/auth/sessions").await.expect(200).json();
        let reached = tried(&team, &robot, &things, &ALLOWED_FOR_API_KEYS).await;
        assert!(reached.iter().all(|(method, _)| *method == Method::GET), "it changes nothing: {reached:?}");
        assert_eq!(team.owner().get("/api/v1/app/auth/sessions").await.expect(200).json(), before);
    }

    async fn what_an_operator_who_acts_as_an_owner_reaches(database: TestDatabase) {
        let team = everything(database).await;
        let things = all_things(&team).await;
        let (boss, operator) = operator(&team.app, "boss@example.com").await;
        let body = json!({ "user_id": team.members[0].0, "tenant_id": team.id, "reason": "asked for help in ticket 4711" });
        let tokens = operator.post("/api/v1/admin/impersonate", body).await.expect(201).json();
        let acting = team.app.client_with_token(tokens["access_token"].as_str().unwrap());
        let reached = tried(&team, &acting, &things, &ALLOWED_WHILE_IMPERSONATING).await;

        // Every change is recorded under both names.
        let (mut recorded, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("actor={}&action=impersonation.request&limit=100{cursor}", boss.user);
            let page = operator.get(format!("/api/v1/admin/audit-logs?{query}")).await.expect(200).json();
            recorded.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        for (method, path) in reached.iter().filter(|(method, _)| *method != Method::GET) {
            let of_it = |entry: &&Value| entry["details"]["method"] == method.as_str() && entry["details"]["path"] == *path;
            let entry = recorded.iter().find(of_it).unwrap_or_else(|| panic!("{method} {path} left no entry"));
            assert_eq!(entry["details"]["on_behalf_of"], json!(team.members[0].0), "{entry}");
            assert_eq!(entry["details"]["address"], "127.0.0.1", "{entry}");
        }
        assert!(recorded.iter().all(|entry| entry["details"]["method"] != "GET"));
    }
}
