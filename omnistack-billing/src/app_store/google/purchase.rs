//! A purchase as the Google Play Developer API states it.

use omnistack_core::{clock::Timestamp, crypto::Sha256, payment::ProviderSubscriptionStatus, usage::DataEnvironment};
use serde_json::Value;
use uuid::Uuid;

use crate::app_store::model::{AppStore, PurchaseKey, PurchaseState, StateOrigin};

/// Maximum length of a purchase token, in bytes. Those of Google have about 150.
const MAX_TOKEN_BYTES: usize = 1000;
/// The number of hexadecimal digits of a hash that identify a purchase.
const PURCHASE_ID_DIGITS: usize = 40;

/// A purchase, and what connects it to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app_store) struct GooglePurchase {
    pub(in crate::app_store) state: PurchaseState,
    /// The token of the tenant that the device has attached.
    pub(in crate::app_store) account: Option<Uuid>,
    /// The id of the purchase that this one replaces, such as an upgrade does, or continues after its end.
    pub(in crate::app_store) linked: Option<String>,
    /// The product without its base plan.
    pub(in crate::app_store) subscription_id: String,
}

impl GooglePurchase {
    /// Reads a purchase. Returns `None` if it lacks a field without which it is of no use.
    pub(super) fn read(token: &str, purchase: &Value, version: i64) -> Option<Self> {
        let text = |path: &str| purchase.pointer(path)?.as_str().filter(|text| !text.is_empty());
        let items = purchase.get("lineItems")?.as_array()?;
        // Add-ons are bought with a subscription; what lasts longest stands for it.
        let item = items.iter().max_by_key(|item| time(item, "expiryTime"))?;
        let product = item.get("productId")?.as_str().filter(|id| is_plain(id))?;
        let end = time(item, "expiryTime");
        let is_free_trial = item.pointer("/offerPhase/freeTrial").is_some();
        let status = subscription_status(text("/subscriptionState")?, is_free_trial)?;
        let renews = item.pointer("/autoRenewingPlan/autoRenewEnabled").and_then(Value::as_bool) == Some(true);
        let environment =
            if purchase.get("testPurchase").is_some() { DataEnvironment::Test } else { DataEnvironment::Live };
        let base_plan = item.pointer("/offerDetails/basePlanId").and_then(Value::as_str);
        let key = PurchaseKey { store: AppStore::Google, environment, id: purchase_id(token) };
        let account = text("/externalAccountIdentifiers/obfuscatedExternalAccountId");
        // Bought in the store after the former subscription had expired, without the app.
        let expired = "/outOfAppPurchaseContext/expiredExternalAccountIdentifiers/obfuscatedExternalAccountId";
        let replaced = text("/linkedPurchaseToken");
        let continued = text("/outOfAppPurchaseContext/expiredPurchaseToken");
        Some(Self {
            state: PurchaseState {
                key,
                origin: StateOrigin::Subscription,
                product_id: base_plan.map_or_else(|| product.to_owned(), |plan| format!("{product}:{plan}")),
                status,
                period: time(purchase, "startTime").zip(end),
                cancel_at: end.filter(|_| !renews && !status.is_final()),
                version,
                purchase_token: Some(token.to_owned()),
                acknowledged: text("/acknowledgementState") != Some("ACKNOWLEDGEMENT_STATE_PENDING"),
            },
            account: account.or_else(|| text(expired)).and_then(|text| text.parse().ok()),
            linked: replaced.or(continued).map(purchase_id),
            subscription_id: product.to_owned(),
        })
    }
}

/// Returns the id of the purchase with a token: a hash, because tokens have no maximum size.
pub(in crate::app_store) fn purchase_id(token: &str) -> String {
    let mut hash = Sha256::digest(token).to_string();
    hash.truncate(PURCHASE_ID_DIGITS);
    hash
}

/// Returns whether a text can be the token of a purchase. It then needs no encoding in a path.
pub(in crate::app_store) fn is_purchase_token(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len()) && is_plain(token)
}

/// Returns whether a text is not empty, and means nothing but itself in a path.
pub(super) fn is_plain(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(known)
}

