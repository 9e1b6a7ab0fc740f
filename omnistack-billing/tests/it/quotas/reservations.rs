//! Tests of reservations: each ends, whatever happens to the work.

use axum::response::IntoResponse as _;
use omnistack_core::{
    async_trait,
    http::Error,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::on_each_database;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReleaseReservations {}

#[async_trait]
impl Job for ReleaseReservations {
    const NAME: &'static str = "usage.release_reservations";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn error_body(error: Error) -> Value {
    let body = axum::body::to_bytes(error.into_response().into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

on_each_database! {
    async fn what_was_really_used_counts(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        // Less, as much, and more than what was reserved, also beyond the limit.
        for (reserved, used, total) in [(10, 4, "4"), (10, 10, "14"), (10, 0, "14"), (10, 26, "40"), (60, 61, "101")] {
            let before = use_of(&process, tenant, RUNS).await.0;
            let reservation = process.reserve(tenant, reserved).await.unwrap();
            expect_use(&process, tenant, RUNS, &before, &reserved.to_string()).await;
            settle(&app, reservation, process.event(tenant, RUNS, used)).await;
            expect_use(&process, tenant, RUNS, total, "0").await;
        }
        assert!(process.reserve(tenant, 1).await.is_none());
        assert_eq!(process.status(tenant, RUNS).await.remaining.unwrap().to_string(), "0");
    }

    async fn no_more_than_the_limit_is_reserved(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let first = process.reserve(tenant, 60).await.unwrap();
        assert!(process.reserve(tenant, 41).await.is_none());
        let second = process.reserve(tenant, 40).await.unwrap();
        let error = process.quotas.reserve(tenant, RUNS, 1).await.unwrap_err();
        let error = error_body(error).await;
        assert_eq!(error["error"]["code"], "PLAN_LIMIT_REACHED");
        assert_eq!(
            error["error"]["details"],
            json!({
                "limit": "runs", "used": 100, "allowed": 100, "plan": "free", "reserved": 100,
                "upgrade": { "plan": "pro", "name": "Pro" },
            })
        );
        second.release().await.unwrap();
        expect_use(&process, tenant, RUNS, "0", "60").await;
        assert!(process.reserve(tenant, 41).await.is_none());
        settle(&app, first, process.event(tenant, RUNS, 5)).await;
        assert!(process.reserve(tenant, 96).await.is_none());
        let all = process.reserve(tenant, 95).await.unwrap();
        // Another tenant, and tests, have limits of their own.
        let other = process.reserve(new_tenant(&app), 100).await.unwrap();
        let ttl = Duration::from_secs(60);
        let test = process.quotas.reserve_for(tenant, DataEnvironment::Test, RUNS, 100, ttl).await.unwrap();
        for reservation in [all, other, test] {
            reservation.release().await.unwrap();
        }
        expect_use(&process, tenant, RUNS, "5", "0").await;
    }

    async fn a_reservation_that_is_dropped_is_released(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        drop(process.reserve(tenant, 100).await.unwrap());
        wait_for_release(&app, tenant).await;

        let reservation = process.reserve(tenant, 100).await.unwrap();
        let panicked = tokio::spawn(async move {
            let _held = reservation;
            panic!("the work fails");
        });
        assert!(panicked.await.unwrap_err().is_panic());
        wait_for_release(&app, tenant).await;
        assert!(process.reserve(tenant, 100).await.is_some());
    }

    async fn a_caller_that_goes_away_leaves_nothing(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        for turns in 0..40 {
            let reserving = process.clone();
            let caller = tokio::spawn(async move { reserving.reserve(tenant, 1).await });
            for _ in 0..turns * 3 {
                tokio::task::yield_now().await;
            }
            caller.abort();
        }
        // All of it can be reserved as soon as the last of them is released; what begins later is refused.
        let all = async {
            loop {
                match process.reserve(tenant, RUNS_OF_FREE).await {
                    Some(reservation) => break reservation,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let all = timeout(Duration::from_secs(20), all).await.expect("nothing stays reserved");
        all.release().await.unwrap();
        wait_for_release(&app, tenant).await;
    }

    async fn a_rollback_releases_the_reservation_and_stores_no_event(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        for rolls_back in [true, false] {
            let reservation = process.reserve(tenant, 70).await.unwrap();
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            reservation.settle_in(&mut tx, process.event(tenant, RUNS, 70)).await.unwrap();
            // Dropping a transaction rolls it back, too.
            if rolls_back {
                tx.rollback().await.unwrap();
            } else {
                drop(tx);
            }
            wait_for_release(&app, tenant).await;
            expect_use(&process, tenant, RUNS, "0", "0").await;
        }
    }

    async fn a_transaction_without_a_tenant_settles_after_its_commit(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let reservation = process.reserve(tenant, 70).await.unwrap();
        let mut tx = app.db().begin().await.unwrap();
        reservation.settle_in(&mut tx, process.event(tenant, RUNS, 30)).await.unwrap();
        tx.commit().await.unwrap();
        wait_for_release(&app, tenant).await;
        expect_use(&process, tenant, RUNS, "30", "0").await;
    }

    async fn the_reservation_of_a_crashed_process_expires(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        std::mem::forget(process.reserve(tenant, 100).await.unwrap());
        app.clock().advance(Duration::from_secs(599));
        assert!(process.reserve(tenant, 1).await.is_none());
        app.clock().advance(Duration::from_secs(1));
        // A caller that needs its units does not wait for the job.
        let reservation = process.reserve(tenant, 100).await.unwrap();
        // A reservation that has expired still settles: what was used counts.
        app.clock().advance(Duration::from_secs(600));
        std::mem::forget(process.reserve(tenant, 80).await.unwrap());
        settle(&app, reservation, process.event(tenant, RUNS, 50)).await;
        expect_use(&process, tenant, RUNS, "50", "80").await;

        app.clock().advance(Duration::from_secs(599));
        app.jobs().enqueue(ReleaseReservations {}).await.unwrap();
        app.run_jobs().await;
        expect_use(&process, tenant, RUNS, "50", "80").await;
        app.clock().advance(Duration::from_secs(1));
        app.jobs().enqueue(ReleaseReservations {}).await.unwrap();
        app.run_jobs().await;
        expect_use(&process, tenant, RUNS, "50", "0").await;
        assert_eq!(stored_windows(&app, tenant).await[0].reservations, 0);
    }

    async fn a_time_to_live_can_be_set(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let reserve = |ttl| process.quotas.reserve_for(tenant, DataEnvironment::Live, RUNS, 100, ttl);
        std::mem::forget(reserve(Duration::from_secs(5)).await.unwrap());
        app.clock().advance(Duration::from_secs(5));
        let long = reserve(Duration::from_secs(86_400)).await.unwrap();
        app.clock().advance(Duration::from_secs(86_399));
        assert!(process.reserve(tenant, 1).await.is_none());
        long.release().await.unwrap();
    }

    async fn without_a_hard_limit_nothing_is_held(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        for meter in [meters::AI_FIXES, meters::AI_REQUESTS] {
            let reservation = process.quotas.reserve(tenant, meter, 1_000_000).await.unwrap();
            expect_use(&process, tenant, meter, "0", "0").await;
            settle(&app, reservation, process.event(tenant, meter, 12)).await;
            expect_use(&process, tenant, meter, "12", "0").await;
            process.quotas.reserve(tenant, meter, 1).await.unwrap().release().await.unwrap();
        }
        let nothing = process.quotas.reserve(tenant, RUNS, 0).await.unwrap();
        assert!(stored_windows(&app, tenant).await.iter().all(|window| window.meter != RUNS));
        settle(&app, nothing, process.event(tenant, RUNS, 3)).await;
        expect_use(&process, tenant, RUNS, "3", "0").await;
    }

    async fn amounts_and_meters_are_checked(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        for (meter, amount, status) in [
            (RUNS, "-1", 422),
            (RUNS, "0.5", 422),
            (RUNS, "1000000000000001", 422),
            ("hours", "0.001", 422),
            ("unknown", "1", 500),
            ("peak", "1", 500),
            ("logins", "6", 402),
            ("hours", "10.01", 402),
        ] {
            let error = process.quotas.reserve(tenant, meter, decimal(amount)).await.unwrap_err();
            assert_eq!(error.status().as_u16(), status, "{meter} {amount}: {error:?}");
        }
        for (meter, quantity, status) in [
            (RUNS, "0.5", 422),
            ("logins", "-1", 422),
            ("unknown", "1", 500),
            ("peak", "1", 500),
            ("hours", "10.01", 402),
        ] {
            let event = UsageEvent::new(tenant, meter, decimal(quantity), app.clock().clock().now());
            let error = process.quotas.consume(event).await.unwrap_err();
            assert_eq!(error.status().as_u16(), status, "{meter} {quantity}: {error:?}");
        }
        let five = process.quotas.reserve(tenant, "logins", 5).await.unwrap();
        expect_use(&process, tenant, "logins", "0", "5").await;
        // Whatever its quantity is, an event is one.
        settle(&app, five, process.event(tenant, "logins", 3)).await;
        expect_use(&process, tenant, "logins", "1", "0").await;
        let hours = process.quotas.reserve(tenant, "hours", decimal("9.99")).await.unwrap();
        expect_use(&process, tenant, "hours", "0", "9.99").await;
        hours.release().await.unwrap();
    }
}
