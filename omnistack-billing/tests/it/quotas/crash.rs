//! Processes that are killed by SIGKILL after each of their statements in turn, while they reserve, settle, release and
//! consume: nothing stays reserved, what was acknowledged counts, and nothing counts twice.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

use omnistack_core::{
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
};
use omnistack_testkit::on_each_database;

use super::{reservations::ReleaseReservations, *};

/// The variables by which a child gets the URL of the database, the time of its clock, its tenant, and the statement
/// after which it is killed.
const URL: &str = "QUOTA_CRASH_URL";
const CLOCK: &str = "QUOTA_CRASH_CLOCK";
const TENANT: &str = "QUOTA_CRASH_TENANT";
const STATEMENT: &str = "QUOTA_CRASH_STATEMENT";

/// The lines that a child process prints after the database has stored the settlement or the consumption.
const SETTLED: &str = "acknowledged: settled";
const CONSUMED: &str = "acknowledged: consumed";

/// The amounts of a child process: its reservation, its settlement of that reservation, and its later consumption.
const RESERVED: i64 = 60;
const USED: i64 = 40;
const MORE: i64 = 5;

/// A query observer that kills its process at the end of the n-th statement.
struct KillAfter(AtomicUsize);

impl QueryObserver for KillAfter {
    fn observe(&self, _: QueryEvent<'_>) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
            loop {
                std::thread::park();
            }
        }
    }
}

fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

/// Returns the event of the work, which is the same if it is sent again.
fn work(tenant: TenantId, at: Timestamp) -> UsageEvent {
    UsageEvent::new(tenant, RUNS, USED, at).once("crash", "work")
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_works() {
    let Some(url) = variable(URL) else { return };
    let config =
        Config::from_pairs([("APP_ENV", "test"), ("DATABASE_URL", url.as_str()), ("DATABASE_SYNCHRONOUS", "off")]);
    let now = Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap());
    let builder = App::builder(config).clock(MockClock::at(now).clock()).with(DevIdentity::default());
    let app = with_billing(builder).set("DEV_TOKEN", "dev_crash").build().unwrap();
    app.start().await.unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT).unwrap().parse().unwrap())));
    let (process, tenant): (_, TenantId) = (Process::of(&app), variable(TENANT).unwrap().parse().unwrap());

    let reservation = process.reserve(tenant, RESERVED).await.unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    reservation.settle_in(&mut tx, work(tenant, now)).await.unwrap();
    tx.commit().await.unwrap();
    println!("{SETTLED}");
    process.reserve(tenant, RESERVED).await.unwrap().release().await.unwrap();
    assert!(process.consume(tenant, RUNS, MORE).await);
    process.flush().await;
    println!("{CONSUMED}");
}

/// Runs a child to its end. Returns what it has written, and whether it was killed.
async fn run(app: &TestApp, tenant: TenantId, statement: usize) -> (String, bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "quotas::crash::child_that_works", "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string()).env(TENANT, tenant.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    (stdout, !status.success())
}

/// Waits until PostgreSQL has ended the transactions of disconnected clients.
async fn wait_for_closed_sessions(app: &TestApp) {
    if app.db().dialect() == Dialect::Sqlite {
        return;
    }
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
    let look = async {
        while app.db().query(open).fetch_one::<(i64,)>().await.unwrap().0 > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), look).await.expect("the child's transaction ends");
}

on_each_database! {
    async fn killed_processes_leave_nothing_reserved(database: TestDatabase) {
        let app = start(database).await;
        let process = Process::of(app.app());
        let mut deaths = 0;
        for statement in 1.. {
            let tenant = new_tenant(&app);
            let began_at = app.clock().clock().now();
            let (written, was_killed) = run(&app, tenant, statement).await;
            wait_for_closed_sessions(&app).await;

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
