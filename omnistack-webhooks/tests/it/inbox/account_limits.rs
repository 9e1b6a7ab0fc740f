//! Tests of the limits of requests that a call to the provider verifies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use omnistack_core::{
    app::AppBuilder,
    async_trait,
    module::{Module, Registry},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};
use omnistack_testkit::{TestApp, TestDatabase, TestRequest, on_each_database};
use omnistack_webhooks::Webhooks;
use serde_json::json;
use uuid::Uuid;

/// A module with the source `account`, whose provider is asked about each request.
#[derive(Clone, Default)]
struct AskedProvider {
    calls: Arc<AtomicUsize>,
}

impl AskedProvider {
    async fn start(&self, database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
        TestApp::start(database, |app| more(app.with(Webhooks::from_env()).with(self.clone()))).await
    }

    /// Returns the number of calls since it was last asked.
    fn take_calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

impl Module for AskedProvider {
    fn name(&self) -> &'static str {
        "asked_provider"
    }

    fn register(&self, registry: &mut Registry) {
        let source = self.clone();
        registry.webhook_source("account", move |_| Ok(source));
    }
}

#[async_trait]
impl WebhookSource for AskedProvider {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let is_genuine = request.header("x-genuine").is_some();
        is_genuine.then_some(()).ok_or(WebhookRejection::Unverified("the provider has not sent it"))
    }

    fn calls_provider_to_verify(&self) -> bool {
        true
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        // The short body is different for each event.
        Ok(SourceEvent::new(String::from_utf8_lossy(request.body), "changed"))
    }
}

fn request(app: &TestApp, tenant: Uuid, address: &str, number: usize) -> TestRequest {
    let path = format!("/api/v1/public/webhooks/account/{tenant}");
    app.anonymous().post(path, json!({ "number": number })).client_ip(address.parse().unwrap())
}

fn genuine(app: &TestApp, tenant: Uuid, address: &str, number: usize) -> TestRequest {
    request(app, tenant, address, number).header("x-genuine", "1")
}

on_each_database! {
    async fn forged_requests_for_an_account_are_limited_before_the_provider_is_asked(database: TestDatabase) {
        let provider = AskedProvider::default();
        let limits = |app: AppBuilder| {
            app.set("WEBHOOKS_FAILURE_LIMIT", "3/hour").set("WEBHOOKS_ACCOUNT_FAILURE_LIMIT", "5/hour")
        };
        let app = provider.start(database, limits).await;
        let (tenant, other) = (Uuid::new_v4(), Uuid::new_v4());
        for (address, error) in [("192.0.2.1", 400), ("192.0.2.1", 400), ("192.0.2.1", 400), ("192.0.2.1", 429)] {
            request(&app, tenant, address, 0).await.expect(error);
        }
        assert_eq!(provider.take_calls(), 3);
        // From other addresses, until the limit of the account.
        for (address, error) in [("192.0.2.2", 400), ("192.0.2.3", 400), ("192.0.2.4", 429), ("192.0.2.5", 429)] {
            request(&app, tenant, address, 0).await.expect(error);
        }
        assert_eq!(provider.take_calls(), 2);
        request(&app, tenant, "192.0.2.6", 0).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        // Other accounts are not affected.
        genuine(&app, other, "192.0.2.7", 1).await.expect(200);
        request(&app, other, "192.0.2.8", 0).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        assert_eq!(provider.take_calls(), 2);
        app.clock().advance(Duration::from_secs(3_600));
        genuine(&app, tenant, "192.0.2.1", 2).await.expect(200);
    }

    async fn verified_requests_are_not_limited(database: TestDatabase) {
        let provider = AskedProvider::default();
        let limits = |app: AppBuilder| {
            app.set("WEBHOOKS_FAILURE_LIMIT", "2/hour").set("WEBHOOKS_ACCOUNT_FAILURE_LIMIT", "2/hour")
        };
        let app = provider.start(database, limits).await;
        let tenant = Uuid::new_v4();
        for number in 0..10 {
            genuine(&app, tenant, "192.0.2.1", number).await.expect(200);
        }
        assert_eq!(provider.take_calls(), 10);
        // The place of the verified ones is the first of the two.
        for error in [400, 400, 429] {
            request(&app, tenant, "192.0.2.1", 0).await.expect(error);
        }
        assert_eq!(provider.take_calls(), 2);
    }

    async fn the_limit_of_accounts_can_be_switched_off(database: TestDatabase) {
        let provider = AskedProvider::default();
        let limits = |app: AppBuilder| {
            app.set("WEBHOOKS_FAILURE_LIMIT", "off").set("WEBHOOKS_ACCOUNT_FAILURE_LIMIT", "off")
        };
        let app = provider.start(database, limits).await;
        for _ in 0..10 {
            request(&app, Uuid::new_v4(), "192.0.2.1", 0).await.expect(400);
        }
        assert_eq!(provider.take_calls(), 10);
    }
}
