//! Tests of tenant isolation: no operation of the OpenAPI document and no query reaches another tenant.

use std::collections::BTreeMap;

use omnistack_auth::{Auth, social::Provider};
use omnistack_core::{app::AppBuilder, db::Dialect, http::Method};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    notes::{NOTES, Notes},
    operations::{Operation, operations},
    support::start_app,
    teams::Team,
};

/// Returns the path of an operation with its parameters replaced by ids of existing things, found by the path before
/// each parameter.
pub(crate) fn filled(operation: &Operation, things: &BTreeMap<&str, String>) -> String {
    operation.path_with(|before| {
        let unnamed = || panic!("no thing stands in for the parameter after {before}, {}: name one", operation.path);
        things.get(before).unwrap_or_else(unnamed).as_str()
    })
}

/// Creates a team in an app with all routes of accounts and a resource of tenants.
pub(crate) async fn everything(database: TestDatabase) -> Team {
    let provider = Provider::oidc("acme", "https://id.example.com", "client", "secret");
    let assemble = |app: AppBuilder| {
        let app = app.with(Auth::built_in().sign_in_with(provider)).with(Notes);
        #[cfg(feature = "sms")]
        let app = app.with(omnistack_messaging::sms::Sms::default()).set("AUTH_SMS_CODES", "true");
        app.set("PUBLIC_URL", "https://app.example.com").set("TENANT_DOMAIN", "example.com")
    };
    let (app, outbox) = start_app(database, assemble).await;
    Team::in_app(app, outbox).await
}

/// Returns the app's OpenAPI document.
pub(crate) async fn document(team: &Team) -> Value {
    team.app.anonymous().get("/openapi.json").await.expect(200).json()
}

/// Returns ids of existing things of the team or its owner, by the path before their parameter.
pub(crate) async fn existing_ids(team: &Team) -> BTreeMap<&'static str, String> {
    let (owner, tenant) = (team.owner(), team.id.to_string());
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();
    let made =
        async |path: &str, body: Value| owner.post(path, body).header("x-tenant-id", &tenant).await.expect(201).json();
    let invitation = made(&team.path("/invitations"), json!({ "email": "new@example.com", "role": "viewer" })).await;
    made(&team.path("/roles"), json!({ "name": "auditor", "permissions": ["activity:read"] })).await;
    let key = made("/api/v1/app/api-keys", json!({ "name": "robot", "scopes": ["*:read"] })).await;
    let note = made(NOTES, json!({ "title": "plans" })).await;
    let session = owner.get("/api/v1/app/auth/sessions").await.expect(200).json();
    // The row is inserted directly, because creating a passkey requires a device.
    let passkey = "01900000-0000-7000-8000-00000000000a";
    let sql = "insert into omni_passkeys (id, user_id, credential_id, credential, name, created_at) \
               select $1, id, $2, '{}', 'Laptop', created_at from omni_users where id = $3";
    let insert = team.app.db().query(sql).bind(passkey.parse::<uuid::Uuid>().unwrap()).bind(vec![1_u8]);
    assert_eq!(insert.bind(team.members[0].0).execute().await.unwrap(), 1);
    BTreeMap::from([
        ("teams", tenant.clone()),
        ("members", team.members[3].0.to_string()),
        ("invitations", id(&invitation)),
        ("roles", "auditor".to_owned()),
        ("api-keys", id(&key)),
        ("notes", id(&note)),
        ("sessions", id(&session["items"][0])),
        ("identities", "acme".to_owned()),
        ("passkeys", passkey.to_owned()),
    ])
}

/// Returns the responses of every reading operation to the team's owner.
async fn seen(team: &Team, document: &Value, things: &BTreeMap<&str, String>) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    for operation in operations(document, "/app/", UNKNOWN_ID) {
        if operation.method == Method::GET {
            let path = filled(&operation, things);
            let answer = team.owner().get(&path).header("x-tenant-id", team.id.to_string()).await.expect(200);
            let mut answer = answer.json();
            // The time and the id of the request.
            answer.as_object_mut().unwrap().remove("meta");
            seen.insert(path, answer);
        }
    }
    seen
}

/// An id of nothing.
pub(crate) const UNKNOWN_ID: &str = "01900000-0000-7000-8000-000000000000";

/// Parameters that identify nothing of a tenant or a user, with the reason. All other routes with parameters are tried.
const SHARED_PARAMETERS: [(&str, &str); 1] =
    [("/identities/{provider}", "a provider is the app's; what is linked is the caller's own")];

/// Tables with a tenant column but without a policy, with the reason. All others have one.
const WITHOUT_POLICY: [(&str, &str); 4] = [
    ("omni_events", "the dispatcher hands on those of all; who reads them is no tenant"),
    ("omni_jobs", "workers run those of all, and operators look at them"),
    (
        "omni_sessions",
        "a session is its user's, whichever tenant is chosen; it is found by its id before there is a tenant",
    ),
    ("omni_tenant_databases", "the database of a tenant is looked up before it is opened"),
];

