//! Tests of allowances: units that a process gives out from memory.

use futures_util::future::join_all;
use omnistack_testkit::{TestPostgres, on_each_database};

use super::*;

/// Consumes amounts of one until the limit refuses. Returns their number.
pub(crate) async fn consume_all(process: &Process, tenant: TenantId, meter: &'static str) -> i64 {
    let mut allowed = 0;
    while process.consume(tenant, meter, 1).await {
        allowed += 1;
    }
    allowed
}

on_each_database! {
    async fn exactly_the_limit_is_consumed(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        assert_eq!(consume_all(&process, tenant, RUNS).await, RUNS_OF_FREE);
        // Until the ledger has stored the use, the reservation holds it.
        expect_use(&process, tenant, RUNS, "0", "100").await;
        assert!(!process.consume(tenant, RUNS, 1).await);
        process.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
        assert!(!process.consume(tenant, RUNS, 1).await);
        assert_eq!(stored_windows(&app, tenant).await[0].reservations, 0);
    }

    async fn callers_at_the_same_time_share_the_limit(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let callers: Vec<_> = (0..250)
            .map(|_| {
                let process = process.clone();
                tokio::spawn(async move { process.consume(tenant, RUNS, 1).await })
            })
            .collect();
        let mut allowed = 0;
        for caller in callers {
            allowed += i64::from(caller.await.unwrap());
        }
        assert_eq!(allowed, RUNS_OF_FREE);
        process.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
    }

    async fn the_last_units_are_found_together(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        // What the allowance has left and what the limit has left make up one amount.
        let allowed = [(60, true), (1, true), (1, true), (1, true), (30, true), (8, false), (7, true), (1, false)];
        for (amount, allowed) in allowed {
            assert_eq!(process.consume(tenant, RUNS, amount).await, allowed, "{amount}");
        }
        process.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
    }

    async fn callers_that_go_away_cost_nothing_that_is_not_counted(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        for turns in 0..40 {
            let consuming = process.clone();
            let caller = tokio::spawn(async move { consuming.consume(tenant, RUNS, 1).await });
            for _ in 0..turns * 3 {
                tokio::task::yield_now().await;
            }
            caller.abort();
            _ = caller.await;
        }
        // Some were counted before they went away. All others are left.
        consume_all(&process, tenant, RUNS).await;
        process.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
    }

    async fn what_is_idle_is_given_back_and_what_is_used_stays_reserved(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let other = Process::of(&second_app(&app).await);
        let tenant = new_tenant(&app);
        for _ in 0..21 {
            assert!(process.consume(tenant, RUNS, 1).await);
        }
        let (_, reserved) = use_of(&process, tenant, RUNS).await;
        assert!(reserved.parse::<i64>().unwrap() > 21, "{reserved} are reserved, some of them for the next requests");
        process.maintain().await;
        assert_eq!(use_of(&process, tenant, RUNS).await.1, reserved, "it is in use");

        app.clock().advance(Duration::from_secs(1));
        process.maintain().await;
        expect_use(&process, tenant, RUNS, "0", "21").await;
        assert_eq!(consume_all(&other, tenant, RUNS).await, 79);
        process.flush().await;
        other.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
    }

    async fn an_allowance_is_renewed_until_its_use_is_stored(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let other = Process::of(&second_app(&app).await);
        let tenant = new_tenant(&app);
        // In use for longer than the reservation of an allowance lasts.
        for number in 1..=10 {
            assert!(process.consume(tenant, RUNS, 1).await);
            app.clock().advance(Duration::from_secs(4));
            process.maintain().await;
            // If the other process needs the units of expired reservations, it deletes them.
            assert!(!other.consume(tenant, RUNS, 101 - number).await);
            expect_use(&process, tenant, RUNS, "0", &number.to_string()).await;
        }
        // Idle for a part of that time.
        for _ in 0..5 {
            app.clock().advance(Duration::from_secs(5));
            process.maintain().await;
        }
        app.clock().advance(Duration::from_secs(10));
        assert!(!other.consume(tenant, RUNS, 91).await);
        expect_use(&process, tenant, RUNS, "0", "10").await;
        process.flush().await;
        expect_use(&process, tenant, RUNS, "10", "0").await;
        app.clock().advance(Duration::from_secs(10));
        process.maintain().await;
        assert_eq!(consume_all(&other, tenant, RUNS).await, 90);
    }

    async fn the_allowance_of_a_crashed_process_expires(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let other = Process::of(&second_app(&app).await);
        let tenant = new_tenant(&app);
        for _ in 0..10 {
            assert!(process.consume(tenant, RUNS, 1).await);
        }
        let reserved: i64 = use_of(&process, tenant, RUNS).await.1.parse().unwrap();
        assert_eq!(consume_all(&other, tenant, RUNS).await, RUNS_OF_FREE - reserved);
        other.flush().await;
        // `USAGE_FLUSH` and thirty seconds.
        app.clock().advance(Duration::from_secs(31));
        assert!(!other.consume(tenant, RUNS, 1).await);
        app.clock().advance(Duration::from_secs(1));
        assert_eq!(consume_all(&other, tenant, RUNS).await, reserved);
        other.flush().await;
        expect_use(&other, tenant, RUNS, "100", "0").await;
    }

    async fn an_allowance_is_not_used_when_its_reservation_may_have_expired(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let other = Process::of(&second_app(&app).await);
        let tenant = new_tenant(&app);
        for _ in 0..21 {
            assert!(process.consume(tenant, RUNS, 1).await);
        }
        process.flush().await;
        let left: i64 = use_of(&process, tenant, RUNS).await.1.parse().unwrap();
        assert!(left > 0);
        app.clock().advance(Duration::from_secs(32));
        // The other process takes over what has expired, so this one must not give it out.
        assert_eq!(consume_all(&other, tenant, RUNS).await, 79);
        assert!(!process.consume(tenant, RUNS, 1).await);
        other.flush().await;
        expect_use(&process, tenant, RUNS, "100", "0").await;
    }

    async fn units_are_given_back(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        assert!(process.consume(tenant, meters::STORAGE_BYTES, 400).await);
        assert!(!process.consume(tenant, meters::STORAGE_BYTES, 101).await);
        assert!(process.consume(tenant, meters::STORAGE_BYTES, -50).await);
        process.flush().await;
        expect_use(&process, tenant, meters::STORAGE_BYTES, "350", "0").await;
        assert!(!process.consume(tenant, meters::STORAGE_BYTES, 151).await);
        assert!(process.consume(tenant, meters::STORAGE_BYTES, 150).await);
        process.flush().await;
        expect_use(&process, tenant, meters::STORAGE_BYTES, "500", "0").await;
    }

    async fn decimals_and_events_are_consumed(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        for (hours, allowed) in [("2.5", true), ("7.49", true), ("0.02", false), ("0.01", true), ("0.01", false)] {
            assert_eq!(process.consume(tenant, "hours", decimal(hours)).await, allowed, "{hours}");
        }
        // Whatever its quantity is, an event is one.
        let mut allowed = Vec::new();
        for quantity in [1, 0, 0, 1, 0, 1] {
            allowed.push(process.consume(tenant, "logins", quantity).await);
        }
        assert_eq!(allowed, [true, true, true, true, true, false]);
        process.flush().await;
        expect_use(&process, tenant, "hours", "10", "0").await;
        expect_use(&process, tenant, "logins", "5", "0").await;
    }

    async fn without_a_hard_limit_all_is_counted(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        for meter in [meters::AI_FIXES, meters::AI_REQUESTS] {
            for _ in 0..25 {
                assert!(process.consume(tenant, meter, 1).await);
            }
            expect_use(&process, tenant, meter, "0", "0").await;
            process.flush().await;
            expect_use(&process, tenant, meter, "25", "0").await;
        }
    }

    async fn after_many_refusals_the_next_second_asks_again(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let tenant = new_tenant(&app);
        let all = process.reserve(tenant, RUNS_OF_FREE).await.unwrap();
        for _ in 0..30 {
            assert!(!process.consume(tenant, RUNS, 1).await);
        }
        // In the same process, the end of a reservation is known.
        all.release().await.unwrap();
        assert!(process.consume(tenant, RUNS, 1).await);

        let other = Process::of(&second_app(&app).await);
        let all = other.reserve(tenant, RUNS_OF_FREE - 1).await.unwrap();
        for _ in 0..30 {
            assert!(!process.consume(tenant, RUNS, 1).await);
        }
        all.release().await.unwrap();
        assert!(!process.consume(tenant, RUNS, 1).await);
        app.clock().advance(Duration::from_secs(1));
        assert!(process.consume(tenant, RUNS, 1).await);
    }

    async fn at_the_end_of_a_process_nothing_stays_reserved(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let second = second_app(&app).await;
        let other = Process::of(&second);
        let tenant = new_tenant(&app);
        for _ in 0..21 {
            assert!(other.consume(tenant, RUNS, 1).await);
        }
        second.stop().await;
        expect_use(&process, tenant, RUNS, "21", "0").await;
        assert_eq!(consume_all(&process, tenant, RUNS).await, 79);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_wait_for_the_same_allowance_fail_together() {
    let mut server = TestPostgres::start().await;
    let url = server.url();
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        with_billing(app).set("DATABASE_URL", url).set("DATABASE_ACQUIRE_TIMEOUT", "300ms")
    })
    .await;
    let process = Process::of(app.app());
    let tenant = new_tenant(&app);
    assert!(process.consume(tenant, RUNS, 1).await);
    server.kill().await;
    let consume = |_| process.quotas.consume(process.event(tenant, RUNS, 1));
    let all = timeout(Duration::from_secs(8), join_all((0..100).map(consume))).await;
    for result in all.expect("no caller waits for the others") {
        assert_eq!(result.unwrap_err().status(), 503);
    }
    server.restart().await;
    let again = async {
        while process.quotas.consume(process.event(tenant, RUNS, 1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), again).await.expect("units can be reserved again");
}
