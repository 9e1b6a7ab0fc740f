//! Tests of subscriptions.

#![cfg(test)]

mod changes;
mod checkouts;
mod coupons;
mod crash;
mod dunning;
mod duplicates;
mod exports;
mod faults;
mod invoices;
mod operators;
mod orders;
mod provider;
mod refunds;
mod trials;

use omnistack_billing::{
    Billing, BillingInterval, Money, PlanCatalogue, PlanDefinition, PlanPrice, Subscriptions, TrialEndBehavior,
};
use omnistack_core::{
    app::AppBuilder,
    async_trait,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::{ProviderEvent, ProviderEventObject},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use provider::{ScriptedPayments, ScriptedProvider};

const BILLING: &str = "/api/v1/app/billing";

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct AdvanceSubscriptions {}

#[async_trait]
impl Job for AdvanceSubscriptions {
    const NAME: &'static str = "billing.advance_subscriptions";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct ReconcileSubscriptions {}

#[async_trait]
impl Job for ReconcileSubscriptions {
    const NAME: &'static str = "billing.reconcile_subscriptions";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn monthly(key: &str, name: &str, amount: &str) -> PlanDefinition {
    let price = Money::parse(amount, "USD").unwrap();
    PlanDefinition::new(key, name).price(PlanPrice::Fixed { price, interval: BillingInterval::MONTH })
}

/// Returns the plans `free`, `pro` (29 a month, 290 a year), `team` (99 a month), `seats` (10 a month for each), and
/// `trial` (49 a month, with a trial of 14 days), which is in another group, and `open`, whose trial needs no card.
fn catalogue() -> PlanCatalogue {
    PlanCatalogue::new([
        PlanDefinition::new("free", "Free").limit("projects", 1).limit("team_members", 3),
        monthly("pro", "Pro", "29.00").yearly_price(Money::parse("290.00", "USD").unwrap()).limit("projects", 10),
        monthly("team", "Team", "99.00").limit("projects", 99),
        monthly("seats", "Seats", "10.00").per_seat().limit("team_members", 1),
        monthly("trial", "Trial", "49.00").group("trials").trial_days(14).limit("projects", 5),
        monthly("open", "Open", "49.00")
            .group("open")
            .trial_days(14)
            .trial_without_card(TrialEndBehavior::Cancel)
            .unlisted()
            .limit("projects", 5),
        PlanDefinition::new("enterprise", "Enterprise").price(PlanPrice::Custom),
    ])
    .default_plan("free")
}

fn billing() -> Billing {
    Billing::from_env().plans(catalogue())
}

async fn start_with(
    database: TestDatabase,
    more: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (TestApp, ScriptedProvider) {
    let provider = ScriptedProvider::default();
    let payments = ScriptedPayments(provider.clone());
    let app = TestApp::start(database, |app| more(app.with(billing()).with(payments))).await;
    (app, provider)
}

async fn start(database: TestDatabase) -> (TestApp, ScriptedProvider) {
    start_with(database, |app| app).await
}

/// Returns an event of the provider.
fn event(object: ProviderEventObject) -> ProviderEvent {
    ProviderEvent {
        provider: "fake".to_owned(),
        id: "evt_1".to_owned(),
        kind: "changed".to_owned(),
        object,
        reference: None,
        environment: DataEnvironment::Live,
        occurred_at: None,
        account: None,
    }
}

/// Publishes an event about a subscription and processes it.
async fn notify(app: &TestApp, id: &str) {
    send(app, ProviderEventObject::Subscription(id.to_owned())).await;
}

async fn send(app: &TestApp, object: ProviderEventObject) {
    app.events().publish(&event(object)).await.unwrap();
    app.run_events().await;
}

async fn advance(app: &TestApp) {
    app.jobs().enqueue(AdvanceSubscriptions {}).await.unwrap();
    app.run_jobs().await;
}

async fn reconcile(app: &TestApp) {
    app.jobs().enqueue(ReconcileSubscriptions {}).await.unwrap();
    app.run_jobs().await;
}

fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

fn handle(app: &TestApp) -> Subscriptions {
    app.app().context().get().unwrap()
}

/// Returns the limit of projects that a tenant has: 1 without a plan, 5 with `trial`, 10 with `pro`, 99 with `team`.
async fn projects(app: &TestApp, client: &TestClient) -> u64 {
    let entitlements: omnistack_core::identity::Entitlements = app.app().context().get().unwrap();
    entitlements.plan(tenant_of(client)).await.unwrap().limits["projects"]
}

/// Starts a checkout of a plan. Returns the id of the checkout at the provider.
async fn checkout(client: &TestClient, body: Value) -> String {
    let started = client.post(format!("{BILLING}/checkout"), body).await.expect(200).json();
    started["url"].as_str().unwrap().trim_start_matches("https://pay.example/").to_owned()
}

/// Buys a plan. Returns the id of the subscription at the provider.
async fn subscribe(app: &TestApp, provider: &ScriptedProvider, client: &TestClient, plan: &str) -> String {
    let checkout = checkout(client, json!({ "plan": plan })).await;
    let id = provider.pay(&checkout, app.clock().clock().now());
    send(app, ProviderEventObject::Checkout(checkout)).await;
    id
}

async fn subscription(client: &TestClient) -> Value {
    client.get(format!("{BILLING}/subscription")).await.expect(200).json()
}

/// Returns the first column of the only row of a query.
async fn count(app: &TestApp, sql: &'static str) -> i64 {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    count
}

/// Returns the changes of revenue of all tenants: the kind, and the amounts before and after.
async fn revenue(app: &TestApp) -> Vec<(String, i64, i64)> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select kind, mrr_before, mrr_after from omni_subscription_changes order by id";
    let rows = tx.query(sql).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows
}
