//! Nobody reaches another tenant: by any route of the app's own description, and by no query.

use std::collections::BTreeMap;

use omnistack_core::{db::Dialect, http::Method};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::teams::Team;

/// A value a schema describes, as small as it may be.
fn sample(document: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return sample(document, &document["components"]["schemas"][name.rsplit('/').next().unwrap()]);
    }
    if let Some(any) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return any.iter().map(|one| sample(document, one)).find(|value| !value.is_null()).unwrap_or_default();
    }
    if let Some(all) = schema["allOf"].as_array() {
        let parts = all.iter().filter_map(|one| sample(document, one).as_object().cloned());
        return parts.flatten().collect::<serde_json::Map<_, _>>().into();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let names = schema["required"].as_array().cloned().unwrap_or_default();
            let field = |name: Value| {
                let value = sample(document, &schema["properties"][name.as_str().unwrap()]);
                (name.as_str().unwrap().to_owned(), value)
            };
            names.into_iter().map(field).collect::<serde_json::Map<_, _>>().into()
        }
        Some("array") => json!([sample(document, &schema["items"])]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        _ => match schema["format"].as_str() {
            Some("uuid") => json!("01900000-0000-7000-8000-000000000000"),
            Some("email") => json!("somebody@example.com"),
            Some("date-time") => json!("2031-01-01T00:00:00Z"),
            // A permission, a role and a name all have this form.
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("a-z")) => json!("viewer"),
            _ => json!("tenant:read and so on"),
        },
    }
}

/// Every operation of the app's signed-in callers: method, path and body.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.contains("/app/") {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            if !operation.is_object() || !operation["responses"].is_object() {
                continue;
            }
            let mut body = sample(document, &operation["requestBody"]["content"]["application/json"]["schema"]);
            if body.get("permissions").is_some() {
                body["permissions"] = json!(["tenant:read"]);
            }
            if body.get("scopes").is_some() {
                body["scopes"] = json!(["tenant:read"]);
            }
            if body.get("role").is_some() {
                body["role"] = json!("viewer");
            }
            all.push((method, path.clone(), body));
        }
    }
    all
}

