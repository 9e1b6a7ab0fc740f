//! Tests of payments.

#![cfg(test)]

mod attempts;
mod changes;
mod crash;
mod dispute_searches;
mod disputes;
mod events;
mod exports;
mod properties;
mod refunds;
mod routes;
mod unreadable;

use std::time::Duration;

use omnistack_core::{
    async_trait,
    http::Method,
    identity::TenantId,
    jobs::{Job, JobContext, JobError, NewJob},
    money::{Currency, Money},
};
use omnistack_payments::{FakeBank, FakeFault, Payment, PaymentLedger, PaymentRequest, Payments};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const PAYMENTS: &str = "/api/v1/app/payments";

/// The services of the tests, in the order in which they are tried.
pub(crate) const SERVICES: [&str; 3] = ["fake", "fake_b", "fake_c"];

/// Longer than the time for which a lost request can still arrive.
const SETTLED: Duration = Duration::from_secs(121);

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct ResolvePayments {}

#[async_trait]
impl Job for ResolvePayments {
    const NAME: &'static str = "payments.resolve_payments";
    const MAX_ATTEMPTS: u32 = 1;
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct FindDisputes {}

#[async_trait]
impl Job for FindDisputes {
    const NAME: &'static str = "payments.find_disputes";
    const MAX_ATTEMPTS: u32 = 1;
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

pub(crate) async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| {
        let payments = SERVICES[1..].iter().fold(Payments::from_env(), |module, name| module.fake_service(name));
        app.with(payments)
    })
    .await
}

/// Asks the providers for what is due.
pub(crate) async fn resolve_due(app: &TestApp) {
    app.jobs().enqueue(NewJob::new(ResolvePayments {})).await.unwrap();
    app.run_jobs().await;
}

/// Looks for disputes. Webhooks of the fakes that were not delivered are lost.
pub(crate) async fn find_disputes(app: &TestApp) {
    let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
    tx.query("delete from omni_jobs where name = 'payments.deliver_fake_event'").execute().await.unwrap();
    tx.commit().await.unwrap();
    app.jobs().enqueue(NewJob::new(FindDisputes {})).await.unwrap();
    app.run_jobs().await;
    app.run_events().await;
}

/// A tenant with test accounts at all services, which are tried in their order.
pub(crate) struct TestTenant<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) client: TestClient,
    pub(crate) id: TenantId,
    pub(crate) ledger: PaymentLedger,
    pub(crate) bank: FakeBank,
}

impl<'a> TestTenant<'a> {
    pub(crate) async fn new(app: &'a TestApp) -> Self {
        let client = app.user();
        let id = client.identity().unwrap().tenant.unwrap();
        for service in SERVICES {
            let path = format!("/api/v1/app/services/{service}/credentials/test");
            let body = json!({ "fields": { "api_key": "fake_test_1" } });
            client.request(Method::PUT, path).json(body).await.expect(200);
        }
        let services: Vec<_> = SERVICES.iter().map(|name| json!({ "name": name })).collect();
        let rules = json!({ "rules": [{ "strategy": "ordered", "services": services }] });
        client.request(Method::PUT, format!("{PAYMENTS}/routes?environment=test")).json(rules).await.expect(200);
        let context = app.app().context();
        Self { app, client, id, ledger: context.get().unwrap(), bank: context.get().unwrap() }
    }

    /// Returns a payment of 10 dollars by a card.
    pub(crate) fn request(&self, key: &str, token: &str) -> PaymentRequest {
        PaymentRequest::new(self.id, key, Money::new(1_000, Currency::USD)).token(token)
    }

    pub(crate) async fn pay(&self, key: &str, token: &str) -> Payment {
        self.ledger.create(self.request(key, token)).await.unwrap()
    }

    pub(crate) async fn get(&self, payment: &Payment) -> Payment {
        self.ledger.get(self.id, payment.id).await.unwrap()
    }

    pub(crate) fn fault(&self, service: &str, fault: FakeFault) {
        self.bank.set_faults(service, [Some(fault)]);
    }

    /// Returns the number of charges that the fakes have made for a payment.
    pub(crate) async fn charges(&self, payment: &Payment) -> usize {
        let mut charges = 0;
        for attempt in &payment.attempts {
            charges += self.bank.charges(&attempt.reference).await.unwrap();
        }
        charges
    }

    /// Returns the balances of the ledger of the tenant, by account.
    pub(crate) async fn balances(&self) -> Vec<(String, i64)> {
        let mut tx = self.app.db().app_database().tenant(self.id).begin_read().await.unwrap();
        let sql = "select account, cast(sum(amount) as bigint) from omni_payment_entries
            where tenant_id = $1 group by account having sum(amount) <> 0 order by account";
        tx.query(sql).bind(self.id).fetch_all().await.unwrap()
    }

    /// Asserts that each posting sums to zero, and that the ledger has what the payments have.
    pub(crate) async fn check_ledger(&self) {
        let mut tx = self.app.db().app_database().tenant(self.id).begin_read().await.unwrap();
        let sql = "select posting_id from omni_payment_entries where tenant_id = $1
            group by posting_id, currency having sum(amount) <> 0";
        let unbalanced: Vec<(uuid::Uuid,)> = tx.query(sql).bind(self.id).fetch_all().await.unwrap();
        assert!(unbalanced.is_empty(), "{unbalanced:?}");
        let sql = "select cast(coalesce(sum(captured - refunded - charged_back), 0) as bigint) from omni_payments
            where tenant_id = $1";
        let (held,): (i64,) = tx.query(sql).bind(self.id).fetch_one().await.unwrap();
        let sql = "select cast(coalesce(sum(amount), 0) as bigint) from omni_payment_entries
            where tenant_id = $1 and account in ('psp_clearing', 'fees')";
        let (booked,): (i64,) = tx.query(sql).bind(self.id).fetch_one().await.unwrap();
        assert_eq!(held, booked);
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: Value) -> omnistack_testkit::TestResponse {
        self.client.post(format!("{PAYMENTS}{path}"), body).header("idempotency-key", key).await
    }
}
