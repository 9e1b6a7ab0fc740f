//! Tests of callers whose accounts are in a table of the app, with ids of each kind.

use http::request::Parts;
use omnistack_core::{
    async_trait,
    db::Db,
    http::{Error, Json},
    id::Uuid,
    identity::{Authenticate, Authenticator, Identity, Permissions, TenantId, UserId, bearer_token},
    module::{Api, Mount},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::support::module;

/// The kinds of ids of an existing table. Each table has the columns `token`, `id` and `team`.
#[derive(Clone, Copy, Debug)]
enum IdKind {
    Number,
    Text,
    Uuid,
}

const NUMBERS: &str = "create table people (token text not null, id bigint not null, team bigint not null)";
const TEXTS: &str = "create table people (token text not null, id text not null, team text not null)";
const ADA: &str = "7b2d3c58-6c1c-4c7e-9a57-1a2b3c4d5e6f";
const TEAM: &str = "5d1f0a3e-0b52-4f65-8f0c-998877665544";

/// Authenticates callers by the table.
struct OwnAccounts(Db, IdKind);

#[async_trait]
impl Authenticate for OwnAccounts {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        let select = self.0.query("select id, team from people where token = $1").bind(token.to_owned());
        let found: Option<(UserId, TenantId)> = match self.1 {
            IdKind::Number => {
                let found: Option<(i64, i64)> = select.fetch_optional().await?;
                found.map(|(id, team)| (UserId::from_number(id), TenantId::from_number(team)))
            }
            IdKind::Text => {
                let found: Option<(String, String)> = select.fetch_optional().await?;
                found.map(|(id, team)| (UserId::from_text(&id), TenantId::from_text(&team)))
            }
            IdKind::Uuid => {
                let found: Option<(Uuid, Uuid)> = select.fetch_optional().await?;
                found.map(|(id, team)| (UserId::from_uuid(id), TenantId::from_uuid(team)))
            }
        };
        let (user, tenant) = found.ok_or_else(|| Error::unauthorized("sign in again"))?;
        Ok(Some(Identity::user(user).for_tenant(tenant).with_permissions(Permissions::all())))
    }
}

async fn start(database: TestDatabase, kind: IdKind) -> TestApp {
    TestApp::start_with_auth(database, |app| {
        app.with(module("people", move |registry| {
            let db = registry.provided::<Db>().unwrap();
            let me = |caller: Identity| async move { Json((caller.user, caller.tenant)) };
            registry.provide(Authenticator::new(OwnAccounts(db, kind))).routes(
                Mount::app("/me"),
                Api::new().hidden("/", axum::routing::get(me)),
                |_| Ok(()),
            );
        }))
    })
    .await
}

/// Signs the only person of the table in, and returns the ids of the person and of the team.
async fn me(app: &TestApp) -> (UserId, TenantId) {
    app.anonymous().get("/api/v1/app/me").await.expect_error(401, "UNAUTHORIZED");
    app.client_with_token("eve").get("/api/v1/app/me").await.expect_error(401, "UNAUTHORIZED");
    app.client_with_token("ada").get("/api/v1/app/me").await.expect(200).json_as()
}

on_each_database! {
    async fn people_may_have_numbers(database: TestDatabase) {
        let app = start(database, IdKind::Number).await;
        app.db().query(NUMBERS).execute().await.unwrap();
        app.db().query("insert into people (token, id, team) values ('ada', 7, 9)").execute().await.unwrap();
        let (user, tenant) = me(&app).await;
        assert_eq!((user.number(), tenant.number()), (Some(7), Some(9)));
        assert_eq!(user.to_string(), "00000000-0000-8000-8000-000000000007");
    }

    async fn people_may_have_texts(database: TestDatabase) {
        let app = start(database, IdKind::Text).await;
        app.db().query(TEXTS).execute().await.unwrap();
        app.db().query("insert into people (token, id, team) values ('ada', 'clx2k7p9a', 'acme')").execute().await.unwrap();
        let (user, tenant) = me(&app).await;
        assert_eq!((user, tenant), (UserId::from_text("clx2k7p9a"), TenantId::from_text("acme")));
        // Stored by apps that must find the person again: the id of a text is always the same.
        assert_eq!(user.to_string(), UserId::from_text("clx2k7p9a").to_string());
    }

    async fn people_may_have_uuids(database: TestDatabase) {
        let app = start(database, IdKind::Uuid).await;
        let table = omnistack_core::db::Sql {
            postgres: "create table people (token text not null, id uuid not null, team uuid not null)",
            sqlite: "create table people (token text not null, id blob not null, team blob not null)",
        };
        app.db().query(table).execute().await.unwrap();
        let (ada, team): (Uuid, Uuid) = (ADA.parse().unwrap(), TEAM.parse().unwrap());
        let insert = app.db().query("insert into people (token, id, team) values ('ada', $1, $2)");
        insert.bind(ada).bind(team).execute().await.unwrap();
        let (user, tenant) = me(&app).await;
        assert_eq!((user.uuid(), tenant.uuid()), (ada, team));
    }
}
