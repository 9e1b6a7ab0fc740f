//! Payments, attempts and refunds as their rows have them.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db,
    identity::{ApiKeyId, TenantId},
    money::{Currency, Money},
    payment::{CaptureMode, PaymentMethodKind},
};
use serde_json::Value;

use super::{
    dispute_rows::DisputeRow,
    machine::{AttemptState, PaymentState, RefundState, main_attempt},
    model::{
        MinorAmount, Payment, PaymentAttempt, PaymentFailure, PaymentId, PaymentRefund, PaymentRefundId,
        ProviderChange, RefundProposal,
    },
    postings::{PaymentTotals, PostingScope},
};

/// Largest length of a stored message, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// A payment as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct PaymentRow {
    pub(super) id: PaymentId,
    pub(super) tenant_id: TenantId,
    pub(super) environment: String,
    pub(super) request_key: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) method: String,
    pub(super) capture: String,
    pub(super) country: Option<String>,
    pub(super) description: Option<String>,
    pub(super) metadata: String,
    pub(super) api_key_id: Option<ApiKeyId>,
    pub(super) status: String,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) charged_back: i64,
    pub(super) version: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// The values of a new payment.
pub(super) struct NewPaymentRow {
    pub(super) id: PaymentId,
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) request_key: String,
    pub(super) amount: Money,
    pub(super) method: PaymentMethodKind,
    pub(super) capture: CaptureMode,
    pub(super) country: Option<String>,
    pub(super) description: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) api_key: Option<ApiKeyId>,
    pub(super) now: Timestamp,
}

impl PaymentRow {
    pub(super) fn new(new: NewPaymentRow) -> Self {
        Self {
            id: new.id,
            tenant_id: new.tenant,
            environment: new.environment.as_str().to_owned(),
            request_key: new.request_key,
            amount: new.amount.minor(),
            currency: new.amount.currency().code().to_owned(),
            method: name_of(new.method),
            capture: name_of(new.capture),
            country: new.country,
            description: new.description,
            metadata: serde_json::to_string(&new.metadata).unwrap_or_else(|_| "{}".to_owned()),
            api_key_id: new.api_key,
            status: PaymentState::Created.as_str().to_owned(),
            captured: 0,
            refunded: 0,
            charged_back: 0,
            version: 1,
            created_at: new.now,
            updated_at: new.now,
        }
    }

    pub(super) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }

    pub(super) fn status(&self) -> PaymentState {
        PaymentState::from_stored(&self.status).unwrap_or(PaymentState::Unknown)
    }

    pub(super) fn set_status(&mut self, status: PaymentState) {
        status.as_str().clone_into(&mut self.status);
    }

    pub(super) fn method(&self) -> PaymentMethodKind {
        read_name(&self.method).unwrap_or(PaymentMethodKind::Other)
    }

    pub(super) fn capture(&self) -> CaptureMode {
        read_name(&self.capture).unwrap_or_default()
    }

    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        read_metadata(&self.metadata).unwrap_or_default()
    }

    /// Returns an amount in the payment's currency.
    pub(super) fn money(&self, minor: i64) -> Result<Money, db::Error> {
        let currency = Currency::from_code(&self.currency);
        let unknown = || db::Error::unreadable("omni_payments", self.id, "currency");
        currency.map(|currency| Money::new(minor, currency)).ok_or_else(unknown)
    }

    pub(super) fn totals(&self) -> PaymentTotals {
        PaymentTotals {
            amount: self.amount,
            captured: self.captured,
            refunded: self.refunded,
            charged_back: self.charged_back,
        }
    }

    pub(super) fn scope(&self) -> PostingScope {
        PostingScope { tenant: self.tenant_id, environment: self.environment(), payment: self.id }
    }
}

