//! Disputes.

use omnistack_core::payment::{PaymentError, ProviderDispute};

use super::{api::PayPalApi, orders::amount_at, sales::CAPTURE};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";

impl PayPalApi {
    /// Returns a dispute. PayPal states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let path = format!("/v1/customer/disputes/{}", path_id(id, DISPUTE)?);
        let found = self.get(&path, &[], DISPUTE).await?;
        let malformed = || lost_response(CallEffect::Reads, "the dispute has not the documented form");
        let won = has_won(&found);
        // A compromise sends a part back.
        let returned = amount_at(&found, "/dispute_outcome/amount_refunded").filter(|_| won == Some(false));
        Ok(ProviderDispute {
            id: found.text("/dispute_id").ok_or_else(malformed)?,
            payment: payment_of(&found),
            amount: returned.or_else(|| amount_at(&found, "/dispute_amount")).ok_or_else(malformed)?,
            fee: None,
            won,
        })
    }
}

/// Returns whether a dispute is decided, and then whether the app has won.
pub(super) fn has_won(dispute: &ApiObject) -> Option<bool> {
    let outcome = dispute.text("/dispute_outcome/outcome_code")?;
    Some(outcome != "RESOLVED_BUYER_FAVOUR" && outcome != "ACCEPTED")
}

/// Returns the payment of a dispute: PayPal states its transaction.
pub(super) fn payment_of(dispute: &ApiObject) -> Option<String> {
    let transaction = dispute.text("/disputed_transactions/0/seller_transaction_id")?;
    Some(format!("{CAPTURE}{transaction}"))
}
