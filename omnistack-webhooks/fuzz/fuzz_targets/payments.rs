//! The webhooks of tenants' accounts at payment services: a line that is not read, lines of headers, an empty line, and
//! the body.

#![no_main]

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt as _;
use libfuzzer_sys::fuzz_target;
use omnistack_core::{
    clock::{Clock, Timestamp},
    data_environment::DataEnvironment,
    http::client::ClientSettings,
    payment::PaymentProvider,
    webhook::{InboundWebhook, WebhookRequest},
};
use omnistack_payments::{Credentials, PayPalService, PaymentService, RazorpayService, StripeService};
use omnistack_webhooks_fuzz::{Head, split};

/// An account at each service.
static ACCOUNTS: LazyLock<Vec<(Box<dyn PaymentService>, Arc<dyn PaymentProvider>)>> = LazyLock::new(|| {
    let client = ClientSettings::default().client().expect("a client");
    let stripe = StripeService::new(client.clone(), "https://api.stripe.com").expect("a URL");
    let services: [Box<dyn PaymentService>; 3] = [
        Box::new(stripe),
        Box::new(PayPalService::new(client.clone(), Clock::system())),
        Box::new(RazorpayService::new(client, Clock::system())),
    ];
    let fields = [
        ("api_key", "sk_test_fuzz"),
        ("client_id", "fuzz"),
        ("client_secret", "fuzz"),
        ("key_id", "rzp_test_fuzz"),
        ("key_secret", "fuzz"),
        ("webhook_secret", "fuzz"),
    ];
    let credentials = Credentials(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect());
    let connect = |service: Box<dyn PaymentService>| {
        let provider = service.connect(DataEnvironment::Test, &credentials).expect("credentials of the right form");
        (service, provider)
    };
    services.into_iter().map(connect).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((Head { headers, .. }, body)) = split(input) else { return };
    let url = "https://app.example.com/api/v1/public/webhooks/fuzz";
    // 2026-01-01.
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    let request = WebhookRequest { url, headers: &headers, body, now };
    for (service, provider) in ACCOUNTS.iter() {
        if !service.calls_to_verify_webhooks() {
            _ = provider.verify_webhook(&request).now_or_never();
        }
        if let Ok(event) = service.describe_webhook(&request) {
            _ = provider.event(&InboundWebhook::new(service.name(), event, None, &request));
        }
    }
});
