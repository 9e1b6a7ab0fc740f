//! Tests of notifications of the App Store.
#![cfg(test)]

mod chain;

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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

use self::chain::{AS_APPLE, ChainForm, ISSUER, TestChain};
use crate::store_events::{self, RecordedEvents, process, start};

const PATH: &str = "/api/v1/public/webhooks/apple";
/// The time of the test clock, 2030-01-01, in milliseconds since 1970.
const NOW_MILLIS: i64 = 1_893_456_000_000;
const UNTRUSTED: &str = "the certificates do not lead to a trusted root";
const ANOTHER_ALGORITHM: &str = "the header of the signature names another algorithm";

fn data_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/apple", name].iter().collect()
}

fn signed_file(name: &str) -> String {
    fs::read_to_string(data_file(name)).unwrap().trim().to_owned()
}

/// Starts an app of the bundle `com.example` with the Apple id 1234, which trusts a root.
async fn trusting(root: &[u8], recorded: RecordedEvents) -> TestApp {
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

async fn verify(app: &TestApp, signed: &str) -> Result<SourceEvent, String> {
    store_events::verify(app, "apple", &HeaderMap::new(), &notification_body(signed)).await
}

fn verifier(app: &TestApp) -> AppleVerifier {
    app.app().context().get().unwrap()
}

fn transaction() -> Value {
    json!({
        "originalTransactionId": "12345", "transactionId": "23456", "bundleId": "com.example",
        "environment": "Production", "signedDate": NOW_MILLIS, "aFieldOfTheFuture": { "kept": true },
    })
}

/// Returns the `data` of a notification of production.
fn data() -> Value {
    json!({ "bundleId": "com.example", "environment": "Production", "appAppleId": 1234, "bundleVersion": "1.2.3" })
}

fn notification(part: &str, object: Value) -> Value {
    json!({
        "notificationType": "DID_RENEW", "subtype": "BILLING_RECOVERY", "version": "2.0",
        "notificationUUID": Uuid::new_v4(), "signedDate": NOW_MILLIS, part: object,
    })
}

/// Returns a value with changes. `null` removes a field.
fn with(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        let fields = value.as_object_mut().unwrap();
        if change.is_null() {
            fields.remove(name)
        } else {
            fields.insert(name.clone(), change.clone())
        };
    }
    value
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

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_notification_names_its_app() {
    let chain = TestChain::apple();
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let token = |id: &str| json!({ "externalPurchaseId": id, "bundleId": "com.example", "appAppleId": 1234 });
    let (live, test) = (Some(DataEnvironment::Live), Some(DataEnvironment::Test));
    let sandbox = || json!({ "environment": "Sandbox", "appAppleId": null });
    for (part, object, expected) in [
        ("data", data(), live),
        ("data", with(data(), sandbox()), test),
        ("summary", with(data(), json!({ "requestIdentifier": "r", "succeededCount": 5 })), live),
        ("summary", with(data(), sandbox()), test),
        ("appData", data(), live),
        ("externalPurchaseToken", token("b2158121"), live),
        ("externalPurchaseToken", token("SANDBOX_b2158121"), test),
        ("externalPurchaseToken", with(token("b2158121"), json!({ "appAppleId": 1 })), None),
        ("externalPurchaseToken", with(token("b2158121"), json!({ "bundleId": "com.example.other" })), None),
        ("summary", with(data(), json!({ "bundleId": "com.example.other" })), None),
        ("appData", with(data(), json!({ "appAppleId": 1 })), None),
        ("data", with(data(), json!({ "appAppleId": null })), None),
        ("data", with(data(), json!({ "appAppleId": "1234" })), None),
        ("data", with(data(), json!({ "environment": null })), None),
        ("data", with(data(), json!({ "environment": "Xcode" })), None),
        ("data", with(data(), json!({ "environment": "LocalTesting" })), None),
        ("data", with(data(), json!({ "bundleId": "com.example.other", "environment": "Sandbox" })), None),
        ("anotherPart", data(), None),
    ] {
        let verified = verify(&app, &chain.sign(&notification(part, object.clone()))).await;
        assert_eq!(verified.as_ref().ok().map(|event| event.environment), expected, "{part} {object}: {verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_chains_are_rejected() {
    let expired = "a certificate was not valid at the time of the signature";
    let not_issued = "the certificates were not issued to sign for the App Store";
    for (what, form, reason) in [
        ("as Apple's", AS_APPLE, None),
        ("a leaf without the extension", ChainForm { signer: None, ..AS_APPLE }, Some(not_issued)),
        ("a leaf with the other extension", ChainForm { signer: Some(ISSUER), ..AS_APPLE }, Some(not_issued)),
        ("an issuer without the extension", ChainForm { issuer: None, ..AS_APPLE }, Some(not_issued)),
        ("an issuer that is no authority", ChainForm { issuer_is_ca: false, ..AS_APPLE }, Some(UNTRUSTED)),
        ("an expired leaf", ChainForm { years: (2027, 2029), ..AS_APPLE }, Some(expired)),
        ("a leaf of the future", ChainForm { years: (2031, 2033), ..AS_APPLE }, Some(expired)),
    ] {
        let chain = TestChain::issue(form);
        let app = trusting(&chain.root, RecordedEvents::default()).await;
        let verified = verify(&app, &chain.sign(&notification("data", data()))).await;
        assert_eq!(verified.err().as_deref(), reason, "{what}");
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
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let sent = notification("data", data());
    let genuine = chain.sign(&sent);
    verify(&app, &genuine).await.unwrap();

    let parts: Vec<&str> = genuine.split('.').collect();
    let tampered = URL_SAFE_NO_PAD.encode(with(sent.clone(), json!({ "notificationType": "REFUND" })).to_string());
    let header = |alg: &str, x5c: &[String]| json!({ "alg": alg, "x5c": x5c });
    let three = "the header of the signature does not have three certificates";
    let swapped = [other.x5c[0].clone(), chain.x5c[1].clone(), chain.x5c[2].clone()];
    let der_signature = {
        // The form of ECDSA signatures in certificates, which JWS does not use.
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        URL_SAFE_NO_PAD
            .encode([&[0x30, 0x44, 0x02, 0x20][..], &signature[..32], &[0x02, 0x20][..], &signature[32..]].concat())
    };
    for (what, signed, reason) in [
        ("another payload", format!("{}.{tampered}.{}", parts[0], parts[2]), "no signature matches"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "no signature matches"),
        ("a signature in DER", format!("{}.{}.{der_signature}", parts[0], parts[1]), "no signature matches"),
        ("another root", other.sign(&sent), UNTRUSTED),
        ("another key", other.sign_with(&header("ES256", &chain.x5c), &sent), "no signature matches"),
        ("another leaf", other.sign_with(&header("ES256", &swapped), &sent), UNTRUSTED),
        ("two certificates", chain.sign_with(&header("ES256", &chain.x5c[..2]), &sent), three),
        ("no certificates", chain.sign_with(&header("ES256", &[]), &sent), three),
        (
            "four certificates",
            {
                let four = [chain.x5c.clone(), vec![chain.x5c[2].clone()]].concat();
                chain.sign_with(&header("ES256", &four), &sent)
            },
            three,
        ),
        ("no algorithm", chain.sign_with(&header("none", &chain.x5c), &sent), ANOTHER_ALGORITHM),
        ("HS256", chain.sign_with(&header("HS256", &chain.x5c), &sent), ANOTHER_ALGORITHM),
        ("RS256", chain.sign_with(&header("RS256", &chain.x5c), &sent), ANOTHER_ALGORITHM),
        ("ES384", chain.sign_with(&header("ES384", &chain.x5c), &sent), ANOTHER_ALGORITHM),
        ("no JWS", "signed".to_owned(), "the signature is not a JWS in compact form"),
    ] {
        assert_eq!(verify(&app, &signed).await, Err(reason.to_owned()), "{what}");
    }
    // The third certificate is not used: another one does no harm.
    let x5c = [chain.x5c[0].clone(), chain.x5c[1].clone(), other.x5c[2].clone()];
    verify(&app, &chain.sign_with(&header("ES256", &x5c), &sent)).await.unwrap();

    for body in ["", "{}", "[]", "7", r#"{"signedPayload":7}"#, "signedPayload=x"] {
        let verified = store_events::verify(&app, "apple", &HeaderMap::new(), body.as_bytes()).await;
        assert_eq!(verified, Err("the body has no signed payload".to_owned()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_parts_are_verified_too() {
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let environment = "a signed part is of another environment";
    let bundle = "signed for another bundle id";
    let app_transaction = json!({
        "receiptType": "Production", "bundleId": "com.example", "appAppleId": 1234, "receiptCreationDate": NOW_MILLIS,
    });
    for (part, name, signed, reason) in [
        ("data", "signedTransactionInfo", chain.sign(&transaction()), None),
        ("data", "signedTransactionInfo", other.sign(&transaction()), Some(UNTRUSTED)),
        ("data", "signedRenewalInfo", other.sign(&transaction()), Some(UNTRUSTED)),
        (
            "data",
            "signedTransactionInfo",
            chain.sign(&with(transaction(), json!({ "bundleId": "com.example.other" }))),
            Some(bundle),
        ),
        (
            "data",
            "signedTransactionInfo",
            chain.sign(&with(transaction(), json!({ "environment": "Sandbox" }))),
            Some(environment),
        ),
        (
            "data",
            "signedRenewalInfo",
            chain.sign(&with(transaction(), json!({ "environment": "Xcode" }))),
            Some("signed for an environment other than production and sandbox"),
        ),
        ("appData", "signedAppTransactionInfo", chain.sign(&app_transaction), None),
        ("appData", "signedAppTransactionInfo", other.sign(&app_transaction), Some(UNTRUSTED)),
        (
            "appData",
            "signedAppTransactionInfo",
            chain.sign(&with(app_transaction.clone(), json!({ "appAppleId": 1 }))),
            Some("signed for an app with another Apple id"),
        ),
    ] {
        let sent = notification(part, with(data(), json!({ name: signed })));
        let verified = verify(&app, &chain.sign(&sent)).await;
        assert_eq!(verified.err().as_deref(), reason, "{name}");
    }
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
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let app = trusting(&chain.root, RecordedEvents::default()).await;
    let (verifier, now) = (verifier(&app), app.clock().clock().now());
    for (what, signed, is_accepted) in [
        ("genuine", chain.sign(&transaction()), true),
        ("another root", other.sign(&transaction()), false),
        ("Xcode", chain.sign(&with(transaction(), json!({ "environment": "Xcode" }))), false),
        ("another bundle", chain.sign(&with(transaction(), json!({ "bundleId": "com.example.other" }))), false),
        ("no JSON object", chain.sign(&json!("transaction")), false),
    ] {
        let verified = verifier.verify_transaction(&signed, now);
        assert_eq!(verified.is_ok(), is_accepted, "{what}: {verified:?}");
        assert!(matches!(verified, Ok(_) | Err(WebhookRejection::Unverified(_))), "{what}");
    }
}
