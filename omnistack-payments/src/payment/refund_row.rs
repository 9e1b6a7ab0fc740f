//! Refunds as their rows have them.

use omnistack_core::clock::Timestamp;

use super::{
    attempt_row::{AttemptRow, columns_of},
    machine::RefundState,
    model::{PaymentFailure, PaymentId, PaymentRefund, PaymentRefundId},
};

/// A refund as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct RefundRow {
    pub(super) id: PaymentRefundId,
    pub(super) payment_id: PaymentId,
    pub(super) attempt: i32,
    pub(super) reference: String,
    pub(super) request_key: String,
    pub(super) state: String,
    pub(super) amount: i64,
    pub(super) reason: Option<String>,
    pub(super) provider_refund_id: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) checks: i32,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl RefundRow {
    /// Creates the row of a refund that begins now.
    pub(super) fn new(attempt: &AttemptRow, request_key: &str, amount: i64, now: Timestamp) -> Self {
        let id = PaymentRefundId::new(now);
        Self {
            id,
            payment_id: attempt.payment_id,
            attempt: attempt.number,
            reference: format!("ref_{}", id.uuid().simple()),
            request_key: request_key.to_owned(),
            state: RefundState::Sent.as_str().to_owned(),
            amount,
            reason: None,
            provider_refund_id: None,
            error_code: None,
            error_message: None,
            checks: 0,
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) fn state(&self) -> RefundState {
        RefundState::from_stored(&self.state).unwrap_or(RefundState::Unknown)
    }

    pub(super) fn set_state(&mut self, state: RefundState) {
        state.as_str().clone_into(&mut self.state);
    }

    pub(super) fn set_failure(&mut self, failure: Option<PaymentFailure>) {
        (self.error_code, self.error_message) = columns_of(failure);
    }

    pub(super) fn show(&self) -> PaymentRefund {
        let failure = |code| PaymentFailure::new(code, self.error_message.clone().unwrap_or_default());
        PaymentRefund {
            id: self.id,
            attempt: self.attempt,
            status: self.state(),
            amount: self.amount,
            reason: self.reason.clone(),
            provider_refund_id: self.provider_refund_id.clone(),
            error: self.error_code.clone().map(failure),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
