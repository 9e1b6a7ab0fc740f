//! Payloads that a test has signed as the App Store does, and forgeries of them. Apple's own library verifies the same
//! payloads in `peers/apple.rs`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::webhook::DataEnvironment;
use serde_json::{Value, json};
use uuid::Uuid;

use super::chain::{AS_APPLE, ChainForm, ISSUER, TestChain};
use crate::store_events::with;

/// The time of the test clock, 2030-01-01, in milliseconds since 1970.
pub(super) const NOW_MILLIS: i64 = 1_893_456_000_000;
pub(super) const UNTRUSTED: &str = "the certificates do not lead to a trusted root";
const ANOTHER_ALGORITHM: &str = "the header of the signature names another algorithm";
const ANOTHER_APP: &str = "signed for an app with another Apple id";
const ANOTHER_BUNDLE: &str = "signed for another bundle id";
const ANOTHER_ENVIRONMENT: &str = "signed for an environment other than production and sandbox";
const NO_SIGNATURE_MATCHES: &str = "no signature matches";

/// A signed payload, and the expected result of its verification.
pub(crate) struct SignedCase {
    pub(crate) what: String,
    /// The root certificate that the app trusts.
    pub(crate) root: Vec<u8>,
    pub(crate) signed: String,
    /// The environment, or the reason why the payload is rejected.
    pub(crate) expected: Result<DataEnvironment, &'static str>,
}

const LIVE: Result<DataEnvironment, &str> = Ok(DataEnvironment::Live);
const TEST: Result<DataEnvironment, &str> = Ok(DataEnvironment::Test);

impl TestChain {
    /// Returns a case whose app trusts the root of this chain.
    fn case(
        &self,
        what: impl Into<String>,
        signed: String,
        expected: Result<DataEnvironment, &'static str>,
    ) -> SignedCase {
        SignedCase { what: what.into(), root: self.root.clone(), signed, expected }
    }
}

pub(super) fn transaction() -> Value {
    json!({
        "originalTransactionId": "12345", "transactionId": "23456", "bundleId": "com.example",
        "environment": "Production", "signedDate": NOW_MILLIS, "aFieldOfTheFuture": { "kept": true },
    })
}

/// Returns the `data` of a notification of production.
pub(super) fn data() -> Value {
    json!({ "bundleId": "com.example", "environment": "Production", "appAppleId": 1234, "bundleVersion": "1.2.3" })
}

pub(super) fn notification(part: &str, object: Value) -> Value {
    json!({
        "notificationType": "DID_RENEW", "subtype": "BILLING_RECOVERY", "version": "2.0",
        "notificationUUID": Uuid::new_v4(), "signedDate": NOW_MILLIS, part: object,
    })
}

/// Returns notifications that are signed by chains of other forms than Apple's. Each chain has its own root.
pub(crate) fn chains() -> Vec<SignedCase> {
    let expired = Err("a certificate was not valid at the time of the signature");
    let not_issued = Err("the certificates were not issued to sign for the App Store");
    let forms = [
        ("as Apple's", AS_APPLE, LIVE),
        ("a leaf without the extension", ChainForm { signer: None, ..AS_APPLE }, not_issued),
        ("a leaf with the other extension", ChainForm { signer: Some(ISSUER), ..AS_APPLE }, not_issued),
        ("an issuer without the extension", ChainForm { issuer: None, ..AS_APPLE }, not_issued),
        ("an issuer that is no authority", ChainForm { issuer_is_ca: false, ..AS_APPLE }, Err(UNTRUSTED)),
        ("an expired leaf", ChainForm { years: (2027, 2029), ..AS_APPLE }, expired),
        ("a leaf of the future", ChainForm { years: (2031, 2033), ..AS_APPLE }, expired),
    ];
    let sign = |(what, form, expected)| {
        let chain = TestChain::issue(form);
        chain.case(what, chain.sign(&notification("data", data())), expected)
    };
    forms.into_iter().map(sign).collect()
}

