//! Tests of tenant isolation when a query has no `where`.

use omnistack_core::{
    clock::Clock,
    db::{Db, Error, ErrorKind, Tx},
    id::Id,
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{open_with, shelf::Shelf, wire::TcpProxy};

/// A query without a `where` clause.
const WRONG: &str = "select tenant_id from books order by code";

#[tokio::test]
async fn postgres_keeps_tenants_apart_even_from_wrong_queries() {
    let (app, [a, b]) = two_tenants(TestDatabase::postgres()).await;
    let db = app.db();
    for (tenant, rows) in [(a, 2), (b, 1)] {
        for mut tx in [db.tenant(tenant).begin().await.unwrap(), db.tenant(tenant).begin_read().await.unwrap()] {
            assert_eq!(seen(&mut tx).await, vec![(tenant,); rows]);
            tx.commit().await.unwrap();
        }
    }

    let mut tx = db.tenant(a).begin().await.unwrap();
    for sql in ["update books set title = 'mine'", "delete from books"] {
        assert_eq!(tx.query(sql).execute().await.unwrap(), 2, "{sql}");
    }
    tx.rollback().await.unwrap();

    let mut tx = db.tenant(a).begin().await.unwrap();
    let refused = insert(&mut tx, b, "foreign").await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Other, false), "{refused}");
    drop(tx);
    let mut tx = db.tenant(a).begin().await.unwrap();
    let refused = tx.query("update books set tenant_id = $1").bind(b).execute().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Other, "{refused}");
    drop(tx);

    let nothing: Vec<(TenantId,)> = db.query(WRONG).fetch_all().await.unwrap();
    assert!(nothing.is_empty());
    assert!(seen(&mut db.begin().await.unwrap()).await.is_empty());
    assert_eq!(db.query("delete from books").execute().await.unwrap(), 0);
    assert!(insert(&mut db.begin().await.unwrap(), a, "unset").await.is_err());

    assert_eq!(seen(&mut db.all_tenants().begin_read().await.unwrap()).await, [(a,), (a,), (b,)]);
}

#[tokio::test]
async fn the_tenant_ends_with_its_transaction() {
    let (app, [a, b]) = two_tenants(TestDatabase::postgres()).await;
    let db = open_with(app.database(), [("DATABASE_MAX_CONNECTIONS", "1")]);
    let mut connection = None;
    for end in ["commit", "rollback", "drop", "failure"] {
        for (tenant, rows) in [(a, 2), (b, 1)] {
            let mut tx = db.tenant(tenant).begin().await.unwrap();
            assert_eq!(seen(&mut tx).await.len(), rows);
            match end {
                "commit" => tx.commit().await.unwrap(),
                "rollback" => tx.rollback().await.unwrap(),
                "drop" => drop(tx),
                _ => {
                    tx.query("select 1 from nowhere").execute().await.unwrap_err();
                    drop(tx);
                }
            }
            let after: Vec<(TenantId,)> = db.query(WRONG).fetch_all().await.unwrap();
            assert!(after.is_empty(), "after {end}");
            assert!(seen(&mut db.begin_read().await.unwrap()).await.is_empty(), "after {end}");
            let (pid,): (i32,) = db.query("select pg_backend_pid()").fetch_one().await.unwrap();
            assert_eq!(*connection.get_or_insert(pid), pid, "the same connection all the time");
        }
    }
}

#[tokio::test]
async fn beginning_for_a_tenant_takes_one_round_trip() {
    let database = TestDatabase::postgres();
    let wire = TcpProxy::to(database.url()).await;
    let db = open_with(&database, [("DATABASE_URL", wire.url()), ("DATABASE_MAX_CONNECTIONS", "1")]);
    db.ping().await.unwrap();
    let trips = async |begin: &dyn Fn() -> futures_util::future::BoxFuture<'static, Tx>| {
        // Wait for the check of the connection on its return to the pool.
        wire.wait_until_quiet().await;
        let before = wire.round_trips();
        let tx = begin().await;
        let trips = wire.round_trips() - before;
        tx.commit().await.unwrap();
        trips
    };
    let (plain, tenant) = (db.clone(), db.clone());
    let id = Id::new(Clock::system().now());
    let plain = trips(&move || {
        let db = plain.clone();
        Box::pin(async move { db.begin().await.unwrap() })
    })
    .await;
    let tenant = trips(&move || {
        let db = tenant.clone();
        Box::pin(async move { db.tenant(id).begin().await.unwrap() })
    })
    .await;
    assert_eq!((plain, tenant), (1, 1));
}

on_each_database! {
    async fn a_tenants_transaction_works_alike(database: TestDatabase) {
        let (app, [a, b]) = two_tenants(database).await;
        for (tenant, rows) in [(a, 2), (b, 1)] {
            let mut tx = app.db().tenant(tenant).begin_read().await.unwrap();
            let select = tx.query("select tenant_id from books where tenant_id = $1").bind(tenant);
            assert_eq!(select.fetch_all::<(TenantId,)>().await.unwrap(), vec![(tenant,); rows]);
            let write = tx.query("delete from books where tenant_id = $1").bind(tenant).execute().await.unwrap_err();
            assert_eq!(write.kind(), ErrorKind::Unavailable, "{write}");
        }
    }
}

async fn two_tenants(database: TestDatabase) -> (TestApp, [TenantId; 2]) {
    let app = TestApp::start(database, |app| app.with(Shelf)).await;
    let tenants = [Id::new(Clock::system().now()), Id::new(Clock::system().now())];
    fill(app.db(), tenants).await.unwrap();
    (app, tenants)
}

async fn fill(db: &Db, [a, b]: [TenantId; 2]) -> Result<(), Error> {
    for (tenant, code) in [(a, "1"), (a, "2"), (b, "3")] {
        let mut tx = db.tenant(tenant).begin().await?;
        insert(&mut tx, tenant, code).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, tenant: TenantId, code: &'static str) -> Result<u64, Error> {
    let now = Clock::system().now();
    tx.query("insert into books (id, tenant_id, code, title, created_at, updated_at) values ($1, $2, $3, 't', $4, $4)")
        .bind(Id::<()>::new(now))
        .bind(tenant)
        .bind(code)
        .bind(now)
        .execute()
        .await
}

async fn seen(tx: &mut Tx) -> Vec<(TenantId,)> {
    tx.query(WRONG).fetch_all().await.unwrap()
}
