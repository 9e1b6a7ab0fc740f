//! Attempts as their rows have them.

use omnistack_core::clock::Timestamp;

use super::{
    machine::AttemptState,
    model::{PaymentAttempt, PaymentFailure, PaymentId, ProviderChange},
};

/// Largest length of a stored message, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// An attempt as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct AttemptRow {
    pub(super) payment_id: PaymentId,
    pub(super) number: i32,
    pub(super) service: String,
    pub(super) reference: String,
    pub(super) request_key: Option<String>,
    pub(super) state: String,
    pub(super) forced: bool,
    pub(super) provider_payment_id: Option<String>,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) charged_back: i64,
    pub(super) fee: Option<i64>,
    pub(super) fee_currency: Option<String>,
    pub(super) fee_estimate: Option<i64>,
    pub(super) action_url: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) pending_change: Option<String>,
    pub(super) pending_amount: Option<i64>,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) duration_ms: Option<i64>,
    pub(super) checks: i32,
}

impl AttemptRow {
    /// Creates the row of an attempt that begins now.
    pub(super) fn new(payment: PaymentId, number: i32, service: &str, now: Timestamp) -> Self {
        Self {
            payment_id: payment,
            number,
            service: service.to_owned(),
            reference: reference(payment, number, now),
            request_key: None,
            state: AttemptState::Sent.as_str().to_owned(),
            forced: false,
            provider_payment_id: None,
            captured: 0,
            refunded: 0,
            charged_back: 0,
            fee: None,
            fee_currency: None,
            fee_estimate: None,
            action_url: None,
            error_code: None,
            error_message: None,
            pending_change: None,
            pending_amount: None,
            started_at: now,
            ended_at: None,
            duration_ms: None,
            checks: 0,
        }
    }

    pub(super) fn state(&self) -> AttemptState {
        AttemptState::from_stored(&self.state).unwrap_or(AttemptState::Unknown)
    }

    pub(super) fn set_state(&mut self, state: AttemptState) {
        state.as_str().clone_into(&mut self.state);
    }

    pub(super) fn pending_change(&self) -> Option<ProviderChange> {
        self.pending_change.as_deref().and_then(ProviderChange::from_stored)
    }

    pub(super) fn set_pending_change(&mut self, change: Option<(ProviderChange, i64)>) {
        self.pending_change = change.map(|(change, _)| change.as_str().to_owned());
        self.pending_amount = change.map(|(_, amount)| amount);
    }

    pub(super) fn failure(&self) -> Option<PaymentFailure> {
        let code = self.error_code.clone()?;
        Some(PaymentFailure::new(code, self.error_message.clone().unwrap_or_default()))
    }

    pub(super) fn set_failure(&mut self, failure: Option<PaymentFailure>) {
        (self.error_code, self.error_message) = columns_of(failure);
    }

    /// Returns when the provider is asked about the attempt.
    pub(super) fn check_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.state().next_check(self.pending_change.is_some(), self.checks, self.started_at, now)
    }

    /// Returns the cost in the payment's currency: the fee, or its estimate. It is zero before money was taken, and if
    /// the fee is in another currency.
    pub(super) fn cost(&self, currency: &str) -> i64 {
        if self.captured == 0 {
            return 0;
        }
        match (self.fee, self.fee_currency.as_deref()) {
            (Some(fee), Some(of)) if of == currency => fee,
            (Some(_), _) => 0,
            (None, _) => self.fee_estimate.unwrap_or(0),
        }
    }

    pub(super) fn show(&self) -> PaymentAttempt {
        PaymentAttempt {
            number: self.number,
            provider: self.service.clone(),
            reference: self.reference.clone(),
            provider_payment_id: self.provider_payment_id.clone(),
            status: self.state(),
            forced: self.forced,
            captured: self.captured,
            refunded: self.refunded,
            charged_back: self.charged_back,
            pending_change: self.pending_change(),
            error: self.failure(),
            started_at: self.started_at,
            duration_ms: self.duration_ms,
        }
    }
}

/// Returns the reference of an attempt that begins now. It is unique, and has at most 40 characters, the limit of
/// Razorpay. It states the time of the attempt and not that of the payment: a provider whose lists lag behind is
/// certain that it has no payment only some hours after the attempt.
fn reference(payment: PaymentId, number: i32, now: Timestamp) -> String {
    let id = if number == 1 { payment } else { PaymentId::new(now) };
    format!("pay_{}", id.uuid().simple())
}

/// Returns the code and the message of a failure as columns.
pub(super) fn columns_of(failure: Option<PaymentFailure>) -> (Option<String>, Option<String>) {
    let short =
        |text: String| -> String { text.chars().filter(|letter| *letter != '\0').take(MAX_MESSAGE_CHARS).collect() };
    failure.map(|failure| (short(failure.code), short(failure.message))).unzip()
}