/// Returns notifications with headers and signatures of many forms. All have the same root.
pub(crate) fn signatures() -> Vec<SignedCase> {
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let sent = notification("data", data());
    let genuine = chain.sign(&sent);
    let parts: Vec<&str> = genuine.split('.').collect();
    let tampered = URL_SAFE_NO_PAD.encode(with(sent.clone(), json!({ "notificationType": "REFUND" })).to_string());
    let header = |alg: &str, x5c: &[String]| json!({ "alg": alg, "x5c": x5c });
    let with_x5c = |x5c: &[String]| chain.sign_with(&header("ES256", x5c), &sent);
    let three = Err("the header of the signature does not have three certificates");
    let (no_match, another_algorithm) = (Err(NO_SIGNATURE_MATCHES), Err(ANOTHER_ALGORITHM));
    let [leaf, issuer, root] = [0, 1, 2].map(|index| chain.x5c[index].clone());
    let der_signature = {
        // The form of ECDSA signatures in certificates, which JWS does not use.
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        URL_SAFE_NO_PAD
            .encode([&[0x30, 0x44, 0x02, 0x20][..], &signature[..32], &[0x02, 0x20][..], &signature[32..]].concat())
    };
    [
        ("genuine", genuine.clone(), LIVE),
        ("another payload", format!("{}.{tampered}.{}", parts[0], parts[2]), no_match),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), no_match),
        ("a signature in DER", format!("{}.{}.{der_signature}", parts[0], parts[1]), no_match),
        ("another root", other.sign(&sent), Err(UNTRUSTED)),
        ("another key", other.sign_with(&header("ES256", &chain.x5c), &sent), no_match),
        (
            "another leaf",
            other.sign_with(&header("ES256", &[other.x5c[0].clone(), issuer.clone(), root.clone()]), &sent),
            Err(UNTRUSTED),
        ),
        ("the issuer first", with_x5c(&[issuer.clone(), leaf.clone(), root.clone()]), Err(UNTRUSTED)),
        ("the root as issuer", with_x5c(&[leaf.clone(), root.clone(), root.clone()]), Err(UNTRUSTED)),
        ("no certificates", with_x5c(&[]), three),
        ("one certificate", with_x5c(&chain.x5c[..1]), three),
        ("two certificates", with_x5c(&chain.x5c[..2]), three),
        ("four certificates", with_x5c(&[leaf.clone(), issuer.clone(), root.clone(), root]), three),
        // The third certificate is not used: another one does no harm.
        ("another third certificate", with_x5c(&[leaf, issuer, other.x5c[2].clone()]), LIVE),
        ("no algorithm", chain.sign_with(&header("none", &chain.x5c), &sent), another_algorithm),
        ("HS256", chain.sign_with(&header("HS256", &chain.x5c), &sent), another_algorithm),
        ("RS256", chain.sign_with(&header("RS256", &chain.x5c), &sent), another_algorithm),
        ("ES384", chain.sign_with(&header("ES384", &chain.x5c), &sent), another_algorithm),
        (
            "an extension that must be understood",
            chain.sign_with(&with(header("ES256", &chain.x5c), json!({ "crit": ["x"], "x": 1 })), &sent),
            Err("the header of the signature requires an extension"),
        ),
        ("no JWS", "signed".to_owned(), Err("the signature is not a JWS in compact form")),
    ]
    .map(|(what, signed, expected)| chain.case(what, signed, expected))
    .into()
}

/// Returns notifications about the app of the test, and about other apps. All have the same root.
pub(crate) fn subjects() -> Vec<SignedCase> {
    let chain = TestChain::apple();
    let token = |id: &str| json!({ "externalPurchaseId": id, "bundleId": "com.example", "appAppleId": 1234 });
    let (app, bundle, environment) = (Err(ANOTHER_APP), Err(ANOTHER_BUNDLE), Err(ANOTHER_ENVIRONMENT));
    let sandbox = || json!({ "environment": "Sandbox", "appAppleId": null });
    [
        ("data", data(), LIVE),
        ("data", with(data(), sandbox()), TEST),
        ("summary", with(data(), json!({ "requestIdentifier": "r", "succeededCount": 5 })), LIVE),
        ("summary", with(data(), sandbox()), TEST),
        ("appData", data(), LIVE),
        ("externalPurchaseToken", token("b2158121"), LIVE),
        ("externalPurchaseToken", token("SANDBOX_b2158121"), TEST),
        ("externalPurchaseToken", with(token("b2158121"), json!({ "appAppleId": 1 })), app),
        ("externalPurchaseToken", with(token("b2158121"), json!({ "bundleId": "com.example.other" })), bundle),
        ("summary", with(data(), json!({ "bundleId": "com.example.other" })), bundle),
        ("appData", with(data(), json!({ "appAppleId": 1 })), app),
        ("data", with(data(), json!({ "appAppleId": null })), app),
        ("data", with(data(), json!({ "environment": null })), environment),
        ("data", with(data(), json!({ "environment": "Xcode" })), environment),
        ("data", with(data(), json!({ "environment": "LocalTesting" })), environment),
        ("data", with(data(), json!({ "bundleId": "com.example.other", "environment": "Sandbox" })), bundle),
        ("anotherPart", data(), Err("the notification does not name its app")),
    ]
    .map(|(part, object, expected)| {
        let what = format!("{part} {object}");
        chain.case(what, chain.sign(&notification(part, object)), expected)
    })
    .into()
}

