//! Tests of the accounts of calls.

#![cfg(test)]

mod crash;
mod credits;
mod ends;
mod limits;
mod properties;
mod replicas;

use std::sync::{Arc, Mutex, PoisonError};

use omnistack_ai::{Accounting, Ai, AiCaller, CallOutcome, CallStart, CallStatus, Cost, OpenCall, TokenUsage};
use omnistack_core::{
    app::AppBuilder,
    async_trait,
    db::{self, FromRow, Tx},
    http::Error,
    identity::{Entitlements, Plan, PlanSource, TenantId},
    usage::{Decimal, UsageEvent, UsageRecorder, UsageSink, meters},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};

pub(crate) const BUDGETS: &str = "/api/v1/app/ai/budgets";

/// The plan of all tenants.
struct FixedPlan(Arc<Plan>);

#[async_trait]
impl PlanSource for FixedPlan {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(self.0.clone())
    }
}

/// The usage events of transactions that have committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordedUsage(Arc<Mutex<Vec<UsageEvent>>>);

impl RecordedUsage {
    pub(crate) fn events(&self) -> Vec<UsageEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the total of a meter.
    pub(crate) fn total(&self, tenant: TenantId, meter: &str) -> i64 {
        let events = self.events().into_iter().filter(|event| event.tenant == tenant && event.meter == meter);
        let total: Decimal = events.map(|event| event.quantity).sum();
        total.try_into().unwrap()
    }
}

#[async_trait]
impl UsageRecorder for RecordedUsage {
    fn count(&self, _: UsageEvent) {}

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        let all = Arc::clone(&self.0);
        tx.on_commit(move || all.lock().unwrap_or_else(PoisonError::into_inner).extend(events));
        Ok(())
    }
}

/// Adds the module, a plan and the recorder of usage.
pub(crate) fn with_ai(app: AppBuilder, plan: &Plan, usage: &RecordedUsage) -> AppBuilder {
    app.with(Ai::from_env())
        .replace(Entitlements::new(FixedPlan(Arc::new(plan.clone()))))
        .replace(UsageSink::new(usage.clone()))
}

pub(crate) async fn start(database: TestDatabase, plan: Plan, usage: &RecordedUsage) -> TestApp {
    TestApp::start(database, |app| with_ai(app, &plan, usage)).await
}

/// The accounts of a tenant.
pub(crate) struct Account<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) accounting: Accounting,
    pub(crate) client: TestClient,
    pub(crate) tenant: TenantId,
}

impl<'a> Account<'a> {
    pub(crate) fn new(app: &'a TestApp) -> Self {
        let client = app.user();
        let tenant = client.identity().unwrap().tenant.unwrap();
        Self { app, accounting: app.app().context().get().unwrap(), client, tenant }
    }

    /// Returns the caller: the user of the client.
    pub(crate) fn caller(&self) -> AiCaller {
        let mut caller = AiCaller::of_tenant(self.tenant);
        caller.user = Some(self.client.identity().unwrap().user);
        caller
    }

    /// Returns a call that reserves tokens of the input and of the output, and pico-USD.
    pub(crate) fn start(&self, input: u64, output: u64, pico: i64) -> CallStart {
        CallStart::new(self.caller(), "smart").reserve(input, output, Some(Cost::from_pico(pico)))
    }

    pub(crate) async fn open(&self, input: u64, output: u64, pico: i64) -> Result<OpenCall, Error> {
        self.accounting.open(self.start(input, output, pico)).await
    }

    pub(crate) async fn create_budget(&self, budget: Value) -> Value {
        self.client.post(BUDGETS, budget).await.expect(201).json()
    }

    /// Creates a hard budget of the tenant for the month.
    pub(crate) async fn limit(&self, limits: Value) -> Value {
        self.create_budget(json!({ "scope": "tenant", "period": "month", "limits": limits })).await
    }

    pub(crate) async fn begin(&self) -> Tx {
        self.app.db().app_database().tenant(self.tenant).begin_read().await.unwrap()
    }

    /// Returns the calls of the tenant, the oldest first.
    pub(crate) async fn ledger(&self) -> Vec<LedgerRow> {
        let sql = "select status, input_tokens, output_tokens, is_estimated, cost_pico, price_unknown, is_cached,
            attempts, provider, model from omni_ai_calls where tenant_id = $1 order by id";
        self.begin().await.query(sql).bind(self.tenant).fetch_all().await.unwrap()
    }

    /// Returns what is used of the budgets and limits of the tenant.
    pub(crate) async fn uses(&self) -> Vec<UseRow> {
        let sql = "select scope, period, spent_tokens, spent_requests, spent_pico, reserved_tokens, reserved_requests,
            reserved_pico, told_percent from omni_ai_budget_uses where tenant_id = $1 order by scope, period";
        self.begin().await.query(sql).bind(self.tenant).fetch_all().await.unwrap()
    }

    /// Asserts that nothing is open or reserved, and that ledger, budgets and usage events agree. All calls are in the
    /// period of each budget.
    pub(crate) async fn expect_settled(&self, usage: &RecordedUsage) {
        let ledger = self.ledger().await;
        let open = ledger.iter().filter(|call| call.status == "open").count();
        assert_eq!(open, 0, "{ledger:?}");
        let tokens: i64 = ledger.iter().map(|call| call.input_tokens + call.output_tokens).sum();
        let pico: i64 = ledger.iter().filter_map(|call| call.cost_pico).sum();
        let requests = ledger.iter().filter(|call| call.is_request()).count();
        let requests = i64::try_from(requests).unwrap();
        for used in self.uses().await {
            assert_eq!((used.reserved_tokens, used.reserved_requests, used.reserved_pico), (0, 0, 0), "{used:?}");
            assert_eq!((used.spent_tokens, used.spent_requests, used.spent_pico), (tokens, requests, pico), "{used:?}");
        }
        assert_eq!(usage.total(self.tenant, meters::AI_TOKENS), tokens);
        assert_eq!(usage.total(self.tenant, meters::AI_REQUESTS), requests);
    }
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct LedgerRow {
    pub(crate) status: String,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) is_estimated: bool,
    pub(crate) cost_pico: Option<i64>,
    pub(crate) price_unknown: bool,
    pub(crate) is_cached: bool,
    pub(crate) attempts: String,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

impl LedgerRow {
    fn is_request(&self) -> bool {
        let has_no_answer = self.status == "failed" || self.status == "cancelled";
        !has_no_answer || self.input_tokens + self.output_tokens > 0
    }
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct UseRow {
    pub(crate) scope: String,
    pub(crate) period: String,
    pub(crate) spent_tokens: i64,
    pub(crate) spent_requests: i64,
    pub(crate) spent_pico: i64,
    pub(crate) reserved_tokens: i64,
    pub(crate) reserved_requests: i64,
    pub(crate) reserved_pico: i64,
    pub(crate) told_percent: i32,
}

pub(crate) fn tokens(input: u64, output: u64) -> TokenUsage {
    TokenUsage { input, output, ..TokenUsage::default() }
}

/// Returns the end of a call that the fake has answered.
pub(crate) fn answered(input: u64, output: u64, pico: i64) -> CallOutcome {
    let outcome = CallOutcome::new(CallStatus::Succeeded, "fake", "fake-small").usage(tokens(input, output));
    outcome.cost(Cost::from_pico(pico))
}

/// Asserts that a budget has refused a call.
pub(crate) fn expect_refused(result: Result<OpenCall, Error>) {
    let error = result.map(drop).unwrap_err();
    assert_eq!((error.status().as_u16(), error.code()), (402, "AI_BUDGET_EXCEEDED"), "{error:?}");
}
