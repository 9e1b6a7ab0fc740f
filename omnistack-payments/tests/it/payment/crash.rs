//! Processes that are killed by SIGKILL after each of their statements in turn while they take, capture or refund a
//! payment: nothing is lost, and no money moves twice.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
    identity::TenantId,
    money::{Currency, Money},
    payment::CaptureMode,
};
use omnistack_payments::{Payment, PaymentId, PaymentLedger, PaymentRequest, PaymentState, Payments, RefundRequest};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{SERVICES, SETTLED, TestTenant, resolve_due, start};

/// The variables by which a child gets the URL of the database, the time of its clock, its tenant, the statement after
/// which it is killed, the key of its payment, and the payment that it changes.
const URL: &str = "PAYMENT_CRASH_URL";
const CLOCK: &str = "PAYMENT_CRASH_CLOCK";
const TENANT: &str = "PAYMENT_CRASH_TENANT";
const STATEMENT: &str = "PAYMENT_CRASH_STATEMENT";
const KEY: &str = "PAYMENT_CRASH_KEY";
const PAYMENT: &str = "PAYMENT_CRASH_PAYMENT";

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

/// Returns the ledger and the tenant of a child process. Returns `None` if this is not a child.
fn child() -> Option<(App, PaymentLedger, TenantId)> {
    let url = variable(URL)?;
    let config =
        Config::from_pairs([("APP_ENV", "test"), ("DATABASE_URL", url.as_str()), ("DATABASE_SYNCHRONOUS", "off")]);
    let now = Timestamp::from_micros(variable(CLOCK)?.parse().unwrap());
    let payments = SERVICES[1..].iter().fold(Payments::from_env(), |module, name| module.fake_service(name));
    let app = App::builder(config).clock(MockClock::at(now).clock()).with(payments).build().unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT)?.parse().unwrap())));
    let ledger = app.context().get().unwrap();
    Some((app, ledger, variable(TENANT)?.parse().unwrap()))
}

fn request(tenant: TenantId, key: &str) -> PaymentRequest {
    PaymentRequest::new(tenant, key, Money::new(1_000, Currency::USD))
        .token("tok_ok")
        .service_token("fake", "tok_unavailable")
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_pays() {
    let Some((_app, ledger, tenant)) = child() else { return };
    let payment = ledger.create(request(tenant, &variable(KEY).unwrap())).await.unwrap();
    assert_eq!(payment.status, PaymentState::Succeeded);
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_captures() {
    let Some((_app, ledger, tenant)) = child() else { return };
    let id: PaymentId = variable(PAYMENT).unwrap().parse().unwrap();
    ledger.capture(tenant, id, Some(600)).await.unwrap();
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_refunds() {
    let Some((_app, ledger, tenant)) = child() else { return };
    let id: PaymentId = variable(PAYMENT).unwrap().parse().unwrap();
    ledger.refund(tenant, id, RefundRequest::new("refund").amount(300)).await.unwrap();
}

/// Runs a child to its end. Returns whether it was killed.
async fn run(tenant: &TestTenant<'_>, child: &str, statement: usize, more: &[(&str, String)]) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("payment::crash::{child}"), "--ignored", "--nocapture"]);
    command.env(URL, tenant.app.database().url()).env(STATEMENT, statement.to_string());
    command.env(CLOCK, tenant.app.clock().clock().now().as_micros().to_string());
    command.env(TENANT, tenant.id.to_string()).envs(more.iter().map(|(name, value)| (*name, value.as_str())));
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    wait_for_closed_sessions(tenant.app).await;
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

/// Lets the requests that were lost settle, and asks the providers.
async fn recover(app: &TestApp) {
    for _ in 0..2 {
        app.clock().advance(SETTLED);
        resolve_due(app).await;
    }
}

async fn payments_with_key(tenant: &TestTenant<'_>, key: &str) -> Vec<Payment> {
    let mut tx = tenant.app.db().app_database().tenant(tenant.id).begin_read().await.unwrap();
    let sql = "select id from omni_payments where tenant_id = $1 and request_key = $2";
    let ids: Vec<(PaymentId,)> = tx.query(sql).bind(tenant.id).bind(key.to_owned()).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    let mut payments = Vec::new();
    for (id,) in ids {
        payments.push(tenant.ledger.get(tenant.id, id).await.unwrap());
    }
    payments
}

on_each_database! {
    async fn a_payment_of_a_killed_process_takes_money_at_most_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let (mut deaths, mut charged_by_killed) = (0, 0);
        loop {
            let key = format!("payment {deaths}");
            let was_killed = run(&tenant, "child_that_pays", deaths + 1, &[(KEY, key.clone())]).await;
            recover(&app).await;
            let left = payments_with_key(&tenant, &key).await;
            assert!(left.len() <= 1);
            for payment in &left {
                let charges = tenant.charges(payment).await;
                let expected = if charges == 1 { PaymentState::Succeeded } else { PaymentState::Failed };
                assert_eq!((payment.status, charges <= 1), (expected, true), "after {deaths}: {payment:?}");
                charged_by_killed += usize::from(was_killed) * charges;
            }
            // The client has no response, so it sends the request again.
            let again = tenant.ledger.create(request(tenant.id, &key)).await.unwrap();
            assert!(tenant.charges(&again).await <= 1);
            assert_eq!(payments_with_key(&tenant, &key).await.len(), 1);
            tenant.check_ledger().await;
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 15 && charged_by_killed >= 3, "{deaths} {charged_by_killed}");
    }

    async fn a_capture_of_a_killed_process_is_completed(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let mut deaths = 0;
        loop {
            let new = tenant.request(&format!("payment {deaths}"), "tok_ok").capture(CaptureMode::Manual);
            let payment = tenant.ledger.create(new).await.unwrap();
            let id = payment.id.to_string();
            let was_killed = run(&tenant, "child_that_captures", deaths + 1, &[(PAYMENT, id)]).await;
            recover(&app).await;
            let found = tenant.get(&payment).await;
            let state = (found.status, found.captured, found.attempts[0].pending_change);
            let is_expected = [(PaymentState::Authorized, 0, None), (PaymentState::Succeeded, 600, None)].contains(&state);
            assert!(is_expected, "after {deaths}: {found:?}");
            tenant.check_ledger().await;
            if !was_killed {
                assert_eq!(found.captured, 600);
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }

    async fn a_refund_of_a_killed_process_is_made_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let mut deaths = 0;
        loop {
            let payment = tenant.pay(&format!("payment {deaths}"), "tok_ok").await;
            let id = payment.id.to_string();
            let was_killed = run(&tenant, "child_that_refunds", deaths + 1, &[(PAYMENT, id)]).await;
            recover(&app).await;
            let found = tenant.get(&payment).await;
            assert!([0, 300].contains(&found.refunded), "after {deaths}: {found:?}");
            // The client has no response, so it sends the request again.
            let request = RefundRequest::new("refund").amount(300);
            let again = tenant.ledger.refund(tenant.id, payment.id, request).await.unwrap();
            assert_eq!((again.refunded, again.refunds.len()), (300, 1), "after {deaths}: {again:?}");
            tenant.check_ledger().await;
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }
}