/// Returns notifications with signed parts. All have the same root.
pub(crate) fn parts() -> Vec<SignedCase> {
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let changed = |changes: Value| chain.sign(&with(transaction(), changes));
    let app_transaction = |changes: Value| {
        let all = json!({
            "receiptType": "Production", "bundleId": "com.example", "appAppleId": 1234,
            "receiptCreationDate": NOW_MILLIS,
        });
        with(all, changes)
    };
    let (data_part, app_data) = ("data", "appData");
    let (of_device, of_renewal, of_app) = ("signedTransactionInfo", "signedRenewalInfo", "signedAppTransactionInfo");
    let mixed = Err("a signed part is of another environment");
    let untrusted = Err(UNTRUSTED);
    [
        (data_part, of_device, chain.sign(&transaction()), LIVE),
        (data_part, of_device, other.sign(&transaction()), untrusted),
        (data_part, of_device, changed(json!({ "bundleId": "com.example.other" })), Err(ANOTHER_BUNDLE)),
        (data_part, of_device, changed(json!({ "environment": "Sandbox" })), mixed),
        (data_part, of_renewal, chain.sign(&transaction()), LIVE),
        (data_part, of_renewal, other.sign(&transaction()), untrusted),
        (data_part, of_renewal, changed(json!({ "environment": "Sandbox" })), mixed),
        (data_part, of_renewal, changed(json!({ "environment": "Xcode" })), Err(ANOTHER_ENVIRONMENT)),
        (app_data, of_app, chain.sign(&app_transaction(json!({}))), LIVE),
        (app_data, of_app, other.sign(&app_transaction(json!({}))), untrusted),
        (app_data, of_app, chain.sign(&app_transaction(json!({ "appAppleId": 1 }))), Err(ANOTHER_APP)),
        (app_data, of_app, chain.sign(&app_transaction(json!({ "receiptType": "Sandbox" }))), mixed),
    ]
    .map(|(part, name, signed, expected)| {
        let sent = notification(part, with(data(), json!({ name: signed })));
        chain.case(format!("{name} {expected:?}"), chain.sign(&sent), expected)
    })
    .into()
}

/// Returns transactions as devices send them. All have the same root.
pub(crate) fn transactions() -> Vec<SignedCase> {
    let (chain, other) = (TestChain::apple(), TestChain::apple());
    let changed = |changes: Value| chain.sign(&with(transaction(), changes));
    [
        ("genuine", chain.sign(&transaction()), LIVE),
        ("of the sandbox", changed(json!({ "environment": "Sandbox" })), TEST),
        ("another root", other.sign(&transaction()), Err(UNTRUSTED)),
        ("Xcode", changed(json!({ "environment": "Xcode" })), Err(ANOTHER_ENVIRONMENT)),
        ("no environment", changed(json!({ "environment": null })), Err(ANOTHER_ENVIRONMENT)),
        ("another bundle", changed(json!({ "bundleId": "com.example.other" })), Err(ANOTHER_BUNDLE)),
        ("no JSON object", chain.sign(&json!("transaction")), Err(ANOTHER_BUNDLE)),
    ]
    .map(|(what, signed, expected)| chain.case(what, signed, expected))
    .into()
}
