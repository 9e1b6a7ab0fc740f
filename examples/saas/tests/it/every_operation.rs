//! Tests of every operation of the app, from its OpenAPI document, so that new operations are tested too: who is rejected,
//! and what an API key without scopes and an operator who acts as a user can call.

#![cfg(test)]

use std::collections::BTreeSet;

use http::Method;
use omnistack::auth::users::{NewUser, Users};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest, TestResponse, on_each_database};
use serde_json::{Value, json};

use self::operations::{Operation, operations};
use crate::disabled_webhook::{sign_in, user};

#[path = "../../../../omnistack-auth/tests/it/operations.rs"]
mod operations;

const TEAMS: &str = "/api/v1/app/teams";
const KEYS: &str = "/api/v1/app/api-keys";

/// An id of nothing.
const UNKNOWN_ID: &str = "01900000-0000-7000-8000-000000000000";

/// The beginnings of the paths of operations that don't authenticate the caller, or that a setting opens.
const OPEN_PREFIXES: [&str; 6] =
    ["/api/v1/public/", "/api/v2/public/", "/.well-known/", "/health", "/metrics", "/openapi"];

/// Receives the commands of a connection whose session is in the body. A request without a credential is accepted.
const EMULATION: &str = "/api/v1/app/emulation";

/// The codes of rejections.
const REFUSALS: [&str; 5] =
    ["API_KEY_REFUSED", "IMPERSONATION_REFUSED", "PERMISSION_DENIED", "FORBIDDEN", "NOT_IMPERSONATING"];

/// The operations that an API key without scopes can call, with the reason.
const ALLOWED_FOR_API_KEYS: [(&str, &str, &str); 9] = [
    ("GET", "/api/v1/app/users/me", "a program learns in whose name and where it calls"),
    ("GET", "/api/v2/app/users/me", "the same in version 2"),
    ("GET", "/api/v1/app/teams", "of the teams, the one the key is for"),
    ("GET", "/api/v1/app/tenants/current", "the team the key is for"),
    ("GET", "/api/v1/app/feature-flags", "the flags of the caller, without their rules"),
    ("GET", "/api/v1/app/feature-flags/{key}", "a flag of the caller, without its rules"),
    ("GET", "/api/v1/app/services/{name}/health", "the state of a service of the app"),
    ("POST", "/api/v1/app/ws/ticket", "opens a connection as the key; channels have rules of their own"),
    ("POST", EMULATION, "the session in the body is the credential"),
];

/// The reading operations that an operator can't call while impersonating a user: what is personal.
const PERSONAL_READS: [&str; 11] = [
    "/api/v1/app/auth/mfa",
    "/api/v1/app/auth/passkeys",
    "/api/v1/app/auth/sessions",
    "/api/v1/app/exports",
    "/api/v1/app/exports/{id}",
    "/api/v1/app/notifications",
    "/api/v1/app/notifications/preferences",
    "/api/v1/app/notifications/unread-count",
    "/api/v2/app/auth/mfa",
    "/api/v2/app/auth/passkeys",
    "/api/v2/app/auth/sessions",
];

