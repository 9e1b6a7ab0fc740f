//! Disputes.

use omnistack_core::{
    money::Money,
    payment::{PaymentError, ProviderDispute},
};
use serde_json::json;

use super::{
    api::{StripeApi, id_segment},
    object::StripeObject,
};

/// The type of object in errors.
const DISPUTE: &str = "dispute";

impl StripeApi {
    /// Returns a dispute.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let path = format!("/disputes/{}", id_segment(DISPUTE, id)?);
        self.get(DISPUTE, &path, json!({})).await?.read(dispute_of)
    }
}

/// Returns whether a dispute is decided, and then whether the app has won.
pub(super) fn has_won(dispute: StripeObject<'_>) -> Option<bool> {
    match dispute.text("/status") {
        Some("won" | "warning_closed") => Some(true),
        Some("lost") => Some(false),
        _ => None,
    }
}

fn dispute_of(dispute: StripeObject<'_>) -> Option<ProviderDispute> {
    // One transaction withdraws the money, and another one gives it back. Their fees are in the account's currency.
    let fees: Vec<Money> = dispute.items("/balance_transactions").filter_map(|entry| entry.money("/fee")).collect();
    let sum = fees.iter().fold(0_i64, |sum, fee| sum.saturating_add(fee.minor()));
    Some(ProviderDispute {
        id: dispute.owned("/id")?,
        payment: dispute.id_at("/payment_intent").map(str::to_owned),
        amount: dispute.money("/amount")?,
        fee: fees.first().map(|fee| Money::new(sum, fee.currency())),
        won: has_won(dispute),
    })
}
