//! Tests of the rows of tables in exports of tenants.

#![cfg(test)]

use omnistack_core::{
    db::{Arguments, Db, FromRow, Sql},
    identity::TenantId,
    module::{Module, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize, FromRow)]
struct MoonRecord {
    planet: String,
    number: i64,
    facts: StoredJson,
}

impl ExportRow for MoonRecord {
    const SELECT: &'static str = "select planet, number, facts from moons where tenant_id = $1";
    const KEY: &'static [&'static str] = &["planet", "number"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.planet.clone());
        values.push(self.number);
    }
}

struct Moons;

impl Module for Moons {
    fn name(&self) -> &'static str {
        "moons"
    }

    fn register(&self, registry: &mut Registry) {
        registry.tenant_export_table::<MoonRecord>("moons", |ctx| ctx.get::<Db>());
    }
}

/// Inserts the moons 1 to `last` of a planet.
async fn insert(app: &TestApp, tenant: TenantId, planet: &'static str, last: i64) {
    let sql = r#"with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 1001)
        insert into moons (tenant_id, planet, number, facts)
        select $1, $2, n, '{"round":[true]}' from numbers where n <= $3"#;
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    tx.query(sql).bind(tenant).bind(planet).bind(last).execute().await.unwrap();
    tx.commit().await.unwrap();
}

on_each_database! {
    async fn all_pages_of_a_table_are_in_the_export_of_its_tenant(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Moons)).await;
        let table = Sql {
            postgres: "create table moons (tenant_id uuid not null, planet text not null, number bigint not null,
                facts text not null, primary key (tenant_id, planet, number))",
            sqlite: "create table moons (tenant_id blob not null, planet text not null, number integer not null,
                facts text not null, primary key (tenant_id, planet, number)) strict",
        };
        app.db().query(table).execute().await.unwrap();
        let tenant = || app.user().identity().unwrap().tenant.unwrap();
        let (alice, bob, carol) = (tenant(), tenant(), tenant());
        insert(&app, alice, "Jupiter", 1001).await;
        insert(&app, alice, "Saturn", 499).await;
        insert(&app, bob, "Jupiter", 2).await;

        // Three whole pages, of which the third has the moons of two planets.
        let rows = app.exported_rows(alice).await.remove("moons").unwrap();
        let moon = |planet: &str, number: i64| {
            let facts = json!({ "round": [true] });
            json!({ "planet": planet, "number": number, "facts": facts })
        };
        let of_jupiter = (1..=1001).map(|number| moon("Jupiter", number));
        let expected: Vec<_> = of_jupiter.chain((1..=499).map(|number| moon("Saturn", number))).collect();
        assert_eq!(rows.len(), expected.len());
        assert!(rows == expected, "{rows:?}");
        assert_eq!(app.exported_rows(bob).await["moons"], [moon("Jupiter", 1), moon("Jupiter", 2)]);
        assert!(app.exported_rows(carol).await["moons"].is_empty());
    }
}