/// The changes that an operator can make while impersonating the owner of a team, with the reason.
const ALLOWED_WHILE_IMPERSONATING: [(&str, &str, &str); 44] = [
    ("POST", "/api/v1/app/ai/chat", "uses a model, as the user does"),
    ("POST", "/api/v1/app/ai/chat/routed", "uses a model, as the user does"),
    ("POST", "/api/v1/app/ai/completions", "uses a model, as the user does"),
    ("DELETE", "/api/v1/app/ai/prompt-log", "deletes; grants nothing"),
    ("POST", "/api/v1/app/billing/change-preview", "looks"),
    ("PUT", "/api/v1/app/billing/details", "the team's data"),
    ("POST", EMULATION, "the session in the body is the credential"),
    ("POST", "/api/v1/app/files", "the team's data"),
    ("POST", "/api/v1/app/files/uploads", "the team's data"),
    ("POST", "/api/v1/app/files/{id}/confirm", "the team's data"),
    ("PUT", "/api/v1/app/files/{id}/tags", "the team's data"),
    ("DELETE", "/api/v1/app/files/{id}", "the team's data"),
    ("POST", "/api/v1/app/files/{id}/restore", "the team's data"),
    ("POST", "/api/v1/app/fixes/results", "the team's data"),
    ("POST", "/api/v1/app/fixes/generate/{result_id}", "proposes; approval is for the user in person"),
    ("DELETE", "/api/v1/app/impersonation", "ends it"),
    ("POST", "/api/v1/app/live/counts", "the team's data"),
    ("POST", "/api/v1/app/live/mentions", "the team's data"),
    ("POST", "/api/v1/app/payments/{id}/resolve", "asks the provider for the outcome; moves no money"),
    ("POST", "/api/v1/app/projects", "the team's data"),
    ("PATCH", "/api/v1/app/projects/{id}", "the team's data"),
    ("DELETE", "/api/v1/app/projects/{id}", "the team's data"),
    ("POST", "/api/v1/app/projects/{id}/restore", "the team's data"),
    ("POST", "/api/v1/app/services/{name}/credentials/{environment}/test", "asks the provider; changes nothing"),
    ("PATCH", "/api/v1/app/teams/{id}", "renames; gives no rights"),
    ("DELETE", "/api/v1/app/teams/{id}/invitations/{invitation}", "takes rights; gives none"),
    ("DELETE", "/api/v1/app/teams/{id}/members/{user}", "takes rights; gives none"),
    ("DELETE", "/api/v1/app/teams/{id}/roles/{name}", "takes rights; gives none"),
    ("PUT", "/api/v1/app/tenants/current", "chooses a tenant for the impersonation alone"),
    ("POST", "/api/v1/app/vector", "the team's data"),
    ("POST", "/api/v1/app/vector/search", "looks"),
    ("DELETE", "/api/v1/app/vector/{collection}", "the team's data"),
    ("POST", "/api/v1/app/vector/{collection}/search", "looks"),
    ("POST", "/api/v1/app/vector/{collection}/documents", "the team's data"),
    ("DELETE", "/api/v1/app/vector/{collection}/documents/{id}", "the team's data"),
    ("PUT", "/api/v1/app/vector/{collection}/points", "the team's data"),
    ("POST", "/api/v1/app/vector/{collection}/points/delete", "the team's data"),
    ("DELETE", "/api/v1/app/vector/{collection}/points/{id}", "the team's data"),
    ("POST", "/api/v1/app/webhooks/deliveries/{id}/retry", "sends again to an endpoint of the team"),
    ("DELETE", "/api/v1/app/webhooks/endpoints/{id}", "deletes; grants nothing"),
    ("POST", "/api/v1/app/webhooks/endpoints/{id}/recover", "sends again to an endpoint of the team"),
    ("POST", "/api/v1/app/webhooks/endpoints/{id}/replay", "sends again to an endpoint of the team"),
    ("POST", "/api/v1/app/webhooks/test", "sends an example to an endpoint of the team"),
    ("POST", "/api/v1/app/ws/ticket", "opens a connection that ends with the impersonation"),
];

/// Signs a new operator in.
pub(crate) async fn operator(app: &TestApp, email: &str) -> TestClient {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.operator = true;
    sign_in(app, users.create(new).await.unwrap()).await
}

/// A team with an owner and ids of things of the team.
struct Team {
    app: TestApp,
    owner: TestClient,
    owner_id: String,
    id: String,
    invitation: String,
}

impl Team {
    async fn start(database: TestDatabase) -> Self {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let ada = user(&app, "ada@example.com").await;
        let owner = sign_in(&app, ada).await;
        let team = owner.post(TEAMS, json!({ "name": "Moon" })).await.expect(201).json();
        let id = team["id"].as_str().unwrap().to_owned();
        let role = json!({ "name": "auditor", "permissions": ["activity:read"] });
        owner.post(format!("{TEAMS}/{id}/roles"), role).header("x-tenant-id", &id).await.expect(201);
        let invitation = json!({ "email": "new@example.com", "role": "viewer" });
        let invitation = owner.post(format!("{TEAMS}/{id}/invitations"), invitation).header("x-tenant-id", &id);
        let invitation = invitation.await.expect(201).json()["id"].as_str().unwrap().to_owned();
        Self { app, owner, owner_id: ada.user.to_string(), id, invitation }
    }

    /// Returns every operation that authenticates its caller, in this order: reads, changes, deletions, restores, and
    /// last the end of an impersonation. Ids in bodies are that of the team.
    async fn operations(&self) -> Vec<Operation> {
        let document = self.app.anonymous().get("/openapi.json").await.expect(200).json();
        let mut all = operations(&document, "/", &self.id);
        all.retain(|operation| !OPEN_PREFIXES.iter().any(|open| operation.path.starts_with(open)));
        all.sort_by_key(|operation| match operation.method {
            _ if operation.path.ends_with("/impersonation") => 4,
            _ if operation.path.ends_with("/restore") => 3,
            Method::GET => 0,
            Method::DELETE => 2,
            _ => 1,
        });
        assert!(all.len() > 350, "{} operations", all.len());
        all
    }

    /// Returns a request of an operation, with ids of the team's things, or of nothing.
    fn request(&self, number: usize, operation: &Operation, client: &TestClient) -> TestRequest {
        let path = operation.path_with(|before| match before {
            "teams" => self.id.as_str(),
            "members" => self.owner_id.as_str(),
            "invitations" => self.invitation.as_str(),
            "roles" => "auditor",
            "credentials" => "test",
            _ => UNKNOWN_ID,
        });
        operation.send(client, &path).header("idempotency-key", format!("request-{number}"))
    }
}

/// Returns the code of an error, in capitals: APIs in the form of OpenAI's have small letters. Returns an empty text for
/// other responses.
fn code(response: &TestResponse) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    body["error"]["code"].as_str().unwrap_or_default().to_ascii_uppercase()
}

fn is_refused(response: &TestResponse) -> bool {
    matches!(response.status.as_u16(), 403 | 409) && REFUSALS.contains(&code(response).as_str())
}