/// Returns the status by Google's name of the state.
fn subscription_status(state: &str, is_free_trial: bool) -> Option<ProviderSubscriptionStatus> {
    Some(match state.strip_prefix("SUBSCRIPTION_STATE_")? {
        "PENDING" => ProviderSubscriptionStatus::Incomplete,
        "PENDING_PURCHASE_CANCELED" => ProviderSubscriptionStatus::IncompleteExpired,
        // A canceled subscription goes on until the end of its period.
        "ACTIVE" | "CANCELED" if is_free_trial => ProviderSubscriptionStatus::Trialing,
        "ACTIVE" | "CANCELED" => ProviderSubscriptionStatus::Active,
        "IN_GRACE_PERIOD" => ProviderSubscriptionStatus::PastDue,
        // Google attempts the payment again, and the customer has nothing meanwhile.
        "ON_HOLD" => ProviderSubscriptionStatus::Unpaid,
        "PAUSED" => ProviderSubscriptionStatus::Paused,
        "EXPIRED" => ProviderSubscriptionStatus::Canceled,
        _ => return None,
    })
}

/// Returns a time in RFC 3339.
fn time(object: &Value, name: &str) -> Option<Timestamp> {
    object.get(name)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use ProviderSubscriptionStatus::{
        Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid,
    };
    use serde_json::json;

    use super::*;

    fn purchase(state: &str) -> Value {
        json!({
            "startTime": "2030-01-01T00:00:00Z", "subscriptionState": format!("SUBSCRIPTION_STATE_{state}"),
            "acknowledgementState": "ACKNOWLEDGEMENT_STATE_PENDING",
            "externalAccountIdentifiers": { "obfuscatedExternalAccountId": "0197a2a4-8c00-7000-8000-000000000001" },
            "lineItems": [{
                "productId": "pro", "expiryTime": "2030-02-01T00:00:00.5Z",
                "autoRenewingPlan": { "autoRenewEnabled": true }, "offerDetails": { "basePlanId": "monthly" },
            }],
        })
    }

    #[test]
    fn states_have_a_status() {
        for (state, expected) in [
            ("PENDING", Some(Incomplete)),
            ("PENDING_PURCHASE_CANCELED", Some(IncompleteExpired)),
            ("ACTIVE", Some(Active)),
            ("CANCELED", Some(Active)),
            ("IN_GRACE_PERIOD", Some(PastDue)),
            ("ON_HOLD", Some(Unpaid)),
            ("PAUSED", Some(Paused)),
            ("EXPIRED", Some(Canceled)),
            ("UNSPECIFIED", None),
        ] {
            let read = GooglePurchase::read("token", &purchase(state), 7);
            assert_eq!(read.map(|purchase| purchase.state.status), expected, "{state}");
        }
    }

    #[test]
    fn purchases_name_their_product_and_tenant() {
        let read = GooglePurchase::read("token", &purchase("ACTIVE"), 7).unwrap();
        assert_eq!((read.state.product_id.as_str(), read.subscription_id.as_str()), ("pro:monthly", "pro"));
        assert!(!read.state.acknowledged && read.account.is_some() && read.linked.is_none());
        assert_eq!((read.state.cancel_at, read.state.key.environment), (None, DataEnvironment::Live));

        let mut canceled = purchase("CANCELED");
        canceled["lineItems"][0]["autoRenewingPlan"] = json!({});
        canceled["lineItems"][0]["offerPhase"] = json!({ "freeTrial": {} });
        canceled["testPurchase"] = json!({});
        canceled["linkedPurchaseToken"] = json!("former");
        let read = GooglePurchase::read("token", &canceled, 7).unwrap();
        assert_eq!((read.state.status, read.state.key.environment), (Trialing, DataEnvironment::Test));
        assert_eq!(read.state.cancel_at, "2030-02-01T00:00:00.5Z".parse().ok());
        assert_eq!(read.linked, Some(purchase_id("former")));
        assert_eq!(GooglePurchase::read("token", &json!({ "lineItems": [] }), 7), None);
    }

    #[test]
    fn tokens_mean_nothing_else_in_a_path() {
        for (token, expected) in
            [("abc.AO-J1O_x", true), ("", false), ("..", false), ("a/b", false), ("a?b", false), ("a%2f", false)]
        {
            assert_eq!(is_purchase_token(token), expected, "{token}");
        }
        assert!(!is_purchase_token(&"a".repeat(1001)));
    }
}
