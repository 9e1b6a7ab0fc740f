//! Tests that Apple's own library for Python accepts and rejects the same payloads as the source `apple`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::webhook::DataEnvironment;
use serde_json::{Value, json};

use super::Peer;
use crate::apple::{
    cases::{self, SignedCase},
    data_file, signed_file, trusting, verifier, verify,
};
use crate::store_events::RecordedEvents;

/// The kinds of payload, as the script of the peer names them.
const NOTIFICATION: &str = "notification";
const TRANSACTION: &str = "transaction";

impl Peer {
    /// Returns the environment for which Apple's library accepts a signed payload, or `None` if it rejects it.
    ///
    /// With `strict`, the library requires key identifiers in certificates. The certificates of Apple's test data have
    /// none.
    async fn apple(&mut self, root: &[u8], kind: &str, signed: &str, strict: bool) -> Option<DataEnvironment> {
        let question = json!({
            "command": "verify_apple", "root": STANDARD.encode(root), "bundle_id": "com.example", "app_id": 1234,
            "kind": kind, "signed": signed, "strict": strict,
        });
        match self.ask(question).await["verified"].as_str() {
            Some("Production") => Some(DataEnvironment::Live),
            Some("Sandbox") => Some(DataEnvironment::Test),
            Some(other) => panic!("{other}"),
            None => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn apples_library_accepts_and_rejects_the_same_payloads() {
    let mut python = Peer::python();
    let notifications = [cases::chains(), cases::signatures(), cases::subjects(), cases::parts()];
    let notifications = notifications.into_iter().flatten().map(|case| (NOTIFICATION, case));
    let transactions = cases::transactions().into_iter().map(|case| (TRANSACTION, case));
    let (mut accepted, mut rejected) = (0, 0);
    for (kind, SignedCase { what, root, signed, expected }) in notifications.chain(transactions) {
        // Other tests compare the source with `expected`.
        let library = python.apple(&root, kind, &signed, true).await;
        assert_eq!(library, expected.ok(), "{kind}: {what}");
        *if library.is_some() { &mut accepted } else { &mut rejected } += 1;
    }
    // Equal answers prove something only if both occur.
    assert!(accepted >= 10 && rejected >= 30, "{accepted} {rejected}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn apples_test_data_is_accepted_and_rejected_by_both() {
    let mut python = Peer::python();
    let root = std::fs::read(data_file("testCA.der")).unwrap();
    let app = trusting(&root, RecordedEvents::default()).await;
    let now = app.clock().clock().now();
    let environment = |payload: Value| match payload["environment"].as_str() {
        Some("Production") => DataEnvironment::Live,
        _ => DataEnvironment::Test,
    };
    for (kind, file, is_accepted) in [
        (NOTIFICATION, "testNotification", true),
        (NOTIFICATION, "wrongBundleId", false),
        (NOTIFICATION, "missingX5CHeaderClaim", false),
        (TRANSACTION, "transactionInfo", true),
        ("renewal", "renewalInfo", true),
    ] {
        let signed = signed_file(file);
        let ours = match kind {
            NOTIFICATION => verify(&app, &signed).await.ok().map(|event| event.environment),
            TRANSACTION => verifier(&app).verify_transaction(&signed, now).ok().map(environment),
            _ => verifier(&app).verify_renewal(&signed, now).ok().map(environment),
        };
        assert_eq!(ours.is_some(), is_accepted, "{file}");
        assert_eq!(python.apple(&root, kind, &signed, false).await, ours, "{file}");
    }
}
