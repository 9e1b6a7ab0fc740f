//! Processes that are killed by SIGKILL after each of their statements in turn while they finalise invoices: no number is
//! given twice, and none is left out.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_billing::{InvoiceId, Invoices};
use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{Customer, SELLER, billing, handle, start};

/// The variables by which a child gets the URL of the database, the time of its clock, the ids of its invoices, and the
/// statement after which it is killed.
const URL: &str = "INVOICE_CRASH_URL";
const CLOCK: &str = "INVOICE_CRASH_CLOCK";
const INVOICE_IDS: &str = "INVOICE_CRASH_IDS";
const STATEMENT: &str = "INVOICE_CRASH_STATEMENT";

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

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_finalises() {
    let Some(url) = variable(URL) else { return };
    let settings = [("APP_ENV", "test"), ("DATABASE_URL", url.as_str()), ("DATABASE_SYNCHRONOUS", "off")];
    let config = Config::from_pairs(settings.into_iter().chain(SELLER));
    let now = Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap());
    let app = App::builder(config).clock(MockClock::at(now).clock()).with(billing()).build().unwrap();
    let ids: Vec<InvoiceId> = variable(INVOICE_IDS).unwrap().split(',').map(|id| id.parse().unwrap()).collect();
    let invoices: Invoices = app.context().get().unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT).unwrap().parse().unwrap())));
    invoices.finalize_all(&ids).await.unwrap();
}

/// Runs a child to its end. Returns whether it was killed.
async fn run(app: &TestApp, ids: &[InvoiceId], statement: usize) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "invoice::crash::child_that_finalises", "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    command.env(INVOICE_IDS, ids.join(","));
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    !status.success()
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
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("the child's transaction ends");
}

/// Returns the numbers of all invoices, in order.
async fn numbers(app: &TestApp) -> Vec<i64> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select number from omni_invoices where number is not null order by number";
    let rows: Vec<(i64,)> = tx.query(sql).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows.into_iter().map(|(number,)| number).collect()
}

on_each_database! {
    async fn a_killed_process_numbers_nothing_twice_and_leaves_no_gap(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let (mut drafted, mut deaths) = (0, 0);
        for statement in 1.. {
            let mut ids = Vec::new();
            for index in 0..3 {
                let key = format!("{statement}/{index}");
                ids.push(customer.draft(customer.new_invoice(&key, &[100, 200])).await.unwrap());
            }
            drafted += 3;
            let was_killed = run(&app, &ids, statement).await;
            wait_for_closed_sessions(&app).await;
            let found = numbers(&app).await;
            assert_eq!(found, (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>(), "{statement}");
            // Another process goes on.
            handle(&app).finalize_all(&ids).await.unwrap();
            assert_eq!(numbers(&app).await, (1..=drafted).collect::<Vec<i64>>(), "{statement}");
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }
}
