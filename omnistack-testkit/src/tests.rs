//! Tests of the test app: what its failures say, schedules, and tables without row-level security.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::extract::State;
use omnistack_core::{
    db::{Db, Error as DbError, Migration},
    http::Error,
    jobs::{Cron, Job, JobContext, JobError},
    module::{Api, Module, Mount, Registry},
};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

#[cfg(feature = "postgres")]
use crate::conformance::catch_panic;
use crate::{TestApp, TestDatabase, conformance::panic_text};

/// A module with handlers that fail, schedules, and a table of tenants.
#[derive(Clone, Default)]
struct Rooms {
    /// The number of runs of the hourly and of the daily job.
    runs: [Arc<AtomicUsize>; 2],
    migrations: &'static [Migration],
    unprotected: &'static [&'static str],
}

impl Module for Rooms {
    fn name(&self) -> &'static str {
        "rooms"
    }

    fn register(&self, registry: &mut Registry) {
        let [hourly, daily] = self.runs.clone();
        let api = Api::new().routes(routes!(query)).routes(routes!(panics)).routes(routes!(refuses));
        registry
            .migrations(self.migrations)
            .unprotected_tables(self.unprotected.iter().copied())
            .routes(Mount::public("/rooms"), api, |ctx| ctx.get::<Db>())
            .job::<Hourly>(move |_| Ok(hourly))
            .job::<Daily>(move |_| Ok(daily))
            .cron(Cron::new("0 * * * *", Hourly {}))
            .cron(Cron::new("30 3 * * *", Daily {}));
    }
}

/// List rooms of a table that does not exist
#[utoipa::path(get, path = "/query", responses((status = 204)))]
async fn query(State(db): State<Db>) -> Result<http::StatusCode, Error> {
    let found = db.query("select name from rooms_of_nobody").fetch_all::<(String,)>().await;
    found.map_err(|error: DbError| Error::internal(Nested(error)))?;
    Ok(http::StatusCode::NO_CONTENT)
}

/// Panic
#[utoipa::path(get, path = "/panics", responses((status = 204)))]
async fn panics() -> http::StatusCode {
    panic!("the room is on fire")
}

/// Refuse without a cause
#[utoipa::path(get, path = "/refuses", responses((status = 204)))]
async fn refuses() -> Result<http::StatusCode, Error> {
    Err(Error::conflict("ROOM_TAKEN", "the room is taken"))
}

/// An error with a cause of its own.
#[derive(Debug)]
struct Nested(DbError);

impl std::fmt::Display for Nested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("rooms can't be listed")
    }
}

impl std::error::Error for Nested {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

macro_rules! counting_job {
    ($type:ident, $name:literal) => {
        #[derive(Clone, Debug, Serialize, Deserialize)]
        struct $type {}

        #[async_trait]
        impl Job for $type {
            const NAME: &'static str = $name;
            type State = Arc<AtomicUsize>;

            async fn run(self, runs: &Self::State, _: &JobContext) -> Result<(), JobError> {
                runs.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        }
    };
}
counting_job!(Hourly, "rooms.hourly");
counting_job!(Daily, "rooms.daily");

/// Returns the message with which an assertion fails.
fn failure<T>(assertion: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(assertion)) {
        Ok(_) => panic!("the assertion should fail"),
        Err(panic) => panic_text(panic.as_ref()),
    }
}

#[tokio::test]
async fn a_failed_expectation_shows_what_caused_the_error() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Rooms::default())).await;
    let get = async |name: &str| app.anonymous().get(format!("/api/v1/public/rooms/{name}")).await;

    let broken = get("query").await;
    assert_eq!(broken.causes()[0], "rooms can't be listed");
    assert!(broken.causes()[1].contains("no such table: rooms_of_nobody"), "{:?}", broken.causes());
    for said in [
        failure(|| broken.clone().expect(200)),
        failure(|| broken.clone().expect_ok()),
        failure(|| broken.clone().expect_error(404, "NOT_FOUND")),
        failure(|| broken.json_as::<u8>()),
    ] {
        for part in [
            "GET /api/v1/public/rooms/query: 500 ",
            "INTERNAL_ERROR",
            "\n  caused by: rooms can't be listed",
            "\n  caused by: ",
            "no such table: rooms_of_nobody",
        ] {
            assert!(said.contains(part), "`{part}` is missing: {said}");
        }
    }
    assert!(!broken.text().contains("rooms_of_nobody"), "clients never see the cause: {}", broken.text());

    assert_eq!(get("panics").await.causes(), ["panicked: the room is on fire"]);
    let refused = get("refuses").await.expect_error(409, "ROOM_TAKEN");
    assert!(refused.causes().is_empty());
    assert!(!failure(|| refused.expect(200)).contains("caused by"));
}

