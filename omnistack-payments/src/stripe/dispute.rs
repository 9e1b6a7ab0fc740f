//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{DisputePage, PaymentError, ProviderDispute},
};
use serde_json::json;

use super::{
    api::{StripeApi, id_segment},
    error::unreadable,
    object::StripeObject,
    payment::PAGE_SIZE,
};

/// The type of object in errors.
const DISPUTE: &str = "dispute";

impl StripeApi {
    /// Returns a dispute.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let path = format!("/disputes/{}", id_segment(DISPUTE, id)?);
        self.get(DISPUTE, &path, json!({})).await?.read(dispute_of)
    }

    /// Returns a page of the disputes that were opened since a time, the newest first. The token of the next page is the
    /// id of the last dispute of this one.
    pub(super) async fn disputes(&self, since: Timestamp, after: Option<&str>) -> Result<DisputePage, PaymentError> {
        let query = json!({ "limit": PAGE_SIZE, "created": { "gte": since.as_seconds() }, "starting_after": after });
        let reply = self.get(DISPUTE, "/disputes", query).await?;
        let list = reply.object();
        if !list.is_array("/data") {
            return Err(unreadable(false, "no list"));
        }
        let next = match list.items("/data").last().filter(|_| list.flag("/has_more")) {
            Some(last) => Some(last.owned("/id").ok_or_else(|| unreadable(false, "a dispute without an id"))?),
            None => None,
        };
        Ok(DisputePage { disputes: list.items("/data").filter_map(dispute_of).collect(), next })
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
