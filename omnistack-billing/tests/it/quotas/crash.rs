//! Processes that are killed by SIGKILL after each of their statements in turn, while they reserve, settle, release and
//! consume: nothing stays reserved, what was acknowledged counts, and nothing counts twice.

use omnistack_core::clock::Timestamp;
use omnistack_testkit::{
    crash::{CrashChild, CrashCommand, CrashEnd},
    on_each_database,
};

use super::{reservations::ReleaseReservations, *};

/// The variable by which a child gets its tenant.
const TENANT: &str = "QUOTA_CRASH_TENANT";

/// The lines that a child process prints after the database has stored the settlement or the consumption.
const SETTLED: &str = "acknowledged: settled";
const CONSUMED: &str = "acknowledged: consumed";

/// The amounts of a child process: its reservation, its settlement of that reservation, and its later consumption.
const RESERVED: i64 = 60;
const USED: i64 = 40;
const MORE: i64 = 5;

/// Returns the event of the work, which is the same if it is sent again.
fn work(tenant: TenantId, at: Timestamp) -> UsageEvent {
    UsageEvent::new(tenant, RUNS, USED, at).once("crash", "work")
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_works() {
    let Some(child) = CrashChild::from_env() else { return };
    let builder = child.builder().with(DevIdentity::default()).set("DEV_TOKEN", "dev_crash");
    let app = with_billing(builder).build().unwrap();
    app.start().await.unwrap();
    child.kill_after_statement(app.db(), |_| true);
    let (process, tenant): (_, TenantId) = (Process::of(&app), child.variable(TENANT).parse().unwrap());

    let reservation = process.reserve(tenant, RESERVED).await.unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    reservation.settle_in(&mut tx, work(tenant, child.now())).await.unwrap();
    tx.commit().await.unwrap();
    println!("{SETTLED}");
    process.reserve(tenant, RESERVED).await.unwrap().release().await.unwrap();
    assert!(process.consume(tenant, RUNS, MORE).await);
    process.flush().await;
    println!("{CONSUMED}");
}

on_each_database! {
    async fn killed_processes_leave_nothing_reserved(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let mut deaths = 0;
        for statement in 1.. {
            let tenant = new_tenant(&app);
            let began_at = app.clock().clock().now();
            let command = CrashCommand::new(&app, "quotas::crash::child_that_works", statement);
            let CrashEnd { was_killed, stdout: written } = command.env(TENANT, tenant).run().await;

            // At each moment, the limit allows what is neither used nor reserved, and no more.
            let windows = stored_windows(&app, tenant).await;
            let (used, reserved) = windows.first().map_or((0, 0), |window| (window.sum, window.reserved));
            assert!(windows.iter().all(|window| window.reserved == window.held), "{statement}: {windows:?}");
            assert!(used + reserved <= RUNS_OF_FREE, "{statement}: {windows:?}");
            assert!(process.reserve(tenant, RUNS_OF_FREE - used - reserved + 1).await.is_none(), "{statement}");
            let possible: &[i64] = match (written.contains(SETTLED), written.contains(CONSUMED)) {
                (false, _) => &[0, USED],
                (true, false) => &[USED, USED + MORE],
                (true, true) => &[USED + MORE],
            };
            assert!(possible.contains(&used), "{statement}: {used} is none of {possible:?}");

            app.clock().advance(omnistack_billing::RESERVATION_TTL);
            app.jobs().enqueue(ReleaseReservations {}).await.unwrap();
            app.run_jobs().await;
            expect_use(&process, tenant, RUNS, &used.to_string(), "0").await;
            let windows = stored_windows(&app, tenant).await;
            assert!(windows.iter().all(|window| window.reservations == 0), "{statement}: {windows:?}");

            // The work is done again, by all that is left. It counts once.
            let reservation = process.reserve(tenant, RUNS_OF_FREE - used).await.unwrap();
            settle(&app, reservation, work(tenant, began_at)).await;
            expect_use(&process, tenant, RUNS, &used.max(USED).to_string(), "0").await;
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }
}
