//! Tests of the built-in fake.

#![cfg(test)]

mod checkouts;
mod events;
mod payments;
mod subscriptions;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_core::{
    async_trait,
    http::Method,
    jobs::JobError,
    module::{Module, Registry},
    money::Money,
    payment::{
        CaptureMode, NewCustomer, NewPayment, NewProviderSubscription, PaymentMethodKind, PaymentMethodSource,
        PaymentProvider as _, TrialEndBehavior,
    },
    webhook::{DataEnvironment, InboundWebhook, WebhookHandler, WebhookOutcome, WebhookTx},
};
use omnistack_payments::{FakeBank, FakeProvider, Payments};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A module that records the ids and types of the fake's events.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(String, String)>>>);

impl Recorder {
    /// Returns the types of the events so far, sorted, each as often as it was received.
    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<_> = self.0.lock().unwrap().iter().map(|(_, kind)| kind.clone()).collect();
        kinds.sort();
        kinds
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Module for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn register(&self, registry: &mut Registry) {
        let recorder = self.clone();
        registry.webhook_handler("fake", "*", move |_| Ok(recorder));
    }
}

#[async_trait]
impl WebhookHandler for Recorder {
    async fn handle(&self, webhook: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        self.0.lock().unwrap().push((webhook.event.id.clone(), webhook.event.kind.clone()));
        Ok(WebhookOutcome::Processed)
    }
}

/// The app and its account at the fake.
struct FakeApp {
    app: TestApp,
    bank: FakeBank,
    provider: FakeProvider,
    events: Recorder,
}

async fn start(database: TestDatabase) -> FakeApp {
    start_with(database, &[]).await
}

async fn start_with(database: TestDatabase, settings: &[(&str, &str)]) -> FakeApp {
    let events = Recorder::default();
    let recorder = events.clone();
    let app = TestApp::start(database, |app| {
        let app = settings.iter().fold(app, |app, (name, value)| app.set(*name, *value));
        app.with(Payments::from_env()).with(recorder)
    })
    .await;
    let bank: FakeBank = app.app().context().get().unwrap();
    let provider = bank.provider(DataEnvironment::Test);
    FakeApp { app, bank, provider, events }
}

impl FakeApp {
    /// Moves the clock, and makes what is due until then.
    async fn advance(&self, by: Duration) {
        self.app.clock().advance(by);
        self.app.run_jobs().await;
    }

    async fn customer(&self, reference: &str) -> String {
        let new = NewCustomer {
            reference: reference.into(),
            name: None,
            email: None,
            idempotency_key: format!("customer-{reference}"),
        };
        self.provider.create_customer(&new).await.unwrap().id
    }

    /// Creates a customer that has a card.
    async fn customer_with(&self, reference: &str, card: &str) -> String {
        let customer = self.customer(reference).await;
        let url = self.provider.create_portal(&customer, "https://app.example.com/").await.unwrap();
        self.submit(&url, &[("action", "add_card"), ("card", card)]).await.expect(303);
        customer
    }

    /// Submits a form of a page.
    async fn submit(&self, url: &str, form: &[(&str, &str)]) -> TestResponse {
        let path = path_of(url);
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let request = self.app.anonymous().request(Method::POST, path);
        request.header("content-type", "application/x-www-form-urlencoded").body(body).await
    }
}

/// Returns the path of a URL of the app.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    &rest[rest.find('/').unwrap()..]
}

fn money(amount: &str) -> Money {
    Money::parse(amount, "USD").unwrap()
}

fn payment(reference: &str, amount: &str, source: PaymentMethodSource) -> NewPayment {
    NewPayment {
        reference: reference.into(),
        amount: money(amount),
        customer: None,
        method: PaymentMethodKind::Card,
        source,
        capture: CaptureMode::Automatic,
        description: None,
        email: None,
        return_url: Some("https://app.example.com/back".into()),
        metadata: BTreeMap::new(),
        idempotency_key: format!("payment-{reference}"),
    }
}

fn card(token: &str) -> PaymentMethodSource {
    PaymentMethodSource::Token(token.into())
}

fn subscription(reference: &str, customer: &str, price: &str) -> NewProviderSubscription {
    NewProviderSubscription {
        reference: reference.into(),
        customer: customer.into(),
        price: price.into(),
        quantity: 1,
        trial_end: None,
        trial_end_behavior: TrialEndBehavior::Pause,
        coupon: None,
        metadata: BTreeMap::new(),
        idempotency_key: format!("subscription-{reference}"),
    }
}
