//! The money that payers have got back by lost disputes.
//!
//! Some providers, such as PayPal, also report a lost dispute as a refund of the payment. That money has moved once: it
//! is a refund in the ledger, and no chargeback.

use super::{
    attempt_row::AttemptRow,
    machine::{DisputeState, RefundState},
    rows::StoredPayment,
};

impl StoredPayment {
    /// Returns the amount that the payer of an attempt has got back by lost disputes, without what the provider has
    /// reported as refunds as well.
    pub(super) fn charged_back(&self, attempt: &AttemptRow) -> i64 {
        let lost = self.disputes.iter().filter(|dispute| {
            dispute.attempt == attempt.number
                && dispute.state() == DisputeState::Lost
                && dispute.currency == self.row.currency
        });
        let lost: Vec<_> = lost.collect();
        let sum = lost.iter().fold(0_i64, |sum, dispute| sum.saturating_add(dispute.amount));
        // What was refunded at the provider before the first of the disputes is not the money of one.
        let earlier = lost.iter().map(|dispute| dispute.refunded_before).min().unwrap_or(0);
        let reported = self.refunds_of_provider(attempt).saturating_sub(earlier).max(0);
        sum.saturating_sub(reported).clamp(0, (attempt.captured - attempt.refunded).max(0))
    }

    /// Returns the amount of the refunds of an attempt that the app has not asked for: those that were made at the provider,
    /// and the lost disputes that it reports as refunds.
    pub(super) fn refunds_of_provider(&self, attempt: &AttemptRow) -> i64 {
        let own = self.refunds.iter().filter(|refund| {
            refund.attempt == attempt.number && (refund.state().is_open() || refund.state() == RefundState::Succeeded)
        });
        let own = own.fold(0_i64, |sum, refund| sum.saturating_add(refund.amount));
        (attempt.refunded - own).max(0)
    }
}
