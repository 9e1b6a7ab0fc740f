//! Tests of the order in which PostgreSQL compares the keys of usage.

use omnistack_testkit::TestDatabase;

use super::start;

/// The text columns of indexes that are compared by the rules of a language, in tables that are joined by their keys.
const OTHER_COLUMNS: &str = "select c.relname::text, a.attname::text from pg_index i join pg_class c on c.oid = i.indrelid
    join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey) join pg_collation l on l.oid = a.attcollation
    where c.relname in ('omni_usage_windows', 'omni_usage_reservations', 'omni_meter_days') and l.collname <> 'C'
    order by 1, 2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_joined_have_one_collation() {
    let app = start(TestDatabase::postgres()).await;
    let columns: Vec<(String, String)> = app.db().query(OTHER_COLUMNS).fetch_all().await.unwrap();
    // With two collations, the join compares by those of windows, and can't use the index of the other table.
    assert!(columns.is_empty(), "{columns:?}");
}
