//! Tests of webhooks that accounts at Stripe send.

use std::time::Duration;

use http::HeaderMap;
use omnistack_core::{
    data_environment::DataEnvironment,
    http::client::ClientSettings,
    payment::PaymentProvider,
    webhook::{WebhookRejection, WebhookRequest},
};
use omnistack_payments::{PaymentService as _, StripeService};

use super::{Stripe, credentials};

const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid","created":1748736000,"data":{"object":{"id":"in_1"}}}"#;

async fn verify(stripe: &Stripe, account: &dyn PaymentProvider, signature: &str, body: &str) -> bool {
    let headers: HeaderMap =
        [(http::HeaderName::from_static("stripe-signature"), signature.parse().unwrap())].into_iter().collect();
    let url = "https://app.example/api/v1/public/webhooks/stripe-account/tenant";
    let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now: stripe.now() };
    match account.verify_webhook(&request).await {
        Ok(()) => true,
        Err(WebhookRejection::Unverified(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_account_verifies_its_webhooks_by_its_own_secrets() {
    let stripe = Stripe::start().await;
    let service = StripeService::new(ClientSettings::default().client().unwrap(), &stripe.server.url()).unwrap();
    assert_eq!(service.account_source(), Some("stripe-account"));
    let connect = |secret: &str| {
        let mut fields = credentials("sk_test_1");
        fields.0.insert("webhook_secret".to_owned(), secret.into());
        service.connect(DataEnvironment::Test, &fields)
    };
    let account = connect("whsec_one,whsec_two").unwrap();
    for (secret, expected) in [("whsec_one", true), ("whsec_two", true), ("whsec_three", false)] {
        let signature = stripe.server.signature(secret, BODY);
        assert_eq!(verify(&stripe, &*account, &signature, BODY).await, expected, "{secret}");
        assert!(!verify(&stripe, &*account, &signature, "{}").await);
    }
    let signature = stripe.server.signature("whsec_one", BODY);
    for wrong in ["", "t=1", "v1=00", &signature.replace("v1=", "v0="), &format!("{signature},t=1")] {
        assert!(!verify(&stripe, &*account, wrong, BODY).await, "{wrong}");
    }
    // The account of the app has no secret here.
    assert!(!verify(&stripe, &*stripe.provider, &signature, BODY).await);
    stripe.clock.advance(Duration::from_secs(299));
    assert!(verify(&stripe, &*account, &signature, BODY).await);
    stripe.clock.advance(Duration::from_secs(2));
    assert!(!verify(&stripe, &*account, &signature, BODY).await);
    assert_eq!(connect("whsec_").unwrap_err().field, "webhook_secret");

    let headers = HeaderMap::new();
    let request = WebhookRequest { url: "", headers: &headers, body: BODY.as_bytes(), now: stripe.now() };
    let event = service.describe_webhook(&request).unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("evt_1", "invoice.paid"));
    assert_eq!((event.object.as_deref(), event.occurred_at), (Some("in_1"), "2025-06-01T00:00:00Z".parse().ok()));
    let request = WebhookRequest { body: b"{}", ..request };
    assert!(matches!(service.describe_webhook(&request), Err(WebhookRejection::Malformed(_))));
}
