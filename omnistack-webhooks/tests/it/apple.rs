//! Tests of notifications of the App Store.
#![cfg(test)]

pub(crate) mod cases;
mod chain;

use std::{fs, path::PathBuf};

use http::HeaderMap;
use omnistack_core::{
    app::App,
    config::Config,
    webhook::{DataEnvironment, SourceEvent, WebhookRejection},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use omnistack_webhooks::{AppleVerifier, Webhooks};
use serde_json::{Value, json};
use uuid::Uuid;

use self::{
    cases::{NOW_MILLIS, SignedCase, UNTRUSTED, data, notification, transaction},
    chain::{AS_APPLE, ChainForm, TestChain},
};
use crate::store_events::{self, RecordedEvents, process, start, with};

const PATH: &str = "/api/v1/public/webhooks/apple";

pub(crate) fn data_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/apple", name].iter().collect()
}

pub(crate) fn signed_file(name: &str) -> String {
    fs::read_to_string(data_file(name)).unwrap().trim().to_owned()
}

/// Starts an app of the bundle `com.example` with the Apple id 1234, which trusts a root.
pub(crate) async fn trusting(root: &[u8], recorded: RecordedEvents) -> TestApp {
    on_database(TestDatabase::sqlite(), root, recorded).await
}

async fn on_database(database: TestDatabase, root: &[u8], recorded: RecordedEvents) -> TestApp {
    let path = std::env::temp_dir().join(format!("omnistack-apple-{}.der", Uuid::new_v4()));
    fs::write(&path, root).unwrap();
    let settings = [
        ("WEBHOOKS_APPLE_BUNDLE_ID", "com.example"),
        ("WEBHOOKS_APPLE_APP_ID", "1234"),
        ("WEBHOOKS_APPLE_ROOTS", path.to_str().unwrap()),
    ];
    let app = start(database, &settings, recorded).await;
    fs::remove_file(path).unwrap();
    app
}

async fn trusting_test_ca() -> TestApp {
    trusting(&fs::read(data_file("testCA.der")).unwrap(), RecordedEvents::default()).await
}

fn notification_body(signed: &str) -> Vec<u8> {
    json!({ "signedPayload": signed }).to_string().into_bytes()
}

pub(crate) async fn verify(app: &TestApp, signed: &str) -> Result<SourceEvent, String> {
    store_events::verify(app, "apple", &HeaderMap::new(), &notification_body(signed)).await
}

