//! Tests of a database on the pools of an app, and of the connection that a transaction lends.

use std::time::Duration;

use futures_util::FutureExt as _;
use omnistack_core::{
    async_trait,
    audit::{AuditEntry, AuditLog, AuditStore},
    clock::Clock,
    db::{AppPools, CORE_MIGRATIONS, Db, DbSettings, Dialect, Tx},
    events::{Delivery, Dispatcher, Event, Events, Subscriber},
    id::Id,
    identity::TenantId,
    jobs::{Job, JobContext, JobError, JobFilter, Jobs, Runner},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use sqlx::{
    Connection as _,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::timeout;

/// Opens the pools that an app has, with its own options.
async fn pools(database: &TestDatabase) -> AppPools {
    match database.dialect() {
        Dialect::Postgres => PgPoolOptions::new().max_connections(3).connect(database.url()).await.unwrap().into(),
        Dialect::Sqlite => {
            let options: SqliteConnectOptions = database.url().parse().unwrap();
            let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
            SqlitePoolOptions::new().max_connections(3).connect_with(options).await.unwrap().into()
        }
    }
}

async fn db(database: &TestDatabase) -> Db {
    let db = Db::from_pools(pools(database).await, &DbSettings::default(), Clock::system());
    db.migrate("core", CORE_MIGRATIONS).await.unwrap();
    db.query("create table orders (item text not null)").execute().await.unwrap();
    db
}

const INSERT: &str = "insert into orders (item) values ($1)";

/// Inserts an order as the app does that was there before: by sqlx alone.
async fn insert(tx: &mut Tx, item: &str) -> sqlx::Result<()> {
    match tx.dialect() {
        Dialect::Postgres => {
            let connection = tx.postgres().ok_or(sqlx::Error::WorkerCrashed)?;
            sqlx::query(INSERT).bind(item).execute(connection).await.map(drop)
        }
        Dialect::Sqlite => {
            let connection = tx.sqlite().ok_or(sqlx::Error::WorkerCrashed)?;
            sqlx::query(INSERT).bind(item).execute(connection).await.map(drop)
        }
    }
}

/// Inserts an order in a transaction that sqlx begins on the lent connection, and keeps it or not.
async fn insert_nested(tx: &mut Tx, item: &str, keep: bool) -> sqlx::Result<()> {
    match tx.dialect() {
        Dialect::Postgres => {
            let mut nested = tx.postgres().ok_or(sqlx::Error::WorkerCrashed)?.begin().await?;
            sqlx::query(INSERT).bind(item).execute(&mut *nested).await?;
            if keep { nested.commit().await } else { nested.rollback().await }
        }
        Dialect::Sqlite => {
            let mut nested = tx.sqlite().ok_or(sqlx::Error::WorkerCrashed)?.begin().await?;
            sqlx::query(INSERT).bind(item).execute(&mut *nested).await?;
            if keep { nested.commit().await } else { nested.rollback().await }
        }
    }
}

async fn items(db: &Db) -> Vec<String> {
    let items: Vec<(String,)> = db.query("select item from orders order by item").fetch_all().await.unwrap();
    items.into_iter().map(|(item,)| item).collect()
}

#[derive(Clone, Serialize, Deserialize)]
struct Brew {
    item: String,
}

#[async_trait]
impl Job for Brew {
    const NAME: &'static str = "shop.brew";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Ordered {
    item: String,
}

impl Event for Ordered {
    const NAME: &'static str = "shop.ordered";

    fn key(&self) -> String {
        self.item.clone()
    }
}

/// Stores a second row for each order, in the transaction that acknowledges the event.
struct CopyOrder;

#[async_trait]
impl Subscriber for CopyOrder {
    type Event = Ordered;

    async fn handle(&self, event: Ordered, delivery: &mut Delivery) -> Result<(), JobError> {
        insert(delivery.tx().await?, &format!("copy of {}", event.item)).await.map_err(JobError::retry)
    }
}

on_each_database! {
    async fn an_app_that_was_there_before_shares_its_transaction(database: TestDatabase) {
        let (db, clock) = (db(&database).await, Clock::system());
        let jobs = Jobs::new(db.clone(), clock.clone());
        let runner = Runner::builder(jobs.clone()).job::<Brew>(()).build().unwrap();
        let events = Events::new(db.clone(), clock.clone());
        let dispatcher = Dispatcher::builder(events.clone()).subscribe("shop.copy", CopyOrder).build().unwrap();
        let (log, audit) = (AuditLog::to_database(clock.clone()), AuditStore::new(db.clone(), clock.clone()));
        let tenant: TenantId = Id::new(clock.now());
        for (item, keep) in [("tea", false), ("coffee", true)] {
            let mut tx = db.tenant(tenant).begin().await.unwrap();
            insert(&mut tx, item).await.unwrap();
            jobs.enqueue_in(&mut tx, Brew { item: item.into() }).await.unwrap();
            events.publish_in(&mut tx, &Ordered { item: item.into() }).await.unwrap();
            let entry = AuditEntry::new("order.placed").for_tenant(tenant).resource("order", item);
            log.record_in(&mut tx, entry).await.unwrap();
            if keep {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }
        }
        assert_eq!(items(&db).await, ["coffee"]);
        assert_eq!(jobs.list(&JobFilter::default(), None, 10).await.unwrap().len(), 1);
        assert_eq!(audit.verify(tenant).await.unwrap().entries, 1);
        assert_eq!(runner.run_until_idle().await.unwrap(), 1);
        assert_eq!(dispatcher.run_until_idle().await.unwrap(), 1);
        assert_eq!(items(&db).await, ["coffee", "copy of coffee"]);
    }

    async fn begin_on_the_lent_connection_is_a_savepoint(database: TestDatabase) {
        let db = db(&database).await;
        let mut tx = db.begin().await.unwrap();
        insert_nested(&mut tx, "tea", true).await.unwrap();
        insert_nested(&mut tx, "milk", false).await.unwrap();
        assert!(items(&db).await.is_empty(), "the nested commit ends no transaction");
        tx.commit().await.unwrap();
        assert_eq!(items(&db).await, ["tea"]);

        let mut tx = db.begin().await.unwrap();
        insert_nested(&mut tx, "coffee", true).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        insert_nested(&mut tx, "cocoa", true).await.unwrap();
        drop(tx);
        // The connections are whole: each of them begins a transaction again.
        for _ in 0..4 {
            db.begin().await.unwrap().commit().await.unwrap();
        }
        assert_eq!(items(&db).await, ["tea"]);
    }

    async fn each_database_lends_its_own_connection(database: TestDatabase) {
        let db = db(&database).await;
        let mut tx = db.begin().await.unwrap();
        let lent = (tx.postgres().is_some(), tx.sqlite().is_some());
        let is_postgres = db.dialect() == Dialect::Postgres;
        assert_eq!(lent, (is_postgres, !is_postgres));
        tx.rollback().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_returns_although_a_statement_on_it_was_dropped() {
    let database = TestDatabase::postgres();
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let db = Db::from_pools(pool, &DbSettings::default(), Clock::system());
    for nested in [false, true] {
        let mut tx = db.begin().await.unwrap();
        let connection = tx.postgres().unwrap();
        let sleep = async {
            if nested {
                let mut nested = connection.begin().await?;
                return sqlx::query("select pg_sleep(1)").execute(&mut *nested).await;
            }
            sqlx::query("select pg_sleep(1)").execute(connection).await
        };
        timeout(Duration::from_millis(50), sleep).await.unwrap_err();
        drop(tx);
        timeout(Duration::from_secs(20), db.begin()).await.unwrap().unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_a_dropped_begin_has_ended_does_not_commit() {
    let database = TestDatabase::postgres();
    let db = db(&database).await;
    let mut tx = loop {
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, "tea").await.unwrap();
        // The server's reply to the savepoint may be there at once: then nothing is dropped.
        if tx.postgres().unwrap().begin().now_or_never().is_none() {
            break tx;
        }
    };
    assert!(tx.postgres().is_none());
    tx.query(INSERT).bind("milk".to_owned()).execute().await.unwrap_err();
    tx.commit().await.unwrap_err();
    assert!(items(&db).await.is_empty());
}

#[tokio::test]
async fn a_database_in_memory_can_be_shared() {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    let db = Db::from_pools(pool.clone(), &DbSettings::default(), Clock::system());
    db.query("create table orders (item text not null)").execute().await.unwrap();
    sqlx::query(INSERT).bind("tea").execute(&pool).await.unwrap();
    assert_eq!(items(&db).await, ["tea"]);
}
