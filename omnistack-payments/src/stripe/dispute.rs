//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{PaymentError, ProviderDispute},
};
use serde_json::json;

use super::{
    api::{StripeApi, id_segment},
    object::StripeObject,
    payment::{MAX_PAGES, PAGE_SIZE},
};

/// The type of object in errors.
const DISPUTE: &str = "dispute";

impl StripeApi {
    /// Returns a dispute.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let path = format!("/disputes/{}", id_segment(DISPUTE, id)?);
        self.get(DISPUTE, &path, json!({})).await?.read(dispute_of)
    }

    /// Returns the disputes that were opened since a time, the newest 2,000 of them.
    pub(super) async fn disputes(&self, since: Timestamp) -> Result<Vec<ProviderDispute>, PaymentError> {
        let mut query = json!({ "limit": PAGE_SIZE, "created": { "gte": since.as_seconds() } });
        let mut disputes = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.get(DISPUTE, "/disputes", query.clone()).await?;
            disputes.extend(page.object().items("/data").filter_map(dispute_of));
            let last = page.object().items("/data").last().and_then(|dispute| dispute.owned("/id"));
            match last.filter(|_| page.object().flag("/has_more")) {
                Some(last) => query["starting_after"] = json!(last),
                None => break,
            }
        }
        Ok(disputes)
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
