//! Processes that are killed by SIGKILL after each of their statements in turn while they take, capture or refund a
//! payment: nothing is lost, and no money moves twice.

use omnistack_core::{
    app::App,
    identity::TenantId,
    money::{Currency, Money},
    payment::CaptureMode,
};
use omnistack_payments::{Payment, PaymentId, PaymentLedger, PaymentRequest, PaymentState, Payments, RefundRequest};
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::{SERVICES, SETTLED, TestTenant, resolve_due, start};

/// The variables by which a child gets its tenant, the key of its payment, and the payment that it changes.
const TENANT: &str = "PAYMENT_CRASH_TENANT";
const KEY: &str = "PAYMENT_CRASH_KEY";
const PAYMENT: &str = "PAYMENT_CRASH_PAYMENT";

/// A child process that changes a payment of a tenant.
struct PayingChild {
    process: CrashChild,
    ledger: PaymentLedger,
    tenant: TenantId,
    _app: App,
}

impl PayingChild {
    /// Builds the app of the child. Returns `None` if this process is not a child.
    fn start() -> Option<Self> {
        let process = CrashChild::from_env()?;
        let payments = SERVICES[1..].iter().fold(Payments::from_env(), |module, name| module.fake_service(name));
        let app = process.builder().with(payments).build().unwrap();
        process.kill_after_statement(app.db(), |_| true);
        let (ledger, tenant) = (app.context().get().unwrap(), process.variable(TENANT).parse().unwrap());
        Some(Self { process, ledger, tenant, _app: app })
    }

    /// Returns the id of the payment that the child changes.
    fn payment(&self) -> PaymentId {
        self.process.variable(PAYMENT).parse().unwrap()
    }
}

fn request(tenant: TenantId, key: &str) -> PaymentRequest {
    PaymentRequest::new(tenant, key, Money::new(1_000, Currency::USD))
        .token("tok_ok")
        .service_token("fake", "tok_unavailable")
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_pays() {
    let Some(child) = PayingChild::start() else { return };
    let payment = child.ledger.create(request(child.tenant, &child.process.variable(KEY))).await.unwrap();
    assert_eq!(payment.status, PaymentState::Succeeded);
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_captures() {
    let Some(child) = PayingChild::start() else { return };
    child.ledger.capture(child.tenant, child.payment(), Some(600)).await.unwrap();
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_refunds() {
    let Some(child) = PayingChild::start() else { return };
    child.ledger.refund(child.tenant, child.payment(), RefundRequest::new("refund").amount(300)).await.unwrap();
}

/// Runs a child to its end. Returns whether it was killed.
async fn run(tenant: &TestTenant<'_>, child: &str, statement: usize, (name, value): (&str, &str)) -> bool {
    let command = CrashCommand::new(tenant.app, &format!("payment::crash::{child}"), statement);
    command.env(TENANT, tenant.id).env(name, value).run().await.was_killed
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
            let was_killed = run(&tenant, "child_that_pays", deaths + 1, (KEY, &key)).await;
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
            let was_killed = run(&tenant, "child_that_captures", deaths + 1, (PAYMENT, &id)).await;
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
            let was_killed = run(&tenant, "child_that_refunds", deaths + 1, (PAYMENT, &id)).await;
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
