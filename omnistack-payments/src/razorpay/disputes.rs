//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    payment::{DisputePage, PaymentError, ProviderDispute},
};

use super::api::{RazorpayApi, amount_at};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";
/// Number of disputes of a page.
const PAGE_SIZE: usize = 100;

impl RazorpayApi {
    /// Returns a dispute. Razorpay states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let found = self.get(&format!("/v1/disputes/{}", path_id(id, DISPUTE)?), &[], DISPUTE).await?;
        let malformed = || lost_response(CallEffect::Reads, "the dispute has not the documented form");
        dispute_of(&found).ok_or_else(malformed)
    }

    /// Returns a page of the disputes that were opened since a time. The token of the next page is the number of
    /// disputes before it.
    pub(super) async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<DisputePage, PaymentError> {
        let skip: usize = page.unwrap_or("0").parse().map_err(|_| PaymentError::Rejected {
            code: None,
            message: "the token of the page is no number".to_owned(),
        })?;
        let (from, count, skipped) = (since.as_seconds().to_string(), PAGE_SIZE.to_string(), skip.to_string());
        let query = [("from", from.as_str()), ("count", count.as_str()), ("skip", skipped.as_str())];
        let found = self.get("/v1/disputes", &query, DISPUTE).await?.stated_list("/items");
        let found = found.ok_or_else(|| lost_response(CallEffect::Reads, "the list has not the documented form"))?;
        let next = (found.len() >= PAGE_SIZE).then(|| skip.saturating_add(found.len()).to_string());
        Ok(DisputePage { disputes: found.iter().filter_map(dispute_of).collect(), next })
    }
}

fn dispute_of(dispute: &ApiObject) -> Option<ProviderDispute> {
    let deducted = amount_at(dispute, "/amount_deducted").filter(|amount| amount.minor() > 0);
    Some(ProviderDispute {
        id: dispute.text("/id")?,
        payment: dispute.text("/payment_id"),
        amount: deducted.or_else(|| amount_at(dispute, "/amount"))?,
        fee: None,
        won: has_won(dispute),
    })
}

/// Returns whether a dispute is decided, and then whether the app has won.
pub(super) fn has_won(dispute: &ApiObject) -> Option<bool> {
    match dispute.text("/status")?.as_str() {
        "won" => Some(true),
        "lost" => Some(false),
        // A question of the bank, which has ended.
        "closed" => Some(dispute.integer("/amount_deducted").unwrap_or(0) == 0),
        _ => None,
    }
}
