//! Tests of rules for every route: routes are read from the OpenAPI document, so that new ones are tested too.

use omnistack_core::{ExposeSecret as _, http::Method};
use omnistack_testkit::{TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    admin::operator,
    isolation::{UNKNOWN_ID, document, everything, existing_ids, filled},
    operations::{Operation, operations},
    support::{sign_in, user},
};

/// The fields that mass assignment attacks target: fields that callers can't set, or only certain callers.
const FIELDS: [&str; 12] = [
    "operator",
    "is_admin",
    "id",
    "tenant_id",
    "owner_id",
    "user_id",
    "role",
    "permissions",
    "email_verified_at",
    "created_at",
    "session_id",
    "redirect_uri",
];

/// Returns whether a method changes something.
fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns the schema of an operation's JSON body, or null if it has none.
fn body_schema<'a>(document: &'a Value, operation: &'a Operation) -> &'a Value {
    let schema = &operation.description["requestBody"]["content"]["application/json"]["schema"];
    match schema["$ref"].as_str() {
        Some(name) => &document["components"]["schemas"][name.rsplit('/').next().unwrap()],
        None => schema,
    }
}

on_each_database! {
    async fn nobody_comes_in_without_being_somebody(database: TestDatabase) {
        let team = everything(database).await;
        let mut things = existing_ids(&team).await;
        things.extend([("users", UNKNOWN_ID.to_owned()), ("tenants", UNKNOWN_ID.to_owned()), ("jobs", UNKNOWN_ID.to_owned())]);
        let document = document(&team).await;
        let (mut tried, forged) = (0, team.app.client_with_token("eyJhbGciOiJub25lIn0.e30."));
        for operation in operations(&document, "/app/", UNKNOWN_ID) {
            let path = filled(&operation, &things);
            operation.send(&team.app.anonymous(), &path).await.expect_error(401, "UNAUTHORIZED");
            operation.send(&forged, &path).await.expect_error(401, "UNAUTHORIZED");
            tried += 1;
        }
        assert!(tried >= 45, "{tried}");
    }

    async fn somebody_elses_page_changes_nothing_by_a_browsers_cookies(database: TestDatabase) {
        let team = everything(database).await;
        let (things, document) = (existing_ids(&team).await, document(&team).await);
        let eve = user(&team.app, "eve@example.com").await;
        let tokens = sign_in(&team.app, eve).await;
        let cookie = format!(
            "__Host-omnistack-access={}; __Host-omnistack-refresh={}",
            tokens.access.expose_secret(),
            tokens.refresh.expose_secret()
        );
        let anonymous = team.app.anonymous();
        anonymous.get(crate::issuers::ME).header("cookie", &cookie).await.expect(200);
        let mut tried = 0;
        for operation in operations(&document, "/app/", UNKNOWN_ID) {
            if !changes(&operation.method) {
                continue;
            }
            let path = filled(&operation, &things);
            for (name, value) in
                [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "same-site"), ("accept", "*/*")]
            {
                let request = operation.send(&anonymous, &path).header("cookie", &cookie).header(name, value);
                request.await.expect_error(403, "CROSS_SITE_REQUEST");
            }
            tried += 1;
        }
        assert!(tried >= 30, "{tried}");
        // With only the cookies nothing happened: the session and the account still exist.
        anonymous.get(crate::issuers::ME).header("cookie", &cookie).await.expect(200);
    }

    async fn no_route_takes_a_field_nobody_asked_for(database: TestDatabase) {
        let team = everything(database).await;
        let mut things = existing_ids(&team).await;
        let (boss, operator) = operator(&team.app, "boss@example.com").await;
        things.extend([("users", boss.user.to_string()), ("tenants", team.id.to_string()), ("jobs", UNKNOWN_ID.to_owned())]);
        let (document, tenant, mut tried) = (document(&team).await, team.id.to_string(), 0);
        let anonymous = team.app.anonymous();
        for (part, client) in [("/app/", team.owner()), ("/admin/", &operator), ("/public/", &anonymous)] {
            for operation in operations(&document, part, UNKNOWN_ID) {
                let schema = body_schema(&document, &operation);
                if schema.is_null() {
                    continue;
                }
                let what = format!("{} {}", operation.method, operation.path);
                assert_eq!(schema["additionalProperties"], false, "{what}: {schema}");
                let path = filled(&operation, &things);
                for field in FIELDS.iter().filter(|field| schema["properties"].get(field).is_none()) {
                    let mut body = operation.body.clone();
                    body[field] = Value::from("https://evil.example");
                    let send = |client: &TestClient| client.request(operation.method.clone(), &path).json(&body);
                    let request = send(client);
                    let request = if part == "/app/" { request.header("x-tenant-id", &tenant) } else { request };
                    let answer = request.await;
                    assert_eq!(answer.status.as_u16(), 422, "{what} with {field}: {}", answer.text());
                    assert_eq!(answer.header("location"), None, "{what}");
                }
                tried += 1;
            }
        }
        assert!(tried >= 30, "{tried}");
    }

    async fn every_route_of_an_account_is_in_version_2_in_its_envelope(database: TestDatabase) {
        let team = everything(database).await;
        let document = document(&team).await;
        let (paths, mut tried) = (document["paths"].as_object().unwrap(), 0);
        for (path, item) in paths {
            // The URLs of OAuth callbacks and webhooks are fixed, with the version.
            let fixed = ["/oauth/", "/webhooks/"].iter().any(|part| path.contains(part));
            let account = ["/api/v1/public/auth/", "/api/v1/app/auth/", "/api/v1/app/users/me"];
            if fixed || !account.iter().any(|start| path.starts_with(start)) {
                continue;
            }
            let second = &paths.get(&path.replace("/v1/", "/v2/")).unwrap_or_else(|| panic!("{path} is in v1 only"));
            for (method, operation) in item.as_object().unwrap() {
                let Some(responses) = operation["responses"].as_object() else { continue };
                let other = &second[method]["responses"];
                for (status, response) in responses.iter().filter(|(status, _)| status.starts_with('2')) {
                    let (before, now) = (&response["content"]["application/json"], &other[status]["content"]["application/json"]);
                    assert_eq!(before.is_null(), now.is_null(), "{method} {path} {status}");
                    let text = now["schema"].to_string();
                    let named = text.contains("Envelope") || (text.contains("\"data\"") && text.contains("MetaBody"));
                    assert!(now.is_null() || named, "{method} {path} {status}: {text}");
                }
                tried += 1;
            }
        }
        assert!(tried >= 30, "{tried}");
        // The responses have the form of version 2.
        let auth = "/api/v2/app/auth";
        for (path, field) in [("/sessions", "items"), ("/mfa", "recovery_codes"), ("/identities", "items")] {
            let answer = team.owner().get(format!("{auth}{path}")).await.expect(200).json();
            assert!(!answer["data"][field].is_null() && answer["meta"]["version"] == "v2", "{path}: {answer}");
            assert!(answer["meta"]["request_id"].is_string(), "{path}: {answer}");
        }
        let answer = team.app.anonymous().post("/api/v2/public/auth/forgot-password", json!({ "email": "a@example.com" }));
        assert!(answer.await.expect(202).json()["data"]["message"].is_string());
        let nothing = team.owner().post("/api/v2/app/auth/mfa/verify", json!({ "code": "1" })).await;
        assert!(nothing.json()["error"]["code"].is_string(), "errors are in their own form");
    }

    async fn no_address_sends_a_browser_elsewhere(database: TestDatabase) {
        let team = everything(database).await;
        for path in [
            "//evil.example",
            "//evil.example/%2e%2e",
            "/%2f%2fevil.example/",
            "/%5cevil.example",
            "/https://evil.example",
            "/api/v1/app/users/me/",
            "/api/v1/public/auth/login?next=https://evil.example",
            "/api/v1/public/auth/logout?redirect_uri=https://evil.example",
        ] {
            for method in [Method::GET, Method::POST] {
                let answer = team.app.anonymous().request(method, path).json(json!({})).await;
                assert!(!answer.status.is_redirection() && answer.header("location").is_none(), "{path}: {}", answer.status);
            }
        }
    }
}
