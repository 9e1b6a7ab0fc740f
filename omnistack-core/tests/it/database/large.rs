//! Tests of lists with many rows: bounded counts and searches.

use std::time::Duration;

use omnistack_core::{
    db::{ErrorKind, Sql},
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::shelf::{BOOKS, Shelf};

const FILL: Sql = Sql {
    postgres: "insert into books (id, tenant_id, code, title, note, created_at, updated_at)
        select gen_random_uuid(), $1, n::text, 'Volume ' || n, case n when 1 then 'a needle, 100% \"steel\"' end,
        timestamptz '2029-01-01' + n * interval '1 second', '2029-01-01' from generate_series(1, $2) as n",
    sqlite: "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < $2)
        insert into books (id, tenant_id, code, title, note, created_at, updated_at)
        select randomblob(16), $1, n, 'Volume ' || n, case n when 1 then 'a needle, 100% \"steel\"' end,
        strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1861920000 + n, 'unixepoch'), '2029-01-01T00:00:00.000000Z' from numbers",
};

async fn fill(app: &TestApp, caller: &TestClient, rows: i64) {
    let tenant: TenantId = caller.identity().unwrap().tenant.unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    tx.query(FILL).bind(tenant).bind(rows).execute().await.unwrap();
    tx.commit().await.unwrap();
}

async fn found(caller: &TestClient, query: &str) -> Vec<Value> {
    let answer = caller.get(format!("{BOOKS}?{query}")).await.expect(200).json();
    answer["items"].as_array().unwrap().iter().map(|book| book["code"].clone()).collect()
}

