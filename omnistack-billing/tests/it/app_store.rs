//! Tests of subscriptions that are bought in app stores.

#![cfg(test)]

pub(crate) mod apple;
mod chain;
mod google;
mod google_api;

use std::sync::Arc;

use omnistack_billing::{Billing, BillingInterval, Money, PlanCatalogue, PlanDefinition, PlanPrice};
use omnistack_core::{
    app::AppBuilder,
    app_store::AppleVerifier,
    async_trait,
    crypto::{Sha256, TrustedRoots},
    http::{Error, HeaderMap, Uri},
    identity::{Entitlements, TenantId},
    jobs::{Job, JobContext, JobError},
    module::{Module, Registry},
    webhook::{
        IncomingWebhook, SourceEvent, WebhookInbox, WebhookReceipt, WebhookRejection, WebhookRequest, WebhookSource,
    },
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use chain::AppleChain;

const STORES: &str = "/api/v1/app/billing/app-stores";

/// The App Store of a test: its verifier, and sources of notifications that verify nothing.
struct TestStores(Arc<AppleChain>);

/// A source that accepts everything. The handlers verify what they use.
struct OpenSource;

#[async_trait]
impl WebhookSource for OpenSource {
    async fn verify(&self, _: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        Ok(())
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        Ok(SourceEvent::new(Sha256::digest(request.body).to_string(), "notification"))
    }
}

impl Module for TestStores {
    fn name(&self) -> &'static str {
        "test-stores"
    }

    fn register(&self, registry: &mut Registry) {
        let roots = TrustedRoots::from_der([self.0.root.as_slice()]).unwrap();
        registry
            .provide(AppleVerifier::new("com.example".to_owned(), Some(1234), roots))
            .webhook_source("apple", |_| Ok(OpenSource))
            .webhook_source("google-play", |_| Ok(OpenSource));
    }
}

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct RefreshPurchases {}

#[async_trait]
impl Job for RefreshPurchases {
    const NAME: &'static str = "app_stores.refresh_purchases";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn refresh(app: &TestApp) {
    app.jobs().enqueue(RefreshPurchases {}).await.unwrap();
    app.run_jobs().await;
}

fn plan(key: &str, price: &str) -> PlanDefinition {
    let price = PlanPrice::Fixed { price: Money::parse(price, "USD").unwrap(), interval: BillingInterval::MONTH };
    PlanDefinition::new(key, key)
        .price(price)
        .provider_price("apple", format!("{key}.monthly"))
        .provider_price("google", format!("{key}:monthly"))
}

async fn start(
    database: TestDatabase,
    chain: &Arc<AppleChain>,
    with: impl FnOnce(AppBuilder) -> AppBuilder,
) -> TestApp {
    let plans = PlanCatalogue::new([PlanDefinition::new("free", "Free"), plan("pro", "29.00"), plan("team", "99.00")]);
    let billing = Billing::from_env().plans(plans.default_plan("free"));
    let stores = TestStores(Arc::clone(chain));
    TestApp::start(database, |app| with(app.with(billing).with(stores))).await
}

fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

/// Returns the plan that a tenant has.
pub(crate) async fn plan_of(app: &TestApp, client: &TestClient) -> String {
    let entitlements: Entitlements = app.app().context().get().unwrap();
    entitlements.plan(tenant_of(client)).await.unwrap().key.clone()
}

/// Sends a notification to the app, as its inbox receives it.
pub(crate) async fn notify(app: &TestApp, source: &str, body: &Value) -> Result<WebhookReceipt, Error> {
    let inbox: WebhookInbox = app.app().context().get().unwrap();
    let uri = Uri::from_static("/api/v1/public/webhooks/test");
    let request = IncomingWebhook::new(uri, HeaderMap::new(), body.to_string().into());
    inbox.receive(source, None, request).await
}

/// Returns the purchases of the tenant of a client: store, environment, product and status.
async fn purchases(client: &TestClient) -> Vec<[String; 4]> {
    let list = client.get(STORES).await.expect(200).json();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            ["store", "environment", "product_id", "status"].map(|name| item[name].as_str().unwrap().to_owned())
        })
        .collect()
}
