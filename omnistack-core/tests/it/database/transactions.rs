//! Tests that transactions are atomic and serializable.

use futures_util::future::{join_all, try_join_all};
use omnistack_core::db::{Db, Error, ErrorKind, Sql};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::open_with;

const ADD: &str = "update counter set n = n + 1";

on_each_database! {
    async fn only_a_commit_keeps_changes(database: TestDatabase) {
        let db = counter(&database).await;
        let mut tx = db.begin().await.unwrap();
        tx.query(ADD).execute().await.unwrap();
        let (inside,): (i64,) = tx.query("select n from counter").fetch_one().await.unwrap();
        assert_eq!((inside, read(&db).await), (1, 0), "others don't see it yet");
        tx.commit().await.unwrap();
        assert_eq!(read(&db).await, 1);

        let mut tx = db.begin().await.unwrap();
        tx.query(ADD).execute().await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(read(&db).await, 1);

        let mut tx = db.begin().await.unwrap();
        tx.query(ADD).execute().await.unwrap();
        drop(tx);
        assert_eq!(read(&db).await, 1);
        db.query(ADD).execute().await.unwrap();
        assert_eq!(read(&db).await, 2);
    }

    async fn a_failed_statement_leaves_nothing_of_its_transaction(database: TestDatabase) {
        let db = counter(&database).await;
        let mut tx = db.begin().await.unwrap();
        tx.query(ADD).execute().await.unwrap();
        tx.query("insert into nowhere values (1)").execute().await.unwrap_err();
        drop(tx);
        db.query(ADD).execute().await.unwrap();
        assert_eq!(read(&db).await, 1);
    }

    async fn a_reading_transaction_cannot_write(database: TestDatabase) {
        let db = counter(&database).await;
        let mut tx = db.begin_read().await.unwrap();
        let (before,): (i64,) = tx.query("select n from counter").fetch_one().await.unwrap();
        let refused = tx.query(ADD).execute().await.unwrap_err();
        assert_eq!((before, refused.kind()), (0, ErrorKind::Unavailable), "{refused}");
        drop(tx);
        assert_eq!(read(&db).await, 0);
        db.query(ADD).execute().await.unwrap();
    }

    async fn reading_and_writing_do_not_wait_for_each_other(database: TestDatabase) {
        let db = counter(&database).await;
        let mut reading = db.begin_read().await.unwrap();
        let (_,): (i64,) = reading.query("select n from counter").fetch_one().await.unwrap();
        let mut writing = db.begin().await.unwrap();
        writing.query(ADD).execute().await.unwrap();
        assert_eq!(read(&db).await, 0);
        writing.commit().await.unwrap();
        assert_eq!(read(&db).await, 1);
        reading.commit().await.unwrap();
    }

    async fn increments_of_read_values_are_never_lost(database: TestDatabase) {
        let db = counter(&database).await;
        let other = database.open_db();
        let tasks = (0..40).map(|task| {
            let db = if task % 2 == 0 { db.clone() } else { other.clone() };
            tokio::spawn(async move { increment(&db).await })
        });
        for done in join_all(tasks).await {
            done.unwrap().unwrap();
        }
        assert_eq!(read(&db).await, 40);
    }

    async fn writers_of_two_processes_wait_instead_of_failing(database: TestDatabase) {
        let db = counter(&database).await;
        let processes = [db.clone(), database.open_db(), database.open_db()];
        let writers = processes.iter().flat_map(|db| std::iter::repeat_n(db, 4)).map(async |db| {
            for _ in 0..10 {
                db.query(ADD).execute().await?;
            }
            Ok::<_, Error>(())
        });
        try_join_all(writers).await.unwrap();
        assert_eq!(read(&db).await, 120);
    }

    async fn many_may_open_a_new_database_at_once(database: TestDatabase) {
        let processes: Vec<_> = (0..4).map(|_| database.open_db()).collect();
        let first = processes.iter().flat_map(|db| std::iter::repeat_n(db, 4)).enumerate().map(async |(index, db)| {
            if index % 2 == 0 { db.query("select 1").execute().await } else { db.begin().await?.commit().await.map(|()| 0) }
        });
        try_join_all(first).await.unwrap();
    }

    async fn as_many_transactions_as_connections_are_open_at_once(database: TestDatabase) {
        let db = open_with(&database, [("DATABASE_MAX_CONNECTIONS", "3"), ("DATABASE_ACQUIRE_TIMEOUT", "3s")]);
        let open = try_join_all((0..3).map(|_| db.begin_read())).await.unwrap();
        let refused = db.begin_read().await.unwrap_err();
        assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, true));
        drop(open);
        try_join_all((0..3).map(|_| db.begin_read())).await.unwrap();
    }
}

#[tokio::test]
async fn a_sqlite_reader_sees_one_state_throughout() {
    let database = TestDatabase::sqlite();
    let db = counter(&database).await;
    let mut reading = db.begin_read().await.unwrap();
    for _ in 0..2 {
        let (seen,): (i64,) = reading.query("select n from counter").fetch_one().await.unwrap();
        assert_eq!(seen, 0);
        db.query(ADD).execute().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_in_memory_is_one_for_all_clones() {
    let db = Db::memory().unwrap();
    db.query("create table counter (n bigint not null)").execute().await.unwrap();
    db.query("insert into counter values (0)").execute().await.unwrap();
    let adding = (0..20).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { increment(&db).await })
    });
    for done in join_all(adding).await {
        done.unwrap().unwrap();
    }
    assert_eq!(read(&db).await, 20);
    let other = Db::memory().unwrap();
    assert_eq!(other.query("select n from counter").execute().await.unwrap_err().kind(), ErrorKind::Schema);
}

async fn counter(database: &TestDatabase) -> Db {
    let db = database.open_db();
    db.query("create table counter (n bigint not null)").execute().await.unwrap();
    db.query("insert into counter values (0)").execute().await.unwrap();
    db
}

async fn read(db: &Db) -> i64 {
    let (n,): (i64,) = db.query("select n from counter").fetch_one().await.unwrap();
    n
}

/// Reads a counter, yields, and writes the incremented value.
async fn increment(db: &Db) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let select = Sql { postgres: "select n from counter for update", sqlite: "select n from counter" };
    let (n,): (i64,) = tx.query(select).fetch_one().await?;
    tokio::task::yield_now().await;
    tx.query("update counter set n = $1").bind(n + 1).execute().await?;
    tx.commit().await
}
