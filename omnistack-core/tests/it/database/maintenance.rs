//! Tests of rows that core deletes: of deleted tenants, and soft-deleted long ago.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    crud::{Crud, Resource as _},
    db::{Db, Migration},
    events::TenantDeleted,
    identity::{Identity, TenantId},
    jobs::{Job, JobContext, JobError, JobState},
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shelf::{BOOKS, Book, NewBook, Shelf};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A module with two tables of tenants, one of which refers to the other. The name of the referenced table comes first.
struct Loans;

impl Module for Loans {
    fn name(&self) -> &'static str {
        "loans"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .migrations(&[Migration { name: "0001_loans", postgres: POSTGRES, sqlite: SQLITE }])
            .tenant_tables(["borrowers", "loans"]);
    }
}

const POSTGRES: &str = "
create table borrowers (id bigint primary key, tenant_id uuid not null);
create table loans (borrower bigint not null references borrowers, tenant_id uuid not null);
select omnistack_protect('borrowers');
select omnistack_protect('loans');";

const SQLITE: &str = "
create table borrowers (id integer primary key, tenant_id blob not null) strict;
create table loans (borrower integer not null references borrowers, tenant_id blob not null) strict;";

/// The job of core, as its schedule enqueues it.
#[derive(Serialize, Deserialize)]
pub(crate) struct PurgeJob {}

#[async_trait]
impl Job for PurgeJob {
    const NAME: &'static str = "crud.purge_deleted_rows";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

async fn lend(db: &Db, tenant: TenantId, first: i64, count: i64) {
    let mut tx = db.tenant(tenant).begin().await.unwrap();
    for id in first..first + count {
        tx.query("insert into borrowers (id, tenant_id) values ($1, $2)")
            .bind(id)
            .bind(tenant)
            .execute()
            .await
            .unwrap();
    }
    tx.query("insert into loans (borrower, tenant_id) values ($1, $2)")
        .bind(first)
        .bind(tenant)
        .execute()
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// Returns the numbers of a tenant's books, borrowers and loans.
async fn rows(db: &Db, tenant: TenantId) -> [i64; 3] {
    let mut tx = db.all_tenants().begin_read().await.unwrap();
    let mut found = [0; 3];
    for (count, sql) in found.iter_mut().zip([
        "select count(*) from books where tenant_id = $1",
        "select count(*) from borrowers where tenant_id = $1",
        "select count(*) from loans where tenant_id = $1",
    ]) {
        (*count,) = tx.query(sql).bind(tenant).fetch_one::<(i64,)>().await.unwrap();
    }
    found
}

async fn dead_jobs(app: &TestApp) -> u64 {
    app.jobs().queues().await.unwrap().iter().filter_map(|queue| queue.jobs.get(&JobState::Dead)).copied().sum()
}

on_each_database! {
    async fn rows_of_a_deleted_tenant_go_by_themselves(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf).with(Loans)).await;
        let (ada, bob) = (app.user(), app.user());
        for (client, first, count) in [(&ada, 1, 1001), (&bob, 5000, 2)] {
            client.post(BOOKS, json!({"code": "b"})).await.expect(201);
            lend(app.db(), tenant_of(client), first, count).await;
        }
        app.events().publish(&TenantDeleted::new(tenant_of(&ada))).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(rows(app.db(), tenant_of(&ada)).await, [0, 0, 0]);
        assert_eq!(rows(app.db(), tenant_of(&bob)).await, [1, 2, 1]);
        assert_eq!(dead_jobs(&app).await, 0);
    }

    async fn deleted_rows_are_purged_after_their_time(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (ada, bob) = (app.user(), app.user());
        let mut paths = Vec::new();
        for client in [&ada, &bob] {
            let kept = client.post(BOOKS, json!({"code": "kept"})).await.expect(201);
            let gone = client.post(BOOKS, json!({"code": "gone"})).await.expect(201);
            let gone = gone.header("location").unwrap().to_owned();
            client.delete(&gone).await.expect(204);
            paths.push((client, kept.header("location").unwrap().to_owned(), gone));
        }
        for (days, left) in [(29, 2), (2, 1)] {
            app.clock().advance(DAY * days);
            app.jobs().enqueue(PurgeJob {}).await.unwrap();
            app.run_jobs().await;
            for (client, kept, _) in &paths {
                client.get(kept).await.expect(200);
                let all = client.get(format!("{BOOKS}?deleted=include")).await.expect(200).json();
                assert_eq!(all["items"].as_array().unwrap().len(), left, "after {days} days more");
            }
        }
        for (client, _, gone) in &paths {
            client.request(http::Method::POST, format!("{gone}/restore")).await.expect(404);
        }
    }

    /// A transaction of another tenant, of all tenants or of none is refused, whatever the caller may see.
    async fn the_transaction_must_be_of_the_callers_tenant(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (ada, bob) = (app.user(), app.user());
        let crud = Crud::<Book>::from_ctx(app.app().context()).unwrap();
        let new = || NewBook::with_code("new");
        let (caller, other): (&Identity, &Identity) = (ada.identity().unwrap(), bob.identity().unwrap());
        let mine = crud.create(caller, new()).await.unwrap();
        let theirs = crud.create(other, new()).await.unwrap();
        let db = app.db();
        let mut tx = db.tenant(tenant_of(&bob)).begin().await.unwrap();
        for id in [mine.id(), theirs.id()] {
            assert_eq!(crud.get_in(&mut tx, caller, id).await.unwrap_err().status(), 500);
            assert_eq!(crud.delete_in(&mut tx, caller, id).await.unwrap_err().status(), 500);
            assert_eq!(crud.restore_in(&mut tx, caller, id).await.unwrap_err().status(), 500);
        }
        assert_eq!(crud.create_in(&mut tx, caller, new()).await.unwrap_err().status(), 500);
        drop(tx);
        for scope in ["all", "none"] {
            let mut tx = if scope == "all" { db.all_tenants().begin().await.unwrap() } else { db.begin().await.unwrap() };
            assert_eq!(crud.get_in(&mut tx, caller, mine.id()).await.unwrap_err().status(), 500, "{scope}");
        }
        let mut tx = crud.begin(caller).await.unwrap();
        crud.get_in(&mut tx, caller, mine.id()).await.unwrap();
        assert_eq!(crud.get_in(&mut tx, caller, theirs.id()).await.unwrap_err().status(), 404);
    }
}
