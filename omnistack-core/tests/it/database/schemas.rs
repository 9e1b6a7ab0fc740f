//! Tests of a resource whose table is in a schema of its own. On SQLite, `main` is the schema of the database's file.

use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crud::{self, Column, Resource, RowValues},
    db::{Migration, Sql},
    id::Id,
    module::{Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

const UMBRELLAS: &str = "/api/v1/app/umbrellas";

/// The module of the resource.
struct Umbrellas;

impl Module for Umbrellas {
    fn name(&self) -> &'static str {
        "umbrellas"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .migrations(&[Migration { name: "0001_umbrellas", postgres: POSTGRES, sqlite: SQLITE }])
            .resource(Mount::app("/umbrellas"), crud::resource::<Umbrella>().limited_by_plan().publish_changes());
    }
}

const POSTGRES: &str = "
create schema main;
create table main.umbrellas (
    id uuid primary key, tenant_id uuid not null, name text not null, found boolean not null default false,
    created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz
);
create index umbrellas_by_creation on main.umbrellas (tenant_id, created_at, id);
select omnistack_protect('main.umbrellas');
select omnistack_search('main.umbrellas', 'name');";

const SQLITE: &str = "
create table main.umbrellas (
    id blob primary key, tenant_id blob not null, name text not null, found integer not null default 0,
    created_at text not null, updated_at text not null, deleted_at text
) strict;
create index main.umbrellas_by_creation on umbrellas (tenant_id, created_at, id);
select omnistack_search('main.umbrellas', 'name');";

/// Inserts older umbrellas, more than are searched without the search index.
const FILL: Sql = Sql {
    postgres: "insert into main.umbrellas (id, tenant_id, name, created_at, updated_at)
        select gen_random_uuid(), $1, 'Umbrella ' || n, timestamptz '2029-01-01' + n * interval '1 second', '2029-01-01'
        from generate_series(1, 2500) as n",
    sqlite: "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 2500)
        insert into umbrellas (id, tenant_id, name, created_at, updated_at)
        select randomblob(16), $1, 'Umbrella ' || n,
        strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1861920000 + n, 'unixepoch'), '2029-01-01T00:00:00.000000Z' from numbers",
};

/// A lost umbrella.
#[derive(Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
struct Umbrella {
    id: Id<Umbrella>,
    name: String,
    found: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct NewUmbrella {
    name: String,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct UmbrellaChange {
    found: Option<bool>,
}

impl Resource for Umbrella {
    const NAME: &'static str = "umbrella";
    const TABLE: &'static str = "main.umbrellas";
    const COLUMNS: &'static [Column] = &[Column::text("name").searchable(), Column::boolean("found").filterable()];
    type Create = NewUmbrella;
    type Update = UmbrellaChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewUmbrella, fields: &mut RowValues) {
        fields.set("name", new.name);
    }

    fn update(change: UmbrellaChange, fields: &mut RowValues) {
        fields.set_if_some("found", change.found);
    }
}

async fn list(caller: &TestClient, query: &str) -> Value {
    caller.get(format!("{UMBRELLAS}?{query}")).await.expect(200).json()
}

async fn names(caller: &TestClient, query: &str) -> Vec<Value> {
    list(caller, query).await["items"].as_array().unwrap().iter().map(|umbrella| umbrella["name"].clone()).collect()
}

on_each_database! {
    async fn a_table_in_a_schema_of_its_own_works_like_any_other(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Umbrellas)).await;
        let caller = app.user();
        let new = caller.post(UMBRELLAS, json!({"name": "Black, of Ida"})).await.expect(201).json();
        let one = format!("{UMBRELLAS}/{}", new["id"].as_str().unwrap());
        assert_eq!(caller.get(&one).await.expect(200).json(), new);
        assert_eq!(caller.patch(&one, json!({"found": true})).await.expect(200).json()["found"], true);
        app.user().get(&one).await.expect(404);

        // A short list, and then one that needs the search index.
        for is_long in [false, true] {
            if is_long {
                let tenant = caller.identity().unwrap().tenant.unwrap();
                let mut tx = app.db().tenant(tenant).begin().await.unwrap();
                tx.query(FILL).bind(tenant).execute().await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(list(&caller, "page=1").await["total"], 2501);
                assert_eq!(names(&caller, "q=umbrella&limit=2").await, ["Umbrella 2500", "Umbrella 2499"]);
                assert_eq!(names(&caller, "q=ella+7&sort=created_at&limit=1").await, ["Umbrella 7"]);
                assert_eq!(names(&caller, "q=ella+17&found=false&created_at_lt=2029-01-01T00:02:00Z").await, ["Umbrella 17"]);
                assert_eq!(names(&caller, "q=ella+1234").await, ["Umbrella 1234"]);
            } else {
                assert_eq!(list(&caller, "page=1").await["total"], 1);
                assert_eq!(names(&caller, "").await, ["Black, of Ida"]);
            }
            for query in ["q=ida", "q=k,", "q=IDA&found=true", "q=black&sort=-created_at", "found=true", "q=ida&page_size=1"] {
                assert_eq!(names(&caller, query).await, ["Black, of Ida"], "{query}");
                let separator = if query.contains("page") { "" } else { "&page=1" };
                let page = list(&caller, &format!("{query}{separator}")).await;
                assert_eq!((&page["total"], &page["total_is_estimate"]), (&json!(1), &json!(false)), "{query}");
            }
            assert!(names(&caller, "q=ida&found=false").await.is_empty());
        }

        if let Some(pool) = app.db().postgres() {
            assert!(app.app().unprotected_tables().await.unwrap().is_empty());
            sqlx::query("alter table main.umbrellas no force row level security").execute(pool).await.unwrap();
            let found = app.app().unprotected_tables().await.unwrap();
            assert_eq!(found.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["main.umbrellas"]);
            sqlx::query("alter table main.umbrellas force row level security").execute(pool).await.unwrap();
        }

        caller.delete(&one).await.expect(204);
        assert!(names(&caller, "q=ida").await.is_empty());
        assert_eq!(names(&caller, "q=ida&deleted=only").await, ["Black, of Ida"]);
        caller.request(http::Method::POST, format!("{one}/restore")).await.expect(200);
        assert_eq!(names(&caller, "q=ida").await, ["Black, of Ida"]);
    }
}
