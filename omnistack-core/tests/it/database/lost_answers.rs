//! Tests of a network that loses bytes: waits for a response are limited.

use std::time::Duration;

use futures_util::{StreamExt as _, future::try_join_all};
use omnistack_core::{
    ShutdownToken,
    app::App,
    async_trait,
    db::{Db, ErrorKind},
    jobs::{Job, JobContext, JobError, Jobs},
    module::{Module, Registry},
};
use omnistack_testkit::TestDatabase;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{open, wire::TcpProxy};

const CONNECTIONS: usize = 9;
/// Long enough for a statement to be sent.
const STATEMENT_SENT_AFTER: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_whole_soon_after_answers_were_lost() {
    let database = TestDatabase::postgres();
    let wire = TcpProxy::to(database.url()).await;
    let config = database.config().with("DATABASE_URL", wire.url());
    let config = config.with("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string());
    let db = open(config.with("DATABASE_STATEMENT_TIMEOUT", "300ms").with("DATABASE_ACQUIRE_TIMEOUT", "30s"));
    db.query("create table marks (n bigint not null)").execute().await.unwrap();
    let insert = "insert into marks (n) values (1)";
    for _ in 0..2 {
        let mut open = try_join_all((0..CONNECTIONS).map(|_| db.begin())).await.unwrap().into_iter();
        let mut next = || open.next().unwrap();
        let (mut statement, mut cut, mut streaming, committing, rolling_back, dropped) =
            (next(), next(), next(), next(), next(), next());
        // The pool has three idle connections.
        try_join_all(open.map(omnistack_core::db::Tx::commit)).await.unwrap();
        wire.wait_until_quiet().await;
        wire.set_losing(true);
        drop(dropped);
        timeout(STATEMENT_SENT_AFTER, cut.query(insert).execute()).await.unwrap_err();
        drop(cut);
        timeout(STATEMENT_SENT_AFTER, db.query(insert).execute()).await.unwrap_err();
        timeout(STATEMENT_SENT_AFTER, db.begin()).await.unwrap_err();
        let stream = async {
            let mut rows = std::pin::pin!(streaming.query("select n from marks").stream::<(i64,)>());
            rows.next().await.unwrap().map(drop)
        };
        let lost = tokio::join!(
            async { statement.query(insert).execute().await.map(drop) },
            stream,
            committing.commit(),
            rolling_back.rollback(),
            async { db.query(insert).execute().await.map(drop) },
        );
        for lost in [lost.0, lost.1, lost.2, lost.3, lost.4] {
            assert_eq!(lost.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        // Using a transaction again after its connection was lost fails without another wait.
        let began = Instant::now();
        assert_eq!(statement.query(insert).execute().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(began.elapsed() < Duration::from_secs(1));
        drop((statement, streaming));
        wire.set_losing(false);
        assert_pool_usable(&db).await;
    }
}

/// Asserts that all connections of the pool can be acquired at once, within 30 s.
async fn assert_pool_usable(db: &Db) {
    let all = timeout(Duration::from_secs(30), try_join_all((0..CONNECTIONS).map(|_| db.begin())));
    let all = all.await.expect("connections were lost for good").unwrap();
    try_join_all(all.into_iter().map(omnistack_core::db::Tx::rollback)).await.unwrap();
}

#[tokio::test]
async fn a_long_statement_that_is_dropped_holds_its_connection_for_two_seconds() {
    let database = TestDatabase::postgres();
    let db = open(database.config().with("DATABASE_MAX_CONNECTIONS", "1").with("DATABASE_ACQUIRE_TIMEOUT", "10s"));
    db.ping().await.unwrap();
    timeout(STATEMENT_SENT_AFTER, db.query("select pg_sleep(20)::text").execute()).await.unwrap_err();
    db.ping().await.unwrap();
}

#[tokio::test]
async fn a_transaction_may_take_longer_than_the_settings_say() {
    let database = TestDatabase::postgres();
    let db = open(database.config().with("DATABASE_STATEMENT_TIMEOUT", "100ms"));
    let mut tx = db.begin().await.unwrap();
    tx.set_statement_timeout(Duration::ZERO).await.unwrap();
    tx.query("select pg_sleep(2.5)::text").execute().await.unwrap();
    tx.commit().await.unwrap();
    let error = db.query("select pg_sleep(1)::text").execute().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[derive(Debug, Serialize, Deserialize)]
struct Heard {}

#[async_trait]
impl Job for Heard {
    const NAME: &'static str = "heard";
    type State = mpsc::UnboundedSender<()>;

    async fn run(self, ran: &Self::State, _: &JobContext) -> Result<(), JobError> {
        _ = ran.send(());
        Ok(())
    }
}

struct Hearing(mpsc::UnboundedSender<()>);

impl Module for Hearing {
    fn name(&self) -> &'static str {
        "hearing"
    }

    fn register(&self, registry: &mut Registry) {
        let ran = self.0.clone();
        registry.job::<Heard>(move |_| Ok(ran.clone()));
    }
}

/// After a failover, or a lost entry in a NAT device, nothing arrives on the old connections any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_hears_of_jobs_again_after_its_connections_were_lost_for_good() {
    let database = TestDatabase::postgres();
    let wire = TcpProxy::to(database.url()).await;
    let (sender, mut ran) = mpsc::unbounded_channel();
    let app = |url: &str| {
        let config = database.config().with("DATABASE_URL", url).with("DATABASE_STATEMENT_TIMEOUT", "1s");
        App::builder(config.with("JOBS_POLL", "10m")).with(Hearing(sender.clone())).build().unwrap()
    };
    let (worker, other) = (app(wire.url()), app(database.url()));
    other.migrate().await.unwrap();
    let (jobs, shutdown): (Jobs, _) = (other.context().get().unwrap(), ShutdownToken::new());
    let working = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run_workers(shutdown).await }
    });
    let mut hears = async || {
        while ran.try_recv().is_ok() {}
        jobs.enqueue(Heard {}).await.unwrap();
        timeout(Duration::from_secs(3), ran.recv()).await.is_ok()
    };
    for lost in [false, true] {
        if lost {
            wire.wait_until_quiet().await;
            wire.lose_open_connections();
        }
        let again = timeout(Duration::from_secs(40), async { while !hears().await {} });
        again.await.expect("the worker is deaf");
        assert!(hears().await && hears().await);
    }
    shutdown.cancel();
    working.await.unwrap();
}
