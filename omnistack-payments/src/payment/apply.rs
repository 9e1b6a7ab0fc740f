//! The result of an attempt, applied to the payment: its state, the ledger and the counters.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db::{self, StatementGroup, Tx},
    payment::{PaymentError, PaymentStatus, ProviderPayment},
};

use super::{
    attempt_row::AttemptRow,
    failure,
    machine::{AttemptFact, AttemptState, payment_state},
    model::PaymentFailure,
    postings::{self, fee_entries, money_entries},
    rows::StoredPayment,
    statistics::{self, CallOutcome, EndedCall, VolumeChange},
    store,
};

/// The statement of a provider about an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProviderAnswer<'a> {
    /// The payment as the provider has it.
    Payment(&'a ProviderPayment),
    /// The error of the call that creates the payment.
    Error(&'a PaymentError),
    /// The provider certainly has no payment with the reference, and will get none.
    NoPayment,
    /// The amount that the app's refunds have sent back, in minor units.
    Refunded(i64),
    /// Nothing new: the provider could not be asked, or its answer says nothing.
    Nothing,
}

/// An answer about an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'a> {
    pub(super) answer: ProviderAnswer<'a>,
    /// The duration of the call that creates the payment, if this is its answer.
    pub(super) duration: Option<Duration>,
    /// Whether a capture or a cancellation that was pending has ended.
    pub(super) ends_change: bool,
    /// Whether the provider was asked because the outcome was due to be known.
    pub(super) is_check: bool,
}

impl<'a> Observation<'a> {
    /// Creates the observation of an answer that was not asked for, such as after an event.
    pub(super) const fn new(answer: ProviderAnswer<'a>) -> Self {
        Self { answer, duration: None, ends_change: false, is_check: false }
    }
}

/// Applies what was observed about an attempt of a payment that the transaction has locked.
pub(super) async fn apply(
    tx: &mut Tx,
    payment: &mut StoredPayment,
    index: usize,
    observation: Observation<'_>,
    now: Timestamp,
) -> Result<(), db::Error> {
    let mut changes = StatementGroup::new(tx.dialect());
    add_changes(&mut changes, payment, index, observation, now);
    changes.execute(tx).await
}

/// Changes a payment by what was observed about an attempt, and adds the statements that store it to a group.
pub(super) fn add_changes(
    changes: &mut StatementGroup,
    payment: &mut StoredPayment,
    index: usize,
    observation: Observation<'_>,
    now: Timestamp,
) {
    let totals = payment.row.totals();
    let Some(attempt) = payment.attempts.get_mut(index) else { return };
    let before = attempt.clone();
    observe(attempt, &payment.row.currency, observation, now);
    let charged_back = payment.charged_back(&payment.attempts[index]);
    payment.attempts[index].charged_back = charged_back;
    let after = payment.attempts[index].clone();
    store::update_attempt(changes, payment.row.tenant_id, &after, now);

    payment.row.captured = payment.attempts.iter().map(|attempt| attempt.captured).sum();
    payment.row.refunded = payment.attempts.iter().map(|attempt| attempt.refunded).sum();
    payment.row.charged_back = payment.attempts.iter().map(|attempt| attempt.charged_back).sum();
    let states = payment.states();
    let returned = payment.row.refunded + payment.row.charged_back;
    let status = payment_state(&states, payment.row.amount, payment.row.captured, returned);
    payment.row.set_status(status);
    store::update_payment(changes, &mut payment.row, now);

    let mut entries = money_entries(totals, payment.row.totals(), &payment.row.currency);
    if let Some(currency) = &after.fee_currency {
        entries.extend(fee_entries(after.fee.unwrap_or(0) - before.fee.unwrap_or(0), currency));
    }
    postings::insert(changes, payment.row.scope(), &entries, now);

    if before.ended_at.is_none() && after.ended_at.is_some() {
        let outcome = match observation.answer {
            ProviderAnswer::Payment(payment) if payment.status == PaymentStatus::Failed => CallOutcome::Declined,
            ProviderAnswer::Payment(_) => CallOutcome::Success,
            ProviderAnswer::Error(error) => CallOutcome::of(error),
            ProviderAnswer::NoPayment => CallOutcome::Error,
            ProviderAnswer::Refunded(_) | ProviderAnswer::Nothing => CallOutcome::Unknown,
        };
        let code = after.failure().map(|failure| failure.code).unwrap_or_default();
        let call = EndedCall { service: &after.service, outcome, code: &code, milliseconds: after.duration_ms };
        statistics::count_call(changes, &payment.row, call, now);
    }
    let currency = &payment.row.currency;
    let change = VolumeChange {
        payments: i64::from(before.captured == 0 && after.captured > 0),
        captured: after.captured - before.captured,
        fees: after.cost(currency) - before.cost(currency),
    };
    statistics::add_volume(changes, &payment.row, &after.service, change, now);
}

