//! Tests of Stripe against a wire fake of its API.

#![cfg(test)]

mod disputes;
mod events;
mod outcomes;
mod payments;
mod peers;
mod subscriptions;
mod webhooks;

use std::{collections::BTreeMap, sync::Arc};

use omnistack_core::{
    clock::{Clock, MockClock, Timestamp},
    data_environment::DataEnvironment,
    http::client::ClientSettings,
    money::{Currency, Money},
    payment::{CaptureMode, NewCustomer, NewPayment, PaymentMethodKind, PaymentMethodSource, PaymentProvider},
};
use omnistack_payments::{Credentials, PaymentService as _, StripeService};
use omnistack_testkit::payments::stripe::StripeServer;

/// The time of the reference of the first payment.
const START: &str = "2025-06-01T00:00:00Z";

/// The fake, an account at it, and the clock of both.
struct Stripe {
    server: StripeServer,
    provider: Arc<dyn PaymentProvider>,
    clock: MockClock,
}

impl Stripe {
    async fn start() -> Self {
        let clock = MockClock::at(START.parse().unwrap());
        let server = StripeServer::start(clock.clock()).await;
        server.add_price("price_basic", 2900, "usd", "month");
        server.add_price("price_pro", 9900, "usd", "month");
        let provider = connect(&server.url());
        Self { server, provider, clock }
    }

    fn now(&self) -> Timestamp {
        let clock: Clock = self.clock.clock();
        clock.now()
    }

    /// Creates a customer.
    async fn customer(&self, reference: &str) -> String {
        let new = NewCustomer {
            reference: reference.to_owned(),
            name: Some("Ada".to_owned()),
            email: Some("ada@example.com".to_owned()),
            idempotency_key: format!("customer-{reference}"),
        };
        self.provider.create_customer(&new).await.unwrap().id
    }

    /// Creates a customer with a test card.
    async fn customer_with_card(&self, reference: &str, card: &str) -> String {
        let customer = self.customer(reference).await;
        let id = format!("pm_{reference}_{card}");
        // As Stripe's library in the browser does.
        let client = ClientSettings::default().client().unwrap();
        let attached = client
            .post(format!("{}/v1/payment_methods/{id}/attach", self.server.url()))
            .bearer_auth("sk_test_1")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("customer={customer}"))
            .send()
            .await;
        assert!(attached.unwrap().status().is_success());
        customer
    }

    /// Returns the number of requests whose path contains a text.
    fn requests(&self, path: &str) -> usize {
        self.server.requests().iter().filter(|request| request.path.contains(path)).count()
    }
}

fn connect(url: &str) -> Arc<dyn PaymentProvider> {
    let service = StripeService::new(ClientSettings::default().client().unwrap(), url).unwrap();
    service.connect(DataEnvironment::Test, &credentials("sk_test_1")).unwrap()
}

fn credentials(key: &str) -> Credentials {
    Credentials(BTreeMap::from([("api_key".to_owned(), key.into())]))
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// Returns a reference that was made at the start.
fn reference(number: u32) -> String {
    format!("pay_019728c9-c000-7000-8000-{number:012}")
}

fn payment(number: u32, minor: i64, card: &str) -> NewPayment {
    NewPayment {
        reference: reference(number),
        amount: usd(minor),
        customer: None,
        method: PaymentMethodKind::Card,
        source: PaymentMethodSource::Token(card.to_owned()),
        capture: CaptureMode::Automatic,
        description: Some("Order 7".to_owned()),
        email: None,
        return_url: Some("https://app.example.com/return".to_owned()),
        metadata: BTreeMap::from([("tenant_id".to_owned(), "t1".to_owned())]),
        idempotency_key: format!("key-{number}"),
    }
}

#[tokio::test]
async fn keys_are_of_one_environment() {
    let service = StripeService::new(ClientSettings::default().client().unwrap(), "https://api.stripe.com").unwrap();
    for (environment, key, accepted) in [
        (DataEnvironment::Test, "sk_test_1", true),
        (DataEnvironment::Test, "rk_test_1", true),
        (DataEnvironment::Live, "sk_live_1", true),
        (DataEnvironment::Live, "sk_test_1", false),
        (DataEnvironment::Test, "sk_live_1", false),
        (DataEnvironment::Test, "pk_test_1", false),
        (DataEnvironment::Test, "sk_test_", false),
        (DataEnvironment::Test, "sk_test_1\n", false),
        (DataEnvironment::Test, "", false),
    ] {
        let connected = service.connect(environment, &credentials(key));
        assert_eq!(connected.is_ok(), accepted, "{environment} {key:?}");
        if let Err(error) = connected {
            assert_eq!(error.field, "api_key");
            assert!(matches!(key, "" | "sk_test_") || !error.message.contains(key), "{error}");
        }
    }
    assert!(service.connect(DataEnvironment::Test, &Credentials::default()).is_err());
    for url in ["http://api.stripe.com", "ftp://localhost", "https://user@api.stripe.com", "api.stripe.com"] {
        assert!(StripeService::new(ClientSettings::default().client().unwrap(), url).is_err(), "{url}");
    }
}
