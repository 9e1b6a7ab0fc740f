//! Tests of accounts: the plans, overrides, seats and billing periods of tenants.

#![cfg(test)]

mod outage;
mod overrides;
mod periods;
mod plans;
mod replicas;
mod seats;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use omnistack_billing::{Billing, BillingAccounts, PlanCatalogue, PlanDefinition};
use omnistack_core::{
    BoxError,
    app::AppBuilder,
    audit::{AuditFilter, AuditRecord, AuditStore},
    http::Method,
    identity::{Entitlements, TenantId},
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse};
use serde_json::Value;

pub(crate) const ACCOUNTS: &str = "/api/v1/admin/billing/accounts";
pub(crate) const PLAN: &str = "/api/v1/app/billing/plan";

/// Returns the definition of the plan `pro`, version 1.
pub(crate) fn pro() -> PlanDefinition {
    PlanDefinition::new("pro", "Pro").feature("sso").feature("export").limit("projects", 10).limit("team_members", 10)
}

/// Returns the plans `free`, which is the default, `pro`, `partner`, which is not listed, and `enterprise`.
pub(crate) fn catalogue() -> PlanCatalogue {
    catalogue_with(pro())
}

pub(crate) fn catalogue_with(pro: PlanDefinition) -> PlanCatalogue {
    let free = PlanDefinition::new("free", "Free").limit("projects", 3).limit("team_members", 3);
    let partner = PlanDefinition::new("partner", "Partner").feature("*").unlisted();
    let enterprise = PlanDefinition::new("enterprise", "Enterprise").feature("*").unlimited("projects");
    PlanCatalogue::new([free, pro, partner, enterprise]).default_plan("free")
}

/// A module in which every tenant has the same number of team members.
#[derive(Clone, Default)]
pub(crate) struct Team(Arc<AtomicU64>);

impl Team {
    pub(crate) fn set_members(&self, members: u64) {
        self.0.store(members, Ordering::SeqCst);
    }
}

impl Module for Team {
    fn name(&self) -> &'static str {
        "team"
    }

    fn register(&self, registry: &mut Registry) {
        let team = self.clone();
        registry.limited_resource("team_members", move |_| {
            Ok(move |_: TenantId| {
                let members = team.0.load(Ordering::SeqCst);
                async move { Ok::<u64, BoxError>(members) }
            })
        });
    }
}

pub(crate) async fn app(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| more(app.with(Billing::from_env().plans(catalogue())))).await
}

pub(crate) fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

pub(crate) fn entitlements(app: &TestApp) -> Entitlements {
    app.app().context().get().unwrap()
}

pub(crate) fn accounts(app: &TestApp) -> BillingAccounts {
    app.app().context().get().unwrap()
}

/// Sends a PUT request of a new operator about an account.
pub(crate) async fn put(app: &TestApp, tenant: TenantId, path: &str, body: Value) -> TestResponse {
    app.operator().request(Method::PUT, format!("{ACCOUNTS}/{tenant}/{path}")).json(body).await
}

/// Returns the entries of the audit log whose action has a prefix, the oldest first.
pub(crate) async fn audited(app: &TestApp, prefix: &str) -> Vec<AuditRecord> {
    let log: AuditStore = app.app().context().get().unwrap();
    let mut entries = log.list(&AuditFilter::all_chains().action(prefix), 100, None).await.unwrap().items;
    entries.reverse();
    entries
}