on_each_database! {
    async fn no_route_lets_a_stranger_into_a_tenant(database: TestDatabase) {
        let team = Team::start(database).await;
        let document = team.app.anonymous().get("/openapi.json").await.expect(200).json();
        let invite = json!({ "email": "new@example.com", "role": "viewer" });
        let invitation = team.owner().post(team.path("/invitations"), invite).await.expect(201).json();
        let role = json!({ "name": "auditor", "permissions": ["activity:read"] });
        team.owner().post(team.path("/roles"), role).await.expect(201);
        let session = team.owner().get("/api/v1/app/auth/sessions").await.expect(200).json();
        // Things of the team, or of its owner, that are there: what stands in for each parameter, by the path before it.
        let mut things: BTreeMap<&str, String> = BTreeMap::from([
            ("teams", team.id.to_string()),
            ("members", team.members[3].0.to_string()),
            ("invitations", invitation["id"].as_str().unwrap().to_owned()),
            ("roles", "auditor".to_owned()),
            ("sessions", session["items"][0]["id"].as_str().unwrap().to_owned()),
        ]);
        more_things(&team, &mut things).await;
        let (mut by_id, mut by_header) = (0, 0);
        let tenant = team.id.to_string();
        for (method, path, body) in operations(&document) {
            let send = |path: &str| {
                let request = team.stranger.1.request(method.clone(), path);
                if body.is_null() { request } else { request.json(&body) }
            };
            let mut filled = Vec::new();
            let mut before = "";
            for part in path.split('/') {
                filled.push(if part.starts_with('{') {
                    let thing = things.get(before);
                    thing.unwrap_or_else(|| panic!("no thing stands in for {part} of {path}: name one in this test")).as_str()
                } else {
                    part
                });
                before = part;
            }
            let filled = filled.join("/");
            // For a tenant they are no member of, whatever it is about.
            let answer = send(&filled).header("x-tenant-id", &tenant).await;
            answer.expect_error(403, "NOT_A_MEMBER");
            by_header += 1;
            if path.contains('{') {
                let answer = send(&filled).await;
                assert!(matches!(answer.status.as_u16(), 403 | 404), "{method} {filled}: {} {}", answer.status, answer.text());
                by_id += 1;
            }
        }
        assert!(by_id >= 18 && by_header >= 25, "{by_id} and {by_header} routes were tried");
        // Nothing happened.
        assert_eq!(team.owner().get(team.path("/members")).await.expect(200).json()["items"].as_array().unwrap().len(), 4);
    }

    async fn a_query_that_forgets_its_where_returns_nothing_of_others(database: TestDatabase) {
        let team = Team::start(database).await;
        let invite = json!({ "email": "new@example.com", "role": "viewer" });
        team.owner().post(team.path("/invitations"), invite).await.expect(201);
        let role = json!({ "name": "auditor", "permissions": ["activity:read"] });
        team.owner().post(team.path("/roles"), role).await.expect(201);
        let key = json!({ "name": "robot", "scopes": ["*:read"] });
        team.owner().post("/api/v1/app/api-keys", key).await.expect(201);
        if team.app.db().dialect() != Dialect::Postgres {
            // There the `where` alone isolates.
            return;
        }
        let other = team.stranger.1.get("/api/v1/app/tenants/current").await.expect(200).json();
        let other = other["id"].as_str().unwrap().parse().unwrap();
        let tables: Vec<(String,)> = team.app.db().query(
            "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid \
             where a.attname = 'tenant_id' and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace \
             and (not c.relrowsecurity or not c.relforcerowsecurity) order by 1",
        ).fetch_all().await.unwrap();
        let unguarded: Vec<_> = tables.iter().map(|(name,)| name.as_str()).collect();
        // A session is its user's, whichever tenant it has chosen; the outbox is read by its job, and says for whom it sent.
        assert_eq!(unguarded, ["email_messages", "sessions"], "tables with a tenant and without a policy");

        for (sql, own) in [
            ("select count(*) from members", 1),
            ("select count(*) from roles", 0),
            ("select count(*) from invitations", 0),
            ("select count(*) from api_keys", 0),
        ] {
            let mut tx = team.app.db().tenant(other).read().await.unwrap();
            let (seen,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
            assert_eq!(seen, own, "{sql}");
            let (seen,): (i64,) = team.app.db().query(sql).fetch_one().await.unwrap();
            assert_eq!(seen, 0, "{sql}, without a tenant");
        }
        let mut tx = team.app.db().tenant(other).begin().await.unwrap();
        assert_eq!(tx.query("update members set role = 'owner'").execute().await.unwrap(), 1, "only their own");
        assert_eq!(tx.query("delete from invitations").execute().await.unwrap(), 0);
    }
}

/// What rooms built later add.
async fn more_things(team: &Team, things: &mut BTreeMap<&'static str, String>) {
    let key = json!({ "name": "robot", "scopes": ["*:read"] });
    let key = team.owner().post("/api/v1/app/api-keys", key).await.expect(201).json();
    things.insert("api-keys", key["id"].as_str().unwrap().to_owned());
    let passkey = "01900000-0000-7000-8000-00000000000a";
    let sql = "insert into passkeys (id, user_id, credential_id, credential, name, created_at) \
               select $1, id, $2, '{}', 'Laptop', created_at from users where id = $3";
    let insert = team.app.db().query(sql).bind(passkey.parse::<uuid::Uuid>().unwrap()).bind(vec![1_u8]);
    assert_eq!(insert.bind(team.members[0].0).execute().await.unwrap(), 1);
    things.insert("passkeys", passkey.to_owned());
}