crate::on_each_database! {
    async fn schedules_run_when_they_are_due(database: TestDatabase) {
        let rooms = Rooms::default();
        let app = TestApp::start(database, |app| app.with(rooms.clone())).await;
        let runs = || rooms.runs.each_ref().map(|runs| runs.load(Ordering::SeqCst));
        let minutes = |minutes: u64| app.clock().advance(Duration::from_secs(minutes * 60));

        app.run_crons().await;
        app.run_jobs().await;
        assert_eq!(runs(), [0, 0], "nothing is due at the start, 00:00");
        minutes(60);
        app.run_jobs().await;
        assert_eq!(runs(), [0, 0], "`run_jobs` ignores schedules");
        app.run_crons().await;
        app.run_crons().await;
        assert_eq!(runs(), [1, 0], "one tick runs once");
        minutes(180);
        app.run_crons().await;
        assert_eq!(runs(), [2, 1], "several ticks at once run once");
        for _ in 0..3 {
            minutes(60);
            app.run_crons().await;
        }
        assert_eq!(runs(), [5, 1]);
    }

    async fn a_table_of_tenants_with_a_policy_is_accepted(database: TestDatabase) {
        const PROTECTED: &[Migration] = &[Migration {
            name: "0001_rooms",
            postgres: "create table rooms (tenant_id uuid not null); select omnistack_protect('rooms')",
            sqlite: "create table rooms (tenant_id blob not null) strict",
        }];
        let rooms = Rooms { migrations: PROTECTED, ..Rooms::default() };
        let app = TestApp::start(database, |app| app.with(rooms)).await;
        assert!(app.app().unprotected_tables().await.unwrap().is_empty());
    }
}

/// Tables without policies: one that is forgotten, and one that is declared.
#[cfg(feature = "postgres")]
const FORGOTTEN: &[Migration] = &[Migration {
    name: "0001_rooms",
    postgres: "create table rooms (tenant_id uuid not null);
        create table bookings (tenant_id uuid not null);
        alter table bookings enable row level security;
        create policy tenant on bookings using (omnistack_visible(tenant_id));
        create table imports (tenant_id uuid)",
    sqlite: "create table rooms (tenant_id blob not null) strict",
}];

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_table_of_tenants_without_a_policy_fails_the_start() {
    let start = |unprotected: &'static [&'static str]| {
        let rooms = Rooms { migrations: FORGOTTEN, unprotected, ..Rooms::default() };
        catch_panic(TestApp::start(TestDatabase::postgres(), |app| app.with(rooms)))
    };
    let said = Box::pin(start(&["imports"])).await.unwrap_err();
    for part in [
        "row-level security: bookings, rooms\n",
        "\n    alter table bookings force row level security;\n    select omnistack_protect('rooms');\n",
        "`registry.unprotected_tables(…)`",
    ] {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
    Box::pin(start(&["imports", "rooms", "bookings"])).await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn only_tables_in_the_schema_of_the_app_need_a_policy() {
    let database = TestDatabase::postgres();
    database.open_db().query("create table visits (tenant_id uuid)").execute().await.unwrap();
    let app = TestApp::start(database, |app| app.set("DATABASE_SCHEMA", "acme")).await;
    assert!(app.app().unprotected_tables().await.unwrap().is_empty());
    app.db().query("create table plans (tenant_id uuid)").execute().await.unwrap();
    let found = app.app().unprotected_tables().await.unwrap();
    assert_eq!(found.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["plans"]);
}
