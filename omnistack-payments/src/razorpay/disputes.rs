//! Disputes.

use omnistack_core::payment::{PaymentError, ProviderDispute};

use super::api::{RazorpayApi, amount_at};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";

impl RazorpayApi {
    /// Returns a dispute. Razorpay states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let found = self.get(&format!("/v1/disputes/{}", path_id(id, DISPUTE)?), &[], DISPUTE).await?;
        let malformed = || lost_response(CallEffect::Reads, "the dispute has not the documented form");
        let deducted = amount_at(&found, "/amount_deducted").filter(|amount| amount.minor() > 0);
        Ok(ProviderDispute {
            id: found.text("/id").ok_or_else(malformed)?,
            payment: found.text("/payment_id"),
            amount: deducted.or_else(|| amount_at(&found, "/amount")).ok_or_else(malformed)?,
            fee: None,
            won: has_won(&found),
        })
    }
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