fn name_of(operation: &Operation) -> String {
    format!("{} {} ({})", operation.method, operation.path, operation.description["operationId"])
}

/// Asserts that no operation was called against the rules, and that each operation of the list was.
fn assert_listed(wrong: &[String], reached: &BTreeSet<(String, String)>, allowed: &[(&str, &str, &str)]) {
    assert!(wrong.is_empty(), "neither rejected nor listed with a reason:\n{}", wrong.join("\n"));
    let listed = allowed.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    let unreached: Vec<_> = listed.filter(|one| !reached.contains(one)).collect();
    assert!(unreached.is_empty(), "listed, and rejected or missing: {unreached:?}");
}

on_each_database! {
    async fn callers_without_the_right_are_rejected(database: TestDatabase) {
        let team = Team::start(database).await;
        let (anonymous, forged) = (team.app.anonymous(), team.app.client_with_token("eyJhbGciOiJub25lIn0.e30."));
        let eve = sign_in(&team.app, user(&team.app, "eve@example.com").await).await;
        let key = json!({ "name": "robot", "scopes": ["*:read", "*:write"] });
        let key = eve.post(KEYS, key).await.expect(201).json();
        let robot = team.app.client_with_token(key["secret"].as_str().unwrap());
        let mut wrong = Vec::new();
        for (number, operation) in team.operations().await.iter().enumerate() {
            let mut expect = |who: &str, response: &TestResponse, is_right: bool| {
                if !is_right {
                    wrong.push(format!("{who}: {} {} {}", name_of(operation), response.status, response.text()));
                }
            };
            for (who, client) in [("anonymous", &anonymous), ("forged token", &forged)] {
                if who == "anonymous" && operation.path == EMULATION {
                    continue;
                }
                let response = team.request(number, operation, client).await;
                expect(who, &response, response.status == 401);
            }
            // A member of another tenant, as a user and with an API key. Neither is an operator.
            for (who, client) in [("stranger", &eve), ("API key", &robot)] {
                let request = team.request(number, operation, client);
                let response = request.header("x-tenant-id", &team.id).await;
                let is_not_a_member = operation.path.contains("/admin/") || code(&response) == "NOT_A_MEMBER";
                expect(who, &response, response.status == 403 && is_not_a_member);
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    async fn an_api_key_without_scopes_changes_nothing(database: TestDatabase) {
        let team = Team::start(database).await;
        let key = json!({ "name": "idle", "scopes": ["tenant:read"] });
        let key = team.owner.post(KEYS, key).header("x-tenant-id", &team.id).await.expect(201).json();
        let mut tx = team.app.db().all_tenants().begin().await.unwrap();
        tx.query("update omni_api_keys set scopes = '' where name = 'idle'").execute().await.unwrap();
        tx.commit().await.unwrap();
        let robot = team.app.client_with_token(key["secret"].as_str().unwrap());

        let (mut wrong, mut reached) = (Vec::new(), BTreeSet::new());
        for (number, operation) in team.operations().await.iter().enumerate() {
            let response = team.request(number, operation, &robot).await;
            if is_refused(&response) {
                continue;
            }
            let (method, path) = (operation.method.as_str(), operation.path.as_str());
            if !ALLOWED_FOR_API_KEYS.iter().any(|one| (one.0, one.1) == (method, path)) {
                wrong.push(format!("{}: {} {}", name_of(operation), response.status, response.text()));
            }
            reached.insert((method.to_owned(), path.to_owned()));
        }
        assert_listed(&wrong, &reached, &ALLOWED_FOR_API_KEYS);
    }

    async fn an_impersonating_operator_grants_nothing(database: TestDatabase) {
        let team = Team::start(database).await;
        let boss = operator(&team.app, "boss@example.com").await;
        let body = json!({ "user_id": team.owner_id, "tenant_id": team.id, "reason": "asked for help in ticket 4711" });
        let tokens = boss.post("/api/v1/admin/impersonate", body).await.expect(201).json();
        let acting = team.app.client_with_token(tokens["access_token"].as_str().unwrap());

        let (mut wrong, mut reached) = (Vec::new(), BTreeSet::new());
        let mut personal = BTreeSet::new();
        for (number, operation) in team.operations().await.iter().enumerate() {
            let response = team.request(number, operation, &acting).await;
            let (method, path) = (operation.method.as_str(), operation.path.as_str());
            let reads = operation.method == Method::GET;
            if is_refused(&response) {
                if reads && path.contains("/app/") {
                    personal.insert(path.to_owned());
                }
                continue;
            }
            let listed = ALLOWED_WHILE_IMPERSONATING.iter().any(|one| (one.0, one.1) == (method, path));
            if !(listed || reads && path.contains("/app/")) {
                wrong.push(format!("{}: {} {}", name_of(operation), response.status, response.text()));
            }
            reached.insert((method.to_owned(), path.to_owned()));
        }
        assert_listed(&wrong, &reached, &ALLOWED_WHILE_IMPERSONATING);
        assert_eq!(personal, BTreeSet::from(PERSONAL_READS.map(str::to_owned)));
    }
}