/// Returns the name that JSON has for a value of an enum.
pub(super) fn name_of(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Returns the value of an enum with a name in JSON.
pub(crate) fn read_name<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

/// Returns whether a stored method is one that this version knows.
pub(super) fn is_method(name: &str) -> bool {
    read_name::<PaymentMethodKind>(name).is_some()
}

pub(super) fn read_metadata(text: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(text).ok()
}

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

    fn show(&self) -> PaymentAttempt {
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

fn columns_of(failure: Option<PaymentFailure>) -> (Option<String>, Option<String>) {
    let short =
        |text: String| -> String { text.chars().filter(|letter| *letter != '\0').take(MAX_MESSAGE_CHARS).collect() };
    failure.map(|failure| (short(failure.code), short(failure.message))).unzip()
}

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

    fn show(&self) -> PaymentRefund {
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

/// A payment with its attempts, refunds and disputes. One whose columns can't be read is refused when it is loaded, so
/// that the defaults of the functions that read the columns never count.
#[derive(Clone, Debug)]
pub(super) struct StoredPayment {
    pub(super) row: PaymentRow,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) refunds: Vec<RefundRow>,
    pub(super) disputes: Vec<DisputeRow>,
}

impl StoredPayment {
    pub(super) fn states(&self) -> Vec<AttemptState> {
        self.attempts.iter().map(AttemptRow::state).collect()
    }

    /// Returns the index of the attempt with this number.
    pub(super) fn index_of(&self, number: i32) -> Option<usize> {
        self.attempts.iter().position(|attempt| attempt.number == number)
    }

    /// Returns the amount that an attempt has taken and that is not sent back, nor about to be.
    pub(super) fn refundable(&self, attempt: &AttemptRow) -> i64 {
        let open = self.refunds.iter().filter(|refund| refund.attempt == attempt.number && refund.state().is_open());
        attempt.captured - attempt.refunded - attempt.charged_back - open.map(|refund| refund.amount).sum::<i64>()
    }

    /// Returns the refund that makes up for what was paid too much: of the last attempts that have taken money.
    pub(super) fn proposal(&self) -> Option<RefundProposal> {
        let kept: i64 = self.attempts.iter().map(|attempt| self.refundable(attempt)).sum();
        let surplus = kept - self.row.amount;
        if surplus <= 0 {
            return None;
        }
        let last = self.attempts.iter().rev().find(|attempt| self.refundable(attempt) > 0)?;
        Some(RefundProposal::new(last.number, surplus.min(self.refundable(last))))
    }

    pub(super) fn show(&self) -> Payment {
        let main = main_attempt(&self.states()).and_then(|index| self.attempts.get(index));
        let mut fees: BTreeMap<String, i64> = BTreeMap::new();
        let of_attempts = self.attempts.iter().map(|attempt| (attempt.fee, &attempt.fee_currency));
        let of_disputes = self.disputes.iter().map(|dispute| (dispute.fee, &dispute.fee_currency));
        for fee in of_attempts.chain(of_disputes) {
            if let (Some(fee), Some(currency)) = fee {
                *fees.entry(currency.clone()).or_default() += fee;
            }
        }
        Payment {
            id: self.row.id,
            environment: self.row.environment(),
            status: self.row.status(),
            amount: self.row.amount,
            currency: self.row.currency.clone(),
            captured: self.row.captured,
            refunded: self.row.refunded,
            charged_back: self.row.charged_back,
            fees: fees.into_iter().map(|(currency, fee)| MinorAmount::new(fee, currency)).collect(),
            method: self.row.method(),
            capture: self.row.capture(),
            country: self.row.country.clone(),
            description: self.row.description.clone(),
            metadata: self.row.metadata(),
            provider: main.map(|attempt| attempt.service.clone()),
            provider_payment_id: main.and_then(|attempt| attempt.provider_payment_id.clone()),
            action_url: main.and_then(|attempt| attempt.action_url.clone()),
            error: main.and_then(AttemptRow::failure),
            refund_proposal: self.proposal(),
            attempts: self.attempts.iter().map(AttemptRow::show).collect(),
            refunds: self.refunds.iter().map(RefundRow::show).collect(),
            disputes: self.disputes.iter().map(DisputeRow::show).collect(),
            api_key_id: self.row.api_key_id,
            created_at: self.row.created_at,
            updated_at: self.row.updated_at,
        }
    }
}