/// Changes an attempt by what was observed.
fn observe(attempt: &mut AttemptRow, currency: &str, observation: Observation<'_>, now: Timestamp) {
    let before = attempt.state();
    let is_missed = before == AttemptState::Failed && attempt.error_code.as_deref() == Some(failure::NOT_RECEIVED);
    // The provider knows nothing of such an attempt, so each later report of it is news.
    let known = match observation.answer {
        ProviderAnswer::Payment(_) if is_missed => AttemptState::Unknown,
        _ => before,
    };
    let (fact, failed) = match observation.answer {
        ProviderAnswer::Payment(payment) => {
            take_amounts(attempt, currency, payment);
            let failed = payment.failure.as_ref().map(|text| PaymentFailure::new("declined", text.clone()));
            (Some(AttemptFact::Reported(payment.status)), failed)
        }
        ProviderAnswer::Error(error) => {
            let is_unknown = matches!(error, PaymentError::Unknown { .. });
            let fact = if is_unknown { AttemptFact::OutcomeUnknown } else { AttemptFact::Refused };
            (Some(fact), Some(failure::failure(error)))
        }
        ProviderAnswer::NoPayment => {
            let message = "the provider has not received the payment";
            (Some(AttemptFact::Refused), Some(PaymentFailure::new(failure::NOT_RECEIVED, message)))
        }
        ProviderAnswer::Refunded(refunded) => {
            attempt.refunded = refunded.clamp(0, attempt.captured);
            (None, None)
        }
        // A process that was asking the provider has ended without the answer.
        ProviderAnswer::Nothing if observation.is_check => (Some(AttemptFact::OutcomeUnknown), None),
        ProviderAnswer::Nothing => (None, None),
    };
    let after = fact.map_or(before, |fact| known.after(fact));
    attempt.set_state(after);
    if matches!(after, AttemptState::Failed | AttemptState::Unknown) {
        if failed.is_some() {
            attempt.set_failure(failed);
        }
    } else {
        attempt.set_failure(None);
    }
    if after != AttemptState::RequiresAction {
        attempt.action_url = None;
    }
    if observation.ends_change {
        attempt.set_pending_change(None);
    }
    if before == AttemptState::Sent && after != AttemptState::Sent && attempt.ended_at.is_none() {
        attempt.ended_at = Some(now);
        attempt.duration_ms = observation.duration.map(statistics::milliseconds);
    }
    let is_progress = after != before || observation.ends_change;
    if is_progress {
        attempt.checks = 0;
    } else if observation.is_check {
        attempt.checks = attempt.checks.saturating_add(1);
    }
}

/// Takes the amounts of a provider's payment. They only grow, because answers can come out of order.
fn take_amounts(attempt: &mut AttemptRow, currency: &str, payment: &ProviderPayment) {
    attempt.provider_payment_id = Some(payment.id.clone());
    attempt.action_url.clone_from(&payment.action_url);
    if payment.amount.currency().code() != currency {
        tracing::error!(
            target: "omnistack::payments", payment = %attempt.payment_id, service = attempt.service.as_str(), currency,
            reported = payment.amount.currency().code(), "a provider reports a payment in another currency",
        );
        return;
    }
    let captured = match payment.status {
        PaymentStatus::Succeeded => payment.captured.minor(),
        // What is reserved is not taken.
        _ => 0,
    };
    attempt.captured = attempt.captured.max(captured);
    attempt.refunded = attempt.refunded.max(payment.refunded.minor()).min(attempt.captured);
    if let Some(fee) = payment.fee {
        let fee_currency = fee.currency().code();
        // A fee is reported in the currency in which the account is paid out, which does not change.
        if attempt.fee_currency.as_deref().is_none_or(|known| known == fee_currency) {
            attempt.fee = Some(fee.minor());
            attempt.fee_currency = Some(fee_currency.to_owned());
        }
    }
}
