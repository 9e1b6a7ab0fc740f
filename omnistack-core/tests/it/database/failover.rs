//! Tests of several hosts in `DATABASE_URL`, and of a standby that lists are read from.

use std::time::Duration;

use axum::{extract::State, routing::get};
use omnistack_core::{
    db::Db,
    http::{Error, Json},
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestPostgres};
use tokio::{task::yield_now, time::timeout};

use super::{
    open,
    shelf::Shelf,
    traffic::{CONNECTIONS, Outcome, Traffic},
};

fn url_of(servers: [&TestPostgres; 2]) -> String {
    let [first, second] = servers.map(TestPostgres::port);
    format!("postgres://postgres:secret@127.0.0.1:{first},127.0.0.1:{second}/postgres")
}

const PORT: &str = "select inet_server_port()::bigint";

async fn port(db: &Db) -> i64 {
    let (port,): (i64,) = db.query(PORT).fetch_one().await.unwrap();
    port
}

/// Opens the database with its own pool, as another process would.
fn open_at(url: &str) -> Db {
    open(TestDatabase::sqlite().config().with("DATABASE_URL", url))
}

/// Waits until statements run on a server, and checks that they stay there.
async fn wait_for_port(db: &Db, server: &TestPostgres) {
    let expected = i64::from(server.port());
    let moved = async {
        // A connection that was lost fails once.
        while db.query(PORT).fetch_one::<(i64,)>().await.ok() != Some((expected,)) {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), moved).await.unwrap();
    for _ in 0..20 {
        assert_eq!(port(db).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_used_and_nothing_acknowledged_is_lost() {
    let mut primary = TestPostgres::start().await;
    let mut standby = primary.start_standby().await;
    primary.wait_for_standby_at_commits().await;
    // Both orders find the host that accepts writes.
    for servers in [[&primary, &standby], [&standby, &primary]] {
        assert_eq!(port(&open_at(&url_of(servers))).await, i64::from(primary.port()));
    }
    let url = url_of([&primary, &standby]);
    // A role that may not read the timeline finds the primary all the same.
    let admin = open_at(&primary.url());
    for sql in
        ["create role reader login password 'secret'", "revoke execute on function pg_current_wal_lsn() from public"]
    {
        admin.query(sql).execute().await.unwrap();
    }
    let reader = open_at(&url.replace("postgres:secret@", "reader:secret@"));
    assert_eq!(port(&reader).await, i64::from(primary.port()));
    // A process that makes no request until the primary is back does not notice that it was away.
    let idle = open_at(&url);
    assert_eq!(port(&idle).await, i64::from(primary.port()));
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", url.as_str())
            .set("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string())
            .set("DATABASE_ACQUIRE_TIMEOUT", "2s")
            .with(Shelf)
    })
    .await;
    let traffic = Traffic::start(&app);
    traffic.more(Outcome::Served).await;
    primary.kill().await;
    traffic.more(Outcome::Refused).await;
    standby.promote().await;
    // Fails after 30 seconds.
    traffic.more(Outcome::Served).await;
    traffic.end_with_all_stored(&app).await;
    assert_eq!(port(app.db()).await, i64::from(standby.port()));

    // The server that was replaced comes back, and accepts writes too. It is not used.
    primary.restart().await;
    assert_eq!(port(&open_at(&url)).await, i64::from(standby.port()));
    assert_eq!(port(app.db()).await, i64::from(standby.port()));
    wait_for_port(&idle, &standby).await;

    // Also not if it is the only one that can be reached.
    standby.kill().await;
    let written = timeout(Duration::from_secs(30), async {
        // A connection that was lost fails once, and then none can be had.
        for _ in 0..2 {
            idle.query("create table lost (n integer)").execute().await.unwrap_err();
        }
    });
    written.await.unwrap();
    let alone = open_at(&primary.url());
    let (tables,): (i64,) =
        alone.query("select count(*) from pg_tables where tablename = 'lost'").fetch_one().await.unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_beside_which_a_standby_is_promoted_is_left() {
    let primary = TestPostgres::start().await;
    let standby = primary.start_standby().await;
    let url = url_of([&primary, &standby]);
    let db = open_at(&url);
    assert_eq!(port(&db).await, i64::from(primary.port()));
    // Both accept writes from now on, and no connection is lost.
    standby.promote().await;
    wait_for_port(&db, &standby).await;
    assert_eq!(port(&open_at(&url)).await, i64::from(standby.port()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_created_anew_is_used_without_a_restart() {
    let mut primary = TestPostgres::start().await;
    let mut standby = primary.start_standby().await;
    let db = open_at(&url_of([&primary, &standby]));
    standby.promote().await;
    wait_for_port(&db, &standby).await;
    primary.stop().await;
    // Its timelines begin anew.
    standby.recreate().await;
    wait_for_port(&db, &standby).await;
    // A server of another cluster is used if none of the known one is left.
    primary.recreate().await;
    standby.stop().await;
    wait_for_port(&db, &primary).await;
}

/// A module whose routes say which server they read from.
struct Where;

impl Module for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn register(&self, registry: &mut Registry) {
        let api = || Api::new().hidden("/", get(read)).hidden("/{id}", get(read));
        registry.routes(Mount::public("/near").reads_from_replica(), api(), |ctx| ctx.get::<Db>()).routes(
            Mount::public("/exact"),
            api(),
            |ctx| ctx.get::<Db>(),
        );
    }
}

async fn read(State(db): State<Db>) -> Result<Json<i64>, Error> {
    let mut tx = db.begin_read().await?;
    let (port,): (i64,) = tx.query("select inet_server_port()::bigint").fetch_one().await?;
    Ok(Json(port))
}

async fn answer(caller: &TestClient, path: &str) -> i64 {
    caller.get(format!("/api/v1/public/{path}")).await.expect(200).json().as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_a_mount_that_chooses_it_are_read_from_the_standby() {
    let primary = TestPostgres::start().await;
    let mut standby = primary.start_standby().await;
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", primary.url()).set("DATABASE_REPLICA_URL", standby.url()).with(Where)
    })
    .await;
    let caller = app.anonymous();
    let [main, copy] = [&primary, &standby].map(|server| i64::from(server.port()));
    assert_eq!(answer(&caller, "near").await, copy);
    assert_eq!(answer(&caller, "near/1").await, main, "a row that was just written is found");
    assert_eq!(answer(&caller, "exact").await, main);
    standby.kill().await;
    for _ in 0..5 {
        assert_eq!(answer(&caller, "near").await, main, "the database itself, while the standby is away");
    }
}
