//! Tests of statements with many rows of values.

use std::sync::{Arc, Mutex};

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BulkInsert, Db, Dialect, ErrorKind, QueryEvent, QueryObserver, Sql},
    id::Id,
    identity::TenantId,
};
use omnistack_testkit::{TestDatabase, on_each_database};

static INSERT: BulkInsert<2> = BulkInsert::new("insert into squares (root, square) values", "");
static INSERT_NEW: BulkInsert<2> =
    BulkInsert::new("insert into squares (root, square) values", "on conflict (root) do nothing returning root");
/// The roots of these squares that are stored.
static FIND: BulkInsert<2> = BulkInsert::new(
    "select squares.root from (values",
    ") as given join squares on squares.root = given.column1 and squares.square = given.column2
    where given.column1 > 0 order by squares.root",
);

/// A table with a column of each type of values.
const CREATE_KINDS: Sql = Sql {
    postgres: "create table kinds (number bigint, small integer, share double precision, is_on boolean, name text,
        bytes bytea, tenant uuid, at timestamptz)",
    sqlite: "create table kinds (number bigint, small integer, share double precision, is_on boolean, name text,
        bytes blob, tenant blob, at text)",
};
static INSERT_KINDS: BulkInsert<8> =
    BulkInsert::new("insert into kinds (number, small, share, is_on, name, bytes, tenant, at) values", "");

#[derive(Clone, Debug, Default, PartialEq, omnistack_core::db::FromRow)]
struct Kinds {
    number: Option<i64>,
    small: Option<i32>,
    share: Option<f64>,
    is_on: Option<bool>,
    name: Option<String>,
    bytes: Option<Vec<u8>>,
    tenant: Option<TenantId>,
    at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Inserts(Arc<Mutex<usize>>);

impl QueryObserver for Inserts {
    fn observe(&self, event: QueryEvent<'_>) {
        *self.0.lock().unwrap() += usize::from(event.sql.starts_with("insert into squares"));
    }
}

async fn squares(database: &TestDatabase) -> Db {
    let db = database.open_db();
    let create = "create table squares (root bigint primary key, square bigint not null)";
    db.query(create).execute().await.unwrap();
    db
}

/// Inserts the squares of these roots. Returns the roots that were not known.
async fn insert_new(db: &Db, roots: &[i64]) -> Vec<i64> {
    let mut tx = db.begin().await.unwrap();
    let stored = INSERT_NEW.fetch_all::<(i64,), _>(&mut tx, roots, |row, root| {
        row.push(*root);
        row.push(root * root);
    });
    let stored = stored.await.unwrap();
    tx.commit().await.unwrap();
    let mut stored: Vec<_> = stored.into_iter().map(|(root,)| root).collect();
    stored.sort_unstable();
    stored
}

async fn stored(db: &Db) -> Vec<(i64, i64)> {
    db.query("select root, square from squares order by root").fetch_all().await.unwrap()
}

on_each_database! {
    async fn any_number_of_rows_takes_few_statements(database: TestDatabase) {
        let db = squares(&database).await;
        let inserts = Inserts::default();
        db.observe(inserts.clone());
        let mut all = Vec::new();
        for (size, on_sqlite, on_postgres) in [(0, 0, 0), (1, 1, 1), (3, 3, 1), (5, 2, 1), (300, 6, 1), (1_300, 7, 2)] {
            let statements = if db.dialect() == Dialect::Sqlite { on_sqlite } else { on_postgres };
            let first = i64::try_from(all.len()).unwrap();
            let roots: Vec<i64> = (first..first + size).collect();
            assert_eq!(insert_new(&db, &roots).await, roots, "{size} rows");
            assert_eq!(std::mem::take(&mut *inserts.0.lock().unwrap()), statements, "{size} rows");
            all.extend(roots.into_iter().map(|root| (root, root * root)));
        }
        assert_eq!(stored(&db).await, all);
    }

    async fn conflicts_follow_the_text_after_the_rows(database: TestDatabase) {
        let db = squares(&database).await;
        assert_eq!(insert_new(&db, &[1, 2, 2, 3]).await, [1, 2, 3]);
        assert_eq!(insert_new(&db, &[3, 4, 1, 5, 2]).await, [4, 5]);
        let mut tx = db.begin().await.unwrap();
        let bind = |row: &mut Arguments, root: &i64| {
            row.push(*root);
            row.push(root * root);
        };
        assert_eq!(INSERT.execute(&mut tx, &[6, 7, 8, 9, 10], bind).await.unwrap(), 5);
        let conflict = INSERT.execute(&mut tx, &[11, 1], bind).await.unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Unique);
        drop(tx);
        assert_eq!(stored(&db).await.len(), 5, "the transaction was rolled back");
    }

    async fn a_query_joins_rows_to_a_table(database: TestDatabase) {
        let db = squares(&database).await;
        let known: Vec<i64> = (1..=300).collect();
        insert_new(&db, &known).await;
        let mut tx = db.begin().await.unwrap();
        let given: Vec<(i64, i64)> = (-10..600).map(|root| (root, if root % 2 == 0 { root * root } else { 0 })).collect();
        let found = FIND.fetch_all::<(i64,), _>(&mut tx, &given, |row, (root, square)| {
            row.push(*root);
            row.push(*square);
        });
        let found: Vec<i64> = found.await.unwrap().into_iter().map(|(root,)| root).collect();
        assert_eq!(found, known.into_iter().filter(|root| root % 2 == 0).collect::<Vec<_>>());
    }

    async fn values_of_all_types_and_nulls_are_stored(database: TestDatabase) {
        let db = database.open_db();
        db.query(CREATE_KINDS).execute().await.unwrap();
        let at: Timestamp = "2030-01-31T12:00:00.000001Z".parse().unwrap();
        let full = Kinds {
            number: Some(i64::MIN),
            small: Some(-1),
            share: Some(0.5),
            is_on: Some(true),
            name: Some("a \"quoted\", {listed} and \\ name".to_owned()),
            bytes: Some(vec![0, 255, 39]),
            tenant: Some(Id::new(at)),
            at: Some(at),
        };
        let empty = Kinds { name: Some(String::new()), bytes: Some(vec![]), ..Kinds::default() };
        // The type of a column is known also if its first value is null.
        let rows = [Kinds::default(), full, empty];
        let mut tx = db.begin().await.unwrap();
        let inserted = INSERT_KINDS.execute(&mut tx, &rows, |args, row| {
            args.push(row.number);
            args.push(row.small);
            args.push(row.share);
            args.push(row.is_on);
            args.push(row.name.clone());
            args.push(row.bytes.clone());
            args.push(row.tenant);
            args.push(row.at);
        });
        assert_eq!(inserted.await.unwrap(), 3);
        let stored: Vec<Kinds> = tx.query("select * from kinds").fetch_all().await.unwrap();
        assert_eq!(stored, rows);
        tx.commit().await.unwrap();
    }

    async fn another_number_of_values_than_columns_is_an_error(database: TestDatabase) {
        let db = squares(&database).await;
        for values in [0, 1, 3] {
            let mut tx = db.begin().await.unwrap();
            let inserted = INSERT.execute(&mut tx, &[1_i64, 2, 3, 4, 5], |row, root| {
                for _ in 0..values {
                    row.push(*root);
                }
            });
            assert_eq!(inserted.await.unwrap_err().kind(), ErrorKind::Other, "{values} values");
        }
        assert!(stored(&db).await.is_empty());
    }
}