pub(crate) fn verifier(app: &TestApp) -> AppleVerifier {
    app.app().context().get().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn apples_test_data_is_verified() {
    let app = trusting_test_ca().await;
    let event = verify(&app, &signed_file("testNotification")).await.unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("9ad56bd2-0bc6-42e0-af24-fd996d87a1e6", "TEST"));
    assert_eq!(event.environment, DataEnvironment::Test);
    assert_eq!(event.occurred_at.unwrap().to_string(), "2023-04-12T15:45:24Z");
    assert_eq!(event.object, None);

    let now = app.clock().clock().now();
    let transaction = verifier(&app).verify_transaction(&signed_file("transactionInfo"), now).unwrap();
    assert_eq!(transaction["bundleId"], "com.example");
    let renewal = verifier(&app).verify_renewal(&signed_file("renewalInfo"), now).unwrap();
    assert_eq!(renewal["environment"], "Sandbox");

    for (file, reason) in [
        ("wrongBundleId", "signed for another bundle id"),
        ("missingX5CHeaderClaim", "the header of the signature does not identify its key"),
    ] {
        assert_eq!(verify(&app, &signed_file(file)).await, Err(reason.to_owned()), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_apples_root_is_trusted_without_further_roots() {
    let settings = [("WEBHOOKS_APPLE_BUNDLE_ID", "com.example"), ("WEBHOOKS_APPLE_APP_ID", "1234")];
    let app = start(TestDatabase::sqlite(), &settings, RecordedEvents::default()).await;
    let chain = TestChain::apple();
    for signed in [signed_file("testNotification"), chain.sign(&notification("data", data()))] {
        assert_eq!(verify(&app, &signed).await, Err(UNTRUSTED.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_described_by_its_transaction() {
    let chain = TestChain::apple();
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let renewal = json!({
        "originalTransactionId": "12345", "environment": "Production", "signedDate": NOW_MILLIS, "autoRenewStatus": 1,
    });
    let parts =
        json!({ "signedTransactionInfo": chain.sign(&transaction()), "signedRenewalInfo": chain.sign(&renewal) });
    let sent = notification("data", with(data(), parts));
    let event = verify(&app, &chain.sign(&sent)).await.unwrap();
    assert_eq!(Value::from(event.id), sent["notificationUUID"]);
    assert_eq!(event.kind, "DID_RENEW.BILLING_RECOVERY");
    assert_eq!(event.environment, DataEnvironment::Live);
    assert_eq!(event.object.as_deref(), Some("12345"));
    assert_eq!(event.occurred_at, Some(app.clock().clock().now()));

    // What the verifier returns has all fields.
    let now = app.clock().clock().now();
    assert_eq!(verifier(&app).verify_transaction(&chain.sign(&transaction()), now).unwrap(), transaction());

    let only_renewal = with(data(), json!({ "signedRenewalInfo": chain.sign(&renewal) }));
    let event = verify(&app, &chain.sign(&notification("data", only_renewal))).await.unwrap();
    assert_eq!(event.object.as_deref(), Some("12345"));
}

/// Verifies notifications with an app that trusts the root of the first.
async fn assert_verified(cases: &[SignedCase]) {
    let app = trusting(&cases[0].root, RecordedEvents::default()).await;
    for SignedCase { what, signed, expected, .. } in cases {
        let verified = verify(&app, signed).await.map(|event| event.environment);
        assert_eq!(verified, expected.map_err(str::to_owned), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_notification_names_its_app() {
    assert_verified(&cases::subjects()).await;

    let chain = TestChain::apple();
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let in_quotes = with(data(), json!({ "appAppleId": "1234" }));
    let verified = verify(&app, &chain.sign(&notification("data", in_quotes))).await;
    assert_eq!(verified, Err("signed for an app with another Apple id".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_chains_are_rejected() {
    for case in cases::chains() {
        assert_verified(&[case]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_valid_at_the_date_of_the_signature() {
    let chain = TestChain::issue(ChainForm { years: (2027, 2029), ..AS_APPLE });
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let in_2028 = json!({ "signedDate": 1_830_297_600_000_i64 });
    verify(&app, &chain.sign(&with(notification("data", data()), in_2028))).await.unwrap();
    // Without a date, they must be valid now.
    let dateless = with(notification("data", data()), json!({ "signedDate": null }));
    assert!(verify(&app, &chain.sign(&dateless)).await.is_err());
    for date in [json!(i64::MAX), json!(i64::MIN), json!(u64::MAX), json!(1e300), json!("now")] {
        let dated = with(notification("data", data()), json!({ "signedDate": date }));
        assert!(verify(&app, &chain.sign(&dated)).await.is_err(), "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_signatures_are_rejected() {
    assert_verified(&cases::signatures()).await;

    let app = trusting_test_ca().await;
    for body in ["", "{}", "[]", "7", r#"{"signedPayload":7}"#, "signedPayload=x"] {
        let verified = store_events::verify(&app, "apple", &HeaderMap::new(), body.as_bytes()).await;
        assert_eq!(verified, Err("the body has no signed payload".to_owned()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_parts_are_verified_too() {
    assert_verified(&cases::parts()).await;
}

on_each_database! {
    async fn the_sandbox_of_a_live_app_is_stored_as_a_test(database: TestDatabase) {
        let (chain, recorded) = (TestChain::apple(), RecordedEvents::default());
        let app = on_database(database, &chain.root, recorded.clone()).await;
        let sandbox = with(data(), json!({ "environment": "Sandbox", "appAppleId": null }));
        let signed = notification_body(&chain.sign(&notification("data", sandbox)));
        let post = || app.anonymous().post(PATH, ()).body(signed.clone());
        post().await.expect(200);
        process(&app).await;
        let events = recorded.all();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].environment, DataEnvironment::Test);

        // The App Store sends a notification again if it has not seen the response.
        assert_eq!(post().await.expect(200).json()["status"], "duplicate");
        process(&app).await;
        assert_eq!(recorded.all().len(), 1);

        let forged = notification_body(&TestChain::apple().sign(&notification("data", data())));
        app.anonymous().post(PATH, ()).body(forged).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        process(&app).await;
        assert_eq!(recorded.all().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn production_needs_the_apple_id_of_the_app() {
    let chain = TestChain::apple();
    let path = std::env::temp_dir().join(format!("omnistack-apple-{}.der", Uuid::new_v4()));
    fs::write(&path, &chain.root).unwrap();
    let root = path.to_str().unwrap();
    let bundle = ("WEBHOOKS_APPLE_BUNDLE_ID", "com.example");
    for (environment, settings, problem) in [
        ("production", vec![bundle], Some("`WEBHOOKS_APPLE_BUNDLE_ID` is set without `WEBHOOKS_APPLE_APP_ID`")),
        ("production", vec![bundle, ("WEBHOOKS_APPLE_APP_ID", "1234")], None),
        (
            "production",
            vec![bundle, ("WEBHOOKS_APPLE_APP_ID", "1234"), ("WEBHOOKS_APPLE_ROOTS", root)],
            Some("`WEBHOOKS_APPLE_ROOTS` is set in production"),
        ),
        ("test", vec![bundle], None),
        ("test", vec![bundle, ("WEBHOOKS_APPLE_ROOTS", "/nowhere.der")], Some("/nowhere.der can't be read")),
        (
            "test",
            vec![bundle, ("WEBHOOKS_APPLE_ROOTS", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))],
            Some("DER"),
        ),
        ("test", vec![bundle, ("WEBHOOKS_APPLE_APP_ID", "0")], Some("WEBHOOKS_APPLE_APP_ID")),
    ] {
        let all = [("APP_ENV", environment), ("DATABASE_URL", "sqlite::memory:")].into_iter().chain(settings.clone());
        let built = App::builder(Config::from_pairs(all)).with(Webhooks::from_env()).build();
        let report = built.err().map(|error| error.to_string()).unwrap_or_default();
        match problem {
            Some(problem) => assert!(report.contains(problem), "{settings:?}: {report}"),
            // Other modules may need settings in production.
            None => assert!(!report.contains("WEBHOOKS_APPLE"), "{settings:?}: {report}"),
        }
    }
    fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_apple_id_only_the_sandbox_is_accepted() {
    let chain = TestChain::apple();
    let path = std::env::temp_dir().join(format!("omnistack-apple-{}.der", Uuid::new_v4()));
    fs::write(&path, &chain.root).unwrap();
    let settings = [("WEBHOOKS_APPLE_BUNDLE_ID", "com.example"), ("WEBHOOKS_APPLE_ROOTS", path.to_str().unwrap())];
    let app = start(TestDatabase::sqlite(), &settings, RecordedEvents::default()).await;
    fs::remove_file(path).unwrap();
    let sandbox = with(data(), json!({ "environment": "Sandbox" }));
    verify(&app, &chain.sign(&notification("data", sandbox))).await.unwrap();
    let refused = verify(&app, &chain.sign(&notification("data", data()))).await;
    assert_eq!(refused, Err("signed for production, and no Apple id of the app is set".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_bundle_id_has_no_such_source() {
    let app = start(TestDatabase::sqlite(), &[], RecordedEvents::default()).await;
    app.anonymous().post(PATH, json!({ "signedPayload": "x" })).await.expect(404);
    assert!(app.app().context().get::<AppleVerifier>().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_device_is_verified_by_the_same_rules() {
    let cases = cases::transactions();
    let app = trusting(&cases[0].root, RecordedEvents::default()).await;
    let (verifier, now) = (verifier(&app), app.clock().clock().now());
    for SignedCase { what, signed, expected, .. } in cases {
        match (verifier.verify_transaction(&signed, now), expected) {
            (Ok(transaction), Ok(environment)) => {
                let is_live = transaction["environment"] == "Production";
                assert_eq!(is_live, environment == DataEnvironment::Live, "{what}");
            }
            (Err(WebhookRejection::Unverified(reason)), Err(expected)) => assert_eq!(reason, expected, "{what}"),
            (verified, _) => panic!("{what}: {verified:?}"),
        }
    }
}