on_each_database! {
    async fn rows_are_counted_up_to_a_limit(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (caller, other) = (app.user(), app.user());
        fill(&app, &caller, 10_000).await;
        let count = async |query: &str| {
            let page = caller.get(format!("{BOOKS}?{query}")).await.expect(200).json();
            (page["total"].clone(), page["total_is_estimate"].clone(), page["items"].as_array().unwrap().len())
        };
        assert_eq!(count("page=1").await, (json!(10_000), json!(false), 20));
        caller.post(BOOKS, json!({"code": "more", "title": "Volume more"})).await.expect(201);
        assert_eq!(count("page=1").await, (json!(10_000), json!(true), 20));
        assert_eq!(count("page=500").await, (json!(10_000), json!(true), 20));
        assert_eq!(count("page=1&q=volume").await, (json!(10_000), json!(true), 20));
        assert_eq!(count("page=1&q=needle").await, (json!(1), json!(false), 1));
        assert_eq!(count("page=2&q=needle").await, (json!(1), json!(false), 0));
        assert_eq!(count("page=1&title=Volume+7,Volume+8").await, (json!(2), json!(false), 2));
        assert_eq!(other.get(format!("{BOOKS}?page=1")).await.expect(200).json()["total"], 0);
    }

    async fn a_text_is_found_by_its_index_as_it_is_now(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (caller, other) = (app.user(), app.user());
        fill(&app, &caller, 3000).await;
        fill(&app, &other, 2500).await;
        for query in ["q=needle", "q=NEEDLE", "q=eed", "q=0%25+%22st", "q=needle&sort=title", "q=needle&created_at_lt=2030-01-01T00:00:00Z"] {
            assert_eq!(found(&caller, query).await, [json!("1")], "{query}");
        }
        for query in ["q=needles", "q=100%25%25", "q=edl_", "q=needle&deleted=only", "q=needle&title=x", "q=ne%22dle"] {
            assert!(found(&caller, query).await.is_empty(), "{query}");
        }
        // The word is too short for trigrams.
        assert_eq!(found(&caller, "q=,").await, [json!("1")]);
        // For a common word, the newest rows come first.
        assert_eq!(found(&caller, "q=volume&limit=2").await, [json!("3000"), json!("2999")]);

        let book = caller.get(format!("{BOOKS}?q=needle")).await.expect(200).json()["items"][0].clone();
        let one = format!("{BOOKS}/{}", book["id"].as_str().unwrap());
        caller.patch(&one, json!({"note": "a thimble"})).await.expect(200);
        assert!(found(&caller, "q=needle").await.is_empty());
        assert_eq!(found(&caller, "q=thimble").await, [json!("1")]);
        assert_eq!(found(&caller, "q=lume+1&sort=created_at&limit=1").await, [json!("1")]);
        caller.delete(&one).await.expect(204);
        assert!(found(&caller, "q=thimble").await.is_empty());
        assert_eq!(found(&caller, "q=thimble&deleted=include").await, [json!("1")]);
        assert_eq!(found(&other, "q=needle").await, [json!("1")], "the other tenant's is its own");

        // Removing a row removes it from the index.
        let mut tx = app.db().all_tenants().begin().await.unwrap();
        tx.query("delete from books").execute().await.unwrap();
        let (left,): (i64,) = tx.query("select count(*) from books_search").fetch_one().await.unwrap();
        assert_eq!(left, 0);
        tx.commit().await.unwrap();
    }

    async fn a_short_list_is_searched_without_an_index(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (caller, other) = (app.user(), app.user());
        fill(&app, &caller, 2001).await;
        fill(&app, &other, 3).await;
        app.db().query("drop table books_search").execute().await.unwrap();
        // 2,000 of the rows.
        let short = "created_at_lte=2029-01-01T00:33:20Z";
        let searches: [(&str, &[&str]); 4] = [("q=needle", &["1"]), ("q=,", &["1"]), ("q=lume+2000", &["2000"]), ("q=nowhere", &[])];
        for (search, codes) in searches {
            for sort in ["created_at", "-title"] {
                let query = format!("{search}&{short}&sort={sort}");
                assert_eq!(found(&caller, &query).await, codes, "{query}");
                for (page, items) in [(1, codes.len()), (2, 0)] {
                    let page = caller.get(format!("{BOOKS}?{query}&page={page}")).await.expect(200).json();
                    let counted = (&page["total"], &page["total_is_estimate"], page["items"].as_array().unwrap().len());
                    assert_eq!(counted, (&json!(codes.len()), &json!(false), items), "{query}");
                }
            }
        }
        let page = caller.get(format!("{BOOKS}?q=volume&{short}&page=100")).await.expect(200).json();
        assert_eq!((&page["total"], &page["items"][19]["code"]), (&json!(2000), &json!("1")));
        // The rest of the list after a cursor is short.
        let page = caller.get(format!("{BOOKS}?q=volume&limit=1")).await.expect(200);
        assert_eq!(page.json()["items"][0]["code"], "2001");
        let rest = page.next_link().unwrap().replace("q=volume", "q=needle");
        assert_eq!(caller.get(rest).await.expect(200).json()["items"][0]["code"], "1");
        assert_eq!(found(&other, "q=needle").await, [json!("1")]);
        assert!(found(&caller, "q=needle&deleted=only").await.is_empty());
    }

    async fn a_statement_ends_at_its_limit_and_the_connection_goes_on(database: TestDatabase) {
        let db = crate::database::open_with(&database, [("DATABASE_MAX_CONNECTIONS", "1")]);
        let endless = "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n > 0 and n < 1000000000)
            select count(*) from numbers";
        for _ in 0..2 {
            let mut tx = db.begin_read().await.unwrap();
            tx.set_statement_timeout(Duration::from_millis(50)).await.unwrap();
            let refused = tx.query(endless).fetch_one::<(i64,)>().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Timeout, "{refused}");
            tx.rollback().await.unwrap();
            let mut tx = db.begin_read().await.unwrap();
            let counted = endless.replace("1000000000", "300000");
            let (counted,): (i64,) = tx.query(sqlx::AssertSqlSafe(counted)).fetch_one().await.unwrap();
            assert_eq!(counted, 300_000);
            tx.commit().await.unwrap();
        }
    }
}