on_each_database! {
    async fn no_route_lets_a_stranger_into_a_tenant(database: TestDatabase) {
        let team = everything(database).await;
        let document = document(&team).await;
        let things = existing_ids(&team).await;
        let before = seen(&team, &document, &things).await;
        let tenant = team.id.to_string();
        let stranger = &team.stranger.1;
        let key = json!({ "name": "robot", "scopes": ["*:read", "*:write"] });
        let key = stranger.post("/api/v1/app/api-keys", key).await.expect(201).json();
        let robot = team.app.client_with_token(key["secret"].as_str().unwrap());
        let (mut by_id, mut by_body, mut by_tenant) = (0, 0, 0);
        for operation in operations(&document, "/app/", &tenant) {
            let path = filled(&operation, &things);
            let what = format!("{} {path}", operation.method);
            // For a tenant of which the caller is not a member: by header, by path, and with an API key.
            operation.send(stranger, &path).header("x-tenant-id", &tenant).await.expect_error(403, "NOT_A_MEMBER");
            operation.send(stranger, &path).header("host", "acme.example.com").await.expect_error(403, "NOT_A_MEMBER");
            let answer = operation.send(&robot, &path).header("x-tenant-id", &tenant).await;
            assert_eq!(answer.status.as_u16(), 403, "{what}: {}", answer.text());
            by_tenant += 1;
            // And for the caller's own tenant, with ids of another tenant.
            let named = operation.path.contains('{') && !SHARED_PARAMETERS.iter().any(|(path, _)| operation.path.contains(path));
            let told = operation.body.to_string().contains(&tenant);
            if named || told {
                let answer = operation.send(stranger, &path).await;
                assert!(matches!(answer.status.as_u16(), 403 | 404), "{what}: {} {}", answer.status, answer.text());
                // Some operations first reject API keys because they require a user.
                let answer = operation.send(&robot, &path).await;
                assert!(matches!(answer.status.as_u16(), 401 | 403 | 404), "{what}: {} {}", answer.status, answer.text());
                by_id += usize::from(named);
                by_body += usize::from(told);
            }
        }
        assert!(by_id >= 24 && by_body >= 2 && by_tenant >= 45, "{by_id}, {by_body} and {by_tenant} routes were tried");
        let after = seen(&team, &document, &things).await;
        for (path, seen) in &before {
            assert_eq!(Some(seen), after.get(path), "{path}: nothing happened");
        }
        assert!(before.len() >= 15, "{}", before.len());
    }

    async fn every_table_of_tenants_has_a_policy(database: TestDatabase) {
        let team = everything(database).await;
        if team.app.db().dialect() != Dialect::Postgres {
            // On SQLite only the `where` clause isolates tenants.
            return;
        }
        let tables: Vec<(String, bool, Option<String>)> = team.app.db().query(
            "select c.relname::text, c.relrowsecurity and c.relforcerowsecurity, \
             (select string_agg(concat(p.qual, ' ', p.with_check), ' ') from pg_policies p \
              where p.schemaname = 'public' and p.tablename = c.relname) \
             from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace and exists ( \
              select from pg_attribute a where a.attrelid = c.oid and a.attname in ('tenant_id', 'tenant') and not a.attisdropped) \
             order by 1",
        ).fetch_all().await.unwrap();
        for (table, on, policies) in &tables {
            let listed = WITHOUT_POLICY.iter().any(|(name, _)| name == table);
            assert_eq!(*on, !listed, "{table}: row-level security, for its owner too");
            // Each policy compares the tenant of the row with that of the transaction.
            let policies = policies.as_deref().unwrap_or_default();
            let asks = ["omnistack_visible(tenant_id)", "omnistack_may_record("].iter().any(|asks| policies.contains(asks));
            assert_eq!(asks, !listed, "{table}: {policies}");
        }
        let names: Vec<_> = tables.iter().map(|(name, ..)| name.as_str()).collect();
        for name in [
            "notes",
            "omni_api_keys",
            "omni_audit_entries",
            "omni_messages",
            "omni_email_templates",
            "omni_invitations",
            "omni_members",
            "omni_roles",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, _) in WITHOUT_POLICY {
            assert!(names.contains(&name), "{name} is listed, and is not there: {names:?}");
        }
    }

    async fn a_query_that_forgets_its_where_returns_nothing_of_others(database: TestDatabase) {
        let team = everything(database).await;
        existing_ids(&team).await;
        team.app.run_jobs().await;
        if team.app.db().dialect() != Dialect::Postgres {
            // On SQLite only the `where` clause isolates tenants.
            return;
        }
        let other = team.stranger.1.get("/api/v1/app/tenants/current").await.expect(200).json();
        let other = other["id"].as_str().unwrap().parse().unwrap();
        for (sql, own) in [
            ("select count(*) from omni_members", 1),
            ("select count(*) from omni_roles", 0),
            ("select count(*) from omni_invitations", 0),
            ("select count(*) from omni_api_keys", 0),
            ("select count(*) from notes", 0),
            ("select count(*) from omni_messages", 0),
        ] {
            let mut tx = team.app.db().tenant(other).begin_read().await.unwrap();
            let (seen,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
            assert_eq!(seen, own, "{sql}");
            let (seen,): (i64,) = team.app.db().query(sql).fetch_one().await.unwrap();
            assert_eq!(seen, 0, "{sql}, without a tenant");
        }
        let mut tx = team.app.db().tenant(other).begin().await.unwrap();
        assert_eq!(tx.query("update omni_members set role = 'owner'").execute().await.unwrap(), 1, "only their own");
        assert_eq!(tx.query("delete from omni_invitations").execute().await.unwrap(), 0);
        assert_eq!(tx.query("delete from notes").execute().await.unwrap(), 0);
    }
}
