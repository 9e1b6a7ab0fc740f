//! Compares `Db` with plain sqlx, on both databases: `cargo xtask bench db`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]

use std::time::{Duration, Instant};

use omnistack_core::db::Db;
use omnistack_testkit::TestDatabase;
use sqlx::{PgPool, SqlitePool};

const ONE: &str = "select id, name, size from items where id = $1";
const MANY: &str = "select id, name, size from items order by id limit 1000";

#[derive(omnistack_core::db::FromRow)]
#[expect(dead_code, reason = "the row is read as in a handler, and dropped")]
struct Item {
    id: i64,
    name: String,
    size: i64,
}

enum Plain {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin db -->\n\n### `Db` over plain sqlx\n");
        println!("Time per query, alternating between plain sqlx and `Db` on the same connection, medians. The target is under 3 %.\n");
        println!("| query | plain sqlx | `Db` | more |\n|---|---:|---:|---:|");
        for database in [TestDatabase::sqlite(), TestDatabase::postgres()] {
            measure(&database).await;
        }
        println!("\n<!-- end db -->");
    });
}

async fn measure(database: &TestDatabase) {
    let db = database.open_db();
    db.query("create table items (id bigint primary key, name text not null, size bigint not null)")
        .execute()
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    for id in 0..1000_i64 {
        let insert = tx.query("insert into items (id, name, size) values ($1, $2, $3)");
        insert.bind(id).bind(format!("item {id}")).bind(id * 7).execute().await.unwrap();
    }
    tx.commit().await.unwrap();
    // Both use the same connections. Another connection has another server process, which may run on a faster core.
    let (plain, name) = match (db.postgres(), db.sqlite_readers()) {
        (Some(pool), _) => (Plain::Postgres(pool.clone()), "PostgreSQL"),
        (None, readers) => (Plain::Sqlite(readers.unwrap().clone()), "SQLite"),
    };
    for (what, queries, many) in [("one row", 20_000, false), ("1,000 rows", 1_000, true)] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for query in 0..queries {
            let id = query % 1000;
            // Each of the two goes first equally often.
            if query % 2 == 0 {
                without.push(time(plain_query(&plain, many, id)).await);
                with.push(time(db_query(&db, many, id)).await);
            } else {
                with.push(time(db_query(&db, many, id)).await);
                without.push(time(plain_query(&plain, many, id)).await);
            }
        }
        let (without, with) = (median(without), median(with));
        let more = 100.0 * (with.as_secs_f64() / without.as_secs_f64() - 1.0);
        println!("| {name}, {what} | {without:.2?} | {with:.2?} | {more:+.1} % |");
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn time(query: impl Future<Output = usize>) -> Duration {
    let before = Instant::now();
    assert!(query.await > 0);
    before.elapsed()
}

async fn db_query(db: &Db, many: bool, id: i64) -> usize {
    if many {
        db.query(MANY).fetch_all::<Item>().await.unwrap().len()
    } else {
        db.query(ONE).bind(id).fetch_all::<Item>().await.unwrap().len()
    }
}

async fn plain_query(plain: &Plain, many: bool, id: i64) -> usize {
    match (plain, many) {
        (Plain::Postgres(pool), true) => sqlx::query_as::<_, Item>(MANY).fetch_all(pool).await.unwrap().len(),
        (Plain::Postgres(pool), false) => sqlx::query_as::<_, Item>(ONE).bind(id).fetch_all(pool).await.unwrap().len(),
        (Plain::Sqlite(pool), true) => sqlx::query_as::<_, Item>(MANY).fetch_all(pool).await.unwrap().len(),
        (Plain::Sqlite(pool), false) => sqlx::query_as::<_, Item>(ONE).bind(id).fetch_all(pool).await.unwrap().len(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
