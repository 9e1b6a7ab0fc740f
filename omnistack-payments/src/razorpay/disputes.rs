//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    payment::{PaymentError, ProviderDispute},
};

use super::api::{RazorpayApi, amount_at};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";
/// Number of disputes that are listed at once.
const PAGE_SIZE: usize = 100;
/// Largest number of lists that are read.
const MAX_PAGES: usize = 20;

impl RazorpayApi {
    /// Returns a dispute. Razorpay states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let found = self.get(&format!("/v1/disputes/{}", path_id(id, DISPUTE)?), &[], DISPUTE).await?;
        let malformed = || lost_response(CallEffect::Reads, "the dispute has not the documented form");
        dispute_of(&found).ok_or_else(malformed)
    }

    /// Returns the disputes that were opened since a time, at most 2,000.
    pub(super) async fn disputes(&self, since: Timestamp) -> Result<Vec<ProviderDispute>, PaymentError> {
        let (from, count) = (since.as_seconds().to_string(), PAGE_SIZE.to_string());
        let mut disputes = Vec::new();
        for page in 0..MAX_PAGES {
            let skip = (page * PAGE_SIZE).to_string();
            let query = [("from", from.as_str()), ("count", count.as_str()), ("skip", skip.as_str())];
            let found = self.get("/v1/disputes", &query, DISPUTE).await?.list("/items");
            disputes.extend(found.iter().filter_map(dispute_of));
            if found.len() < PAGE_SIZE {
                break;
            }
        }
        Ok(disputes)
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
