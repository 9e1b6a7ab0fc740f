//! Tests that a dropped database future, at any of its await points, leaves the pool usable.

use std::{future::poll_fn, pin::pin, task::Poll};

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error},
    id::Id,
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{open_with, shelf::Shelf};

/// Settings with one connection, so that the next caller gets the connection of the dropped future.
const ONE_CONNECTION: [(&str, &str); 2] = [("DATABASE_MAX_CONNECTIONS", "1"), ("DATABASE_ACQUIRE_TIMEOUT", "5s")];

on_each_database! {
    async fn a_transaction_cut_anywhere_is_whole_or_nothing(database: TestDatabase) {
        let (db, other) = (open_with(&database, ONE_CONNECTION), database.open_db());
        db.query("create table marks (kind text not null, n bigint not null)").execute().await.unwrap();
        for (n, polls) in thrice() {
            let done = poll_and_drop(polls, Box::pin(async {
                let mut tx = db.begin().await?;
                for _ in 0..2 {
                    let insert = tx.query("insert into marks (kind, n) values ('cut', $1)");
                    insert.bind(n).execute().await?;
                }
                tx.commit().await
            }));
            let done = done.await.transpose().unwrap().is_some();
            // A write reported as successful is committed: no transaction was left open on the connection.
            mark(&db, n).await.unwrap();
            assert_eq!(marks(&other, "next", n).await, 1, "after {polls} polls");
            let rows = marks(&other, "cut", n).await;
            assert!(if done { rows == 2 } else { rows == 0 || rows == 2 }, "{rows} rows after {polls} polls");
            if done {
                break;
            }
        }
    }

    async fn a_statement_cut_anywhere_leaves_its_connection_usable(database: TestDatabase) {
        let (db, other) = (open_with(&database, ONE_CONNECTION), database.open_db());
        db.query("create table marks (kind text not null, n bigint not null)").execute().await.unwrap();
        for (n, polls) in thrice() {
            let insert = db.query("insert into marks (kind, n) values ('cut', $1)").bind(n);
            let done = poll_and_drop(polls, insert.execute()).await.transpose().unwrap().is_some();
            mark(&db, n).await.unwrap();
            assert_eq!(marks(&other, "next", n).await, 1, "after {polls} polls");
            if done {
                break;
            }
        }
    }

    async fn a_tenants_transaction_cut_anywhere_shows_nothing_to_the_next(database: TestDatabase) {
        let postgres = database.dialect() == omnistack_core::db::Dialect::Postgres;
        let app = TestApp::start(database, |app| app.set("DATABASE_MAX_CONNECTIONS", "1").with(Shelf)).await;
        let tenant: TenantId = Id::new(Timestamp::default());
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        tx.query("insert into books (id, tenant_id, code, title, created_at, updated_at) values ($1, $2, 'c', 't', $3, $3)")
            .bind(Id::<()>::new(Timestamp::default())).bind(tenant).bind(Timestamp::default())
            .execute().await.unwrap();
        tx.commit().await.unwrap();
        for (_, polls) in thrice() {
            let done = poll_and_drop(polls, Box::pin(async {
                let mut tx = app.db().tenant(tenant).begin().await?;
                let (mine,): (i64,) = tx.query("select count(*) from books").fetch_one().await?;
                assert_eq!(mine, 1);
                tx.commit().await
            }));
            let done = done.await.transpose().unwrap().is_some();
            let (seen,): (i64,) = app.db().query("select count(*) from books").fetch_one().await.unwrap();
            assert_eq!(seen, i64::from(!postgres), "after {polls} polls");
            if done {
                break;
            }
        }
    }
}

/// Returns each number of polls three times (1, 1, 1, 2, 2, 2, …), because the await points depend on the database's
/// speed.
fn thrice() -> impl Iterator<Item = (i64, usize)> {
    (0..).zip((1..).flat_map(|polls| [polls; 3]))
}

/// Polls a future and drops it when it is pending for the `polls`th time. Returns `None` if it was dropped.
async fn poll_and_drop<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn mark(db: &Db, n: i64) -> Result<u64, Error> {
    db.query("insert into marks (kind, n) values ('next', $1)").bind(n).execute().await
}

async fn marks(db: &Db, kind: &'static str, n: i64) -> i64 {
    let select = db.query("select count(*) from marks where kind = $1 and n = $2").bind(kind);
    let (count,): (i64,) = select.bind(n).fetch_one().await.unwrap();
    count
}
