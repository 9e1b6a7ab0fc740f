//! Tests of statements that insert many rows.

use std::sync::{Arc, Mutex};

use omnistack_core::db::{Arguments, BulkInsert, Db, ErrorKind, QueryEvent, QueryObserver};
use omnistack_testkit::{TestDatabase, on_each_database};

static INSERT: BulkInsert<2> = BulkInsert::new("insert into squares (root, square) values", "");
static INSERT_NEW: BulkInsert<2> =
    BulkInsert::new("insert into squares (root, square) values", "on conflict (root) do nothing returning root");

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
        for (size, statements) in [(0, 0), (1, 1), (3, 3), (5, 2), (300, 6)] {
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
