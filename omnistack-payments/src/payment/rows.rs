//! Payments as their rows have them, with their attempts, refunds and disputes.

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
    attempt_row::AttemptRow,
    dispute_rows::DisputeRow,
    machine::{AttemptState, PaymentState, main_attempt},
    model::{MinorAmount, Payment, PaymentId, RefundProposal},
    postings::{PaymentTotals, PostingScope},
    refund_row::RefundRow,
};

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
