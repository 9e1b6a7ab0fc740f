//! Tests of the providers' requests: what is accepted, and what is not.

#![cfg(test)]

mod generic;
mod missed;
mod paypal;
mod settings;
mod standard;
mod stripe;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use http::Method;
use omnistack_core::{
    crypto::HmacKey,
    webhook::{SourceEvent, WebhookRequest, WebhookSource, WebhookSources},
};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, on_each_database};
use omnistack_webhooks::{RazorpayCheckout, Webhooks};
use serde_json::json;

/// The time at which test apps start, in seconds since 1970.
const START: i64 = 1_893_456_000;

/// Starts an app with these settings.
async fn start(database: TestDatabase, settings: &[(&str, &str)]) -> TestApp {
    let with = |app: omnistack_core::app::AppBuilder| app.with(Webhooks::from_env());
    TestApp::start(database, |app| settings.iter().fold(with(app), |app, (name, value)| app.set(*name, *value))).await
}

/// Posts a webhook, each from another address, so that rejected ones don't count together.
async fn post(app: &TestApp, source: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> TestResponse {
    static ADDRESS: AtomicU32 = AtomicU32::new(0);
    let address = Ipv4Addr::from_bits(0x0b00_0000 + ADDRESS.fetch_add(1, Ordering::Relaxed));
    let request = app.anonymous().request(Method::POST, format!("/api/v1/public/webhooks/{source}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let body: Vec<u8> = body.into();
    request.client_ip(address.into()).body(body).await
}

async fn accepted(app: &TestApp, source: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
    post(app, source, headers, body).await.expect_ok();
}

async fn rejected(app: &TestApp, source: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
    post(app, source, headers, body).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
}

/// Returns the hexadecimal HMAC-SHA-256.
fn hex_mac(secret: &str, message: impl AsRef<[u8]>) -> String {
    HmacKey::new(secret).unwrap().sign(message).to_hex()
}

fn source(app: &TestApp, name: &str) -> Arc<dyn WebhookSource> {
    let sources: WebhookSources = app.app().context().get().unwrap();
    sources.get(name).unwrap().1
}

/// Signs a request as `acme webhooks send` does, verifies it and returns its event.
async fn signed_event(app: &TestApp, name: &str, body: &str) -> SourceEvent {
    let source = source(app, name);
    let url = format!("https://app.example.com/api/v1/public/webhooks/{name}");
    let empty = http::HeaderMap::new();
    let now = app.clock().clock().now();
    let unsigned = WebhookRequest { url: &url, headers: &empty, body: body.as_bytes(), now };
    let headers = source.sign(&unsigned).unwrap();
    let request = WebhookRequest { headers: &headers, ..unsigned };
    source.verify(&request).await.unwrap();
    // A header that occurs twice is not chosen from.
    let mut doubled = headers.clone();
    for (name, value) in &headers {
        doubled.append(name, value.clone());
    }
    assert!(source.verify(&WebhookRequest { headers: &doubled, ..unsigned }).await.is_err(), "{name}");
    assert!(source.verify(&unsigned).await.is_err(), "{name}");
    assert!(source.verify(&WebhookRequest { body: b"{}", ..request }).await.is_err() || is_unsigned(name), "{name}");
    source.describe(&request).unwrap()
}

/// Returns whether a source has a secret in place of a signature.
fn is_unsigned(name: &str) -> bool {
    name == "supabase-database"
}

const SAMPLES: [(&str, &str, &str, &str); 8] = [
    ("stripe", "WEBHOOKS_STRIPE_SECRETS", r#"{"id":"evt_1","type":"invoice.paid"}"#, "invoice.paid"),
    ("github", "WEBHOOKS_GITHUB_SECRETS", r#"{"zen":"Keep it simple"}"#, "ping"),
    ("razorpay", "WEBHOOKS_RAZORPAY_SECRETS", r#"{"event":"order.paid"}"#, "order.paid"),
    ("clerk", "WEBHOOKS_CLERK_SECRETS", r#"{"type":"user.created"}"#, "user.created"),
    ("supabase-auth", "WEBHOOKS_SUPABASE_AUTH_SECRETS", r#"{"sms":{"otp":"1"}}"#, "send-sms"),
    ("standard", "WEBHOOKS_STANDARD_SECRETS", r#"{"type":"project.created"}"#, "project.created"),
    (
        "supabase-database",
        "WEBHOOKS_SUPABASE_DATABASE_SECRETS",
        r#"{"type":"INSERT","schema":"public","table":"orders","record":{"id":1}}"#,
        "public.orders.insert",
    ),
    ("generic", "WEBHOOKS_GENERIC_SECRETS", r#"{"type":"parcel.sent"}"#, "parcel.sent"),
];

#[tokio::test]
async fn every_source_verifies_what_it_signs() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let settings: Vec<_> = SAMPLES.iter().map(|(_, setting, ..)| (*setting, secret)).collect();
    let app = start(TestDatabase::sqlite(), &settings).await;
    for (name, _, body, kind) in SAMPLES {
        assert_eq!(signed_event(&app, name, body).await.kind, kind, "{name}");
    }
}

#[tokio::test]
async fn sources_without_secrets_are_absent() {
    let app = start(TestDatabase::sqlite(), &[]).await;
    for (name, ..) in SAMPLES {
        post(&app, name, &[], "{}").await.expect(404);
    }
    let sources: WebhookSources = app.app().context().get().unwrap();
    assert!(sources.names().is_empty(), "{:?}", sources.names());
}

on_each_database! {
    async fn github_signs_the_raw_body(database: TestDatabase) {
        let secret = "It's a Secret to Everybody";
        let app = start(database, &[("WEBHOOKS_GITHUB_SECRETS", &format!("new, {secret}"))]).await;
        // GitHub's own example, whose body is no event.
        let example = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-hub-signature-256", example), ("x-github-delivery", "d-1"), ("x-github-event", "push")];
        post(&app, "github", &headers, "Hello, World!").await.expect_error(422, "WEBHOOK_MALFORMED");
        rejected(&app, "github", &headers, "Hello, World").await;

        let body = r#"{"action":"opened","number":7,"repository":{"full_name":"acme/shop"}}"#;
        let form = format!("payload={}", form_urlencoded::byte_serialize(body.as_bytes()).collect::<String>());
        for (content, kind) in [(body, "application/json"), (form.as_str(), "application/x-www-form-urlencoded")] {
            for secret in ["new", secret] {
                let signature = format!("sha256={}", hex_mac(secret, content));
                let headers = [
                    ("content-type", kind),
                    ("x-hub-signature-256", signature.as_str()),
                    ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
                    ("x-github-event", "pull_request"),
                ];
                accepted(&app, "github", &headers, content).await;
            }
        }
        let signature = hex_mac(secret, body);
        let short = format!("sha256={}", &signature[2..]);
        for header in [signature.clone(), format!("sha1={signature}"), short, String::new()] {
            rejected(&app, "github", &[("x-hub-signature-256", &header), ("x-github-event", "push")], body).await;
        }
        let old = format!("sha256={signature}");
        rejected(&app, "github", &[("x-hub-signature", &old), ("x-github-event", "push")], body).await;
    }

    // Case 44.
    async fn razorpay_signs_in_three_ways(database: TestDatabase) {
        let app = start(database, &[("WEBHOOKS_RAZORPAY_SECRETS", "new secret,webhook secret")]).await;
        let raw = "{\"event\": \"payment.captured\", \"note\": \"caf\u{e9}\"}";
        for secret in ["webhook secret", "new secret"] {
            let headers = [("x-razorpay-signature", hex_mac(secret, raw)), ("x-razorpay-event-id", secret.to_owned())];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            accepted(&app, "razorpay", &headers, raw).await;
            // The same JSON in other bytes.
            rejected(&app, "razorpay", &headers, raw.replace('\u{e9}', "\\u00e9")).await;
        }
        let signature = hex_mac("key secret", raw);
        rejected(&app, "razorpay", &[("x-razorpay-signature", &signature)], raw).await;
        for signature in ["", "zz", &hex_mac("webhook secret", raw)[..62]] {
            rejected(&app, "razorpay", &[("x-razorpay-signature", signature)], raw).await;
        }

        let checkout = RazorpayCheckout::new(&"key secret".into()).unwrap();
        let order = hex_mac("key secret", "order_1|pay_1");
        assert!(checkout.verify_order("order_1", "pay_1", &order));
        assert!(!checkout.verify_order("pay_1", "order_1", &order));
        assert!(!checkout.verify_order("order_2", "pay_1", &order));
        let subscription = hex_mac("key secret", "pay_1|sub_1");
        assert!(checkout.verify_subscription("pay_1", "sub_1", &subscription));
        assert!(!checkout.verify_subscription("sub_1", "pay_1", &subscription));
        let webhook = RazorpayCheckout::new(&"webhook secret".into()).unwrap();
        assert!(!webhook.verify_order("order_1", "pay_1", &order));
        // The separator can't be moved.
        assert!(!checkout.verify_order("order_1|pay", "_1", &hex_mac("key secret", "order_1|pay|_1")));
        assert!(RazorpayCheckout::new(&"".into()).is_err());
    }

    async fn supabase_sends_a_secret(database: TestDatabase) {
        let (old, new) = ("0123456789abcdef0123", "fedcba98765432100123");
        let secrets = format!("{new},{old}");
        let app = start(database, &[
            ("WEBHOOKS_SUPABASE_DATABASE_SECRETS", secrets.as_str()),
            ("WEBHOOKS_SUPABASE_DATABASE_HEADER", "x-supabase-secret"),
        ]).await;
        let change = json!({ "type": "INSERT", "schema": "public", "table": "orders", "record": { "id": 1 } });
        let change = change.to_string();
        for secret in [old, new] {
            accepted(&app, "supabase-database", &[("x-supabase-secret", secret)], change.clone()).await;
        }
        for (header, secret) in [
            ("x-supabase-secret", ""),
            ("x-supabase-secret", &old[..19]),
            ("x-supabase-secret", &secrets),
            ("x-webhook-secret", old),
        ] {
            rejected(&app, "supabase-database", &[(header, secret)], change.clone()).await;
        }
    }
}
