//! Purchases in the App Store, as Apple has signed them.
//!
//! A transaction is what a device has after a payment. A notification also has the status of the subscription and what
//! happens at the end of its period. Fields: <https://developer.apple.com/documentation/appstoreserverapi>.

use omnistack_core::{
    app_store::AppleVerifier, clock::Timestamp, payment::ProviderSubscriptionStatus, usage::DataEnvironment,
    webhook::WebhookRejection,
};
use serde_json::Value;
use uuid::Uuid;

use super::model::{AppStore, PurchaseKey, PurchaseState, StateOrigin};

/// The type of products that renew.
const RENEWABLE: &str = "Auto-Renewable Subscription";

/// A purchase that Apple has signed, and the token that the device has attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApplePurchase {
    pub(super) state: PurchaseState,
    pub(super) token: Option<Uuid>,
}

/// A verified transaction. Fields of an unexpected type count as absent.
struct AppleTransaction<'a>(&'a Value);

impl AppleTransaction<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        time(self.0, name)
    }

    fn is_free_trial(&self) -> bool {
        self.text("offerDiscountType") == Some("FREE_TRIAL")
    }

    /// Returns the status that the transaction alone proves.
    fn status(&self, now: Timestamp) -> ProviderSubscriptionStatus {
        let has_ended = self.time("expiresDate").is_none_or(|end| end <= now);
        match () {
            () if has_ended || self.is_revoked() => ProviderSubscriptionStatus::Canceled,
            () if self.is_free_trial() => ProviderSubscriptionStatus::Trialing,
            () => ProviderSubscriptionStatus::Active,
        }
    }

    fn is_revoked(&self) -> bool {
        self.time("revocationDate").is_some()
    }

    /// Returns the state of the purchase. Returns `None` if it is not of a subscription that renews, if it was replaced
    /// by an upgrade, or if it lacks a field.
    fn purchase(&self, version: i64, now: Timestamp) -> Option<ApplePurchase> {
        let is_upgraded = self.0.get("isUpgraded").and_then(Value::as_bool) == Some(true);
        if self.text("type") != Some(RENEWABLE) || is_upgraded {
            return None;
        }
        let environment = match self.text("environment")? {
            "Production" => DataEnvironment::Live,
            _ => DataEnvironment::Test,
        };
        let id = self.text("originalTransactionId").filter(|id| id.len() <= 100)?.to_owned();
        let state = PurchaseState {
            key: PurchaseKey { store: AppStore::Apple, environment, id },
            origin: StateOrigin::Transaction { is_revoked: self.is_revoked() },
            product_id: self.text("productId")?.to_owned(),
            status: self.status(now),
            period: self.time("purchaseDate").zip(self.time("expiresDate")),
            cancel_at: None,
            version,
            purchase_token: None,
            // Apple needs no acknowledgement of subscriptions.
            acknowledged: true,
        };
        Some(ApplePurchase { state, token: self.text("appAccountToken").and_then(|text| text.parse().ok()) })
    }
}

/// Reads a verified transaction that a device has sent. Returns `None` if it is not of a current subscription.
pub(super) fn transaction(transaction: &Value, now: Timestamp) -> Option<ApplePurchase> {
    let version = time(transaction, "signedDate")?.as_micros();
    AppleTransaction(transaction).purchase(version, now)
}

/// The parts of a notification, all verified.
#[derive(Clone, Debug)]
pub(super) struct AppleNotification {
    pub(super) notification: Value,
    pub(super) transaction: Value,
    pub(super) renewal: Option<Value>,
}

impl AppleNotification {
    /// Verifies a notification and the signed parts in it. Returns `None` if it is not about a transaction.
    pub(super) fn verify(
        signed: &str,
        at: Timestamp,
        verifier: &AppleVerifier,
    ) -> Result<Option<Self>, WebhookRejection> {
        let notification = verifier.verify_notification(signed, at)?;
        let part = |name: &str| notification.pointer(&format!("/data/{name}")).and_then(Value::as_str);
        let Some(transaction) = part("signedTransactionInfo") else { return Ok(None) };
        let transaction = verifier.verify_transaction(transaction, at)?;
        let renewal = part("signedRenewalInfo").map(|renewal| verifier.verify_renewal(renewal, at)).transpose()?;
        Ok(Some(Self { notification, transaction, renewal }))
    }

    /// Reads the purchase. Returns `None` if it is not of a subscription that renews.
    pub(super) fn purchase(&self, now: Timestamp) -> Option<ApplePurchase> {
        let version = time(&self.notification, "signedDate")?.as_micros();
        let transaction = AppleTransaction(&self.transaction);
        let mut purchase = transaction.purchase(version, now)?;
        let status = self.notification.pointer("/data/status").and_then(Value::as_i64);
        let Some(status) = status.and_then(|status| subscription_status(status, transaction.is_free_trial())) else {
            return Some(purchase);
        };
        purchase.state.origin = StateOrigin::Subscription;
        purchase.state.status = status;
        let renews = self.renewal.as_ref().and_then(|renewal| renewal.get("autoRenewStatus")?.as_i64());
        if renews == Some(0) && !status.is_final() {
            purchase.state.cancel_at = transaction.time("expiresDate");
        }
        Some(purchase)
    }
}

/// Returns the status of a subscription by Apple's number.
fn subscription_status(number: i64, is_free_trial: bool) -> Option<ProviderSubscriptionStatus> {
    Some(match number {
        1 if is_free_trial => ProviderSubscriptionStatus::Trialing,
        1 => ProviderSubscriptionStatus::Active,
        // Expired, and revoked.
        2 | 5 => ProviderSubscriptionStatus::Canceled,
        // Apple attempts the payment again, for up to 60 days, and the customer has nothing meanwhile.
        3 => ProviderSubscriptionStatus::Unpaid,
        // The grace period, in which the customer has what was bought.
        4 => ProviderSubscriptionStatus::PastDue,
        _ => return None,
    })
}

/// Returns a time, which Apple states in milliseconds since 1970.
fn time(object: &Value, name: &str) -> Option<Timestamp> {
    let millis = object.get(name)?.as_i64()?;
    Some(Timestamp::from_micros(millis.saturating_mul(1000)))
}

#[cfg(test)]
mod tests;
