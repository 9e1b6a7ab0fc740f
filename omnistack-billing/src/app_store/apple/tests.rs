use omnistack_core::{
    clock::Timestamp,
    payment::ProviderSubscriptionStatus::{Active, Canceled, PastDue, Trialing, Unpaid},
    usage::DataEnvironment,
};
use serde_json::{Value, json};

use super::{super::model::StateOrigin, AppleNotification, transaction};

const DAY_MILLIS: i64 = 86_400_000;

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(day * DAY_MILLIS * 1000)
}

fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    value
}

/// Returns a transaction of the days 30 to 60.
fn signed(changes: &Value) -> Value {
    let all = json!({
        "originalTransactionId": "1", "transactionId": "2", "productId": "pro.monthly", "environment": "Production",
        "type": "Auto-Renewable Subscription", "purchaseDate": 30 * DAY_MILLIS, "expiresDate": 60 * DAY_MILLIS,
        "signedDate": 31 * DAY_MILLIS, "appAccountToken": "0197a2a4-8c00-7000-8000-000000000001",
    });
    with(all, changes)
}

#[test]
fn transactions_prove_payments() {
    for (changes, day, expected) in [
        (json!({}), 40, Some(Active)),
        (json!({ "offerDiscountType": "FREE_TRIAL" }), 40, Some(Trialing)),
        (json!({ "offerDiscountType": "PAY_UP_FRONT" }), 40, Some(Active)),
        (json!({}), 60, Some(Canceled)),
        (json!({ "revocationDate": 35 * DAY_MILLIS }), 40, Some(Canceled)),
        (json!({ "isUpgraded": true }), 40, None),
        (json!({ "type": "Consumable" }), 40, None),
        (json!({ "originalTransactionId": null }), 40, None),
        (json!({ "signedDate": "yesterday" }), 40, None),
    ] {
        let read = transaction(&signed(&changes), at(day));
        assert_eq!(read.as_ref().map(|purchase| purchase.state.status), expected, "{changes}");
        if let Some(purchase) = read {
            assert!(matches!(purchase.state.origin, StateOrigin::Transaction { .. }), "{changes}");
            assert_eq!((purchase.state.key.environment, purchase.token.is_some()), (DataEnvironment::Live, true));
        }
    }
    let sandbox = transaction(&signed(&json!({ "environment": "Sandbox", "appAccountToken": "x" })), at(40)).unwrap();
    assert_eq!((sandbox.state.key.environment, sandbox.token), (DataEnvironment::Test, None));
}

#[test]
fn notifications_state_the_subscription() {
    for (status, renews, changes, expected) in [
        (json!(1), 1, json!({}), Some((Active, false))),
        (json!(1), 0, json!({}), Some((Active, true))),
        (json!(1), 1, json!({ "offerDiscountType": "FREE_TRIAL" }), Some((Trialing, false))),
        (json!(2), 0, json!({}), Some((Canceled, false))),
        (json!(3), 1, json!({}), Some((Unpaid, false))),
        (json!(4), 1, json!({}), Some((PastDue, false))),
        (json!(5), 1, json!({}), Some((Canceled, false))),
        // An older payment was refunded, and the subscription goes on.
        (json!(1), 1, json!({ "revocationDate": 35 * DAY_MILLIS }), Some((Active, false))),
        // Without a status, the transaction proves what it does.
        (json!(null), 1, json!({ "revocationDate": 35 * DAY_MILLIS }), Some((Canceled, false))),
        (json!(99), 1, json!({}), Some((Active, false))),
        (json!(1), 1, json!({ "type": "Non-Consumable" }), None),
    ] {
        let parts = AppleNotification {
            notification: json!({ "signedDate": 32 * DAY_MILLIS, "data": { "status": status } }),
            transaction: signed(&changes),
            renewal: Some(json!({ "autoRenewStatus": renews })),
        };
        let read = parts.purchase(at(40)).map(|purchase| purchase.state);
        let seen = read.as_ref().map(|state| (state.status, state.cancel_at == Some(at(60))));
        assert_eq!(seen, expected, "{status} {renews} {changes}");
        assert_eq!(read.map(|state| state.version), expected.map(|_| at(32).as_micros()));
    }
}
