//! The outcome of calls that fail.

use std::{error::Error as _, time::Duration};

use http::{HeaderMap, StatusCode, header};
use omnistack_core::payment::{DeclineReason, PaymentError};
use serde_json::Value;

use super::{api::StripeCall, object::StripeObject};

/// A failed attempt of a call.
#[derive(Debug)]
pub(super) struct CallFailure {
    pub(super) error: PaymentError,
    /// Whether the same attempt may succeed a moment later.
    pub(super) retryable: bool,
}

impl CallFailure {
    /// Returns the failure of an attempt without a conclusive response.
    pub(super) fn lost(call: &StripeCall, what: &str) -> Self {
        let message = what.to_owned();
        let error = if call.changes() {
            PaymentError::Unknown { message }
        } else {
            PaymentError::Unavailable { message, retry_after: None }
        };
        Self { error, retryable: true }
    }

    /// Returns the failure of an attempt that got no response.
    pub(super) fn of_transport(call: &StripeCall, error: &reqwest::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        // Without a connection, nothing was sent.
        if error.is_connect() || error.is_builder() {
            return Self { error: PaymentError::Unavailable { message, retry_after: None }, retryable: true };
        }
        Self::lost(call, &message)
    }

    /// Returns the failure that a response states.
    pub(super) fn of_response(call: &StripeCall, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = StripeObject::new(&body).object("/error");
        let text = |path| error.and_then(|error| error.text(path));
        let code = text("/code").or_else(|| text("/type")).map(str::to_owned);
        let message = text("/message").map_or_else(|| format!("Stripe responded with {status}"), str::to_owned);
        let failed = |error| Self { error, retryable: false };
        match status.as_u16() {
            401 | 403 => failed(PaymentError::Unauthorized { message }),
            404 => failed(PaymentError::NotFound { object: call.object }),
            // The first request with this key is still being processed.
            409 if code.as_deref() == Some("idempotency_key_in_use") => Self::lost(call, &message),
            409 => Self { error: PaymentError::Unavailable { message, retry_after: None }, retryable: true },
            429 => failed(PaymentError::Unavailable { message, retry_after: retry_after(headers) }),
            402 => failed(declined(error, message)),
            400..=499 if text("/type") == Some("card_error") => failed(declined(error, message)),
            400..=499 => failed(PaymentError::Rejected { code, message }),
            500.. => Self { retryable: should_retry(headers), ..Self::lost(call, &message) },
            // A redirect, which the client does not follow: the URL is not that of Stripe's API.
            _ => failed(PaymentError::Unavailable { message, retry_after: None }),
        }
    }

    /// Returns the error of a call of which an earlier attempt may have taken effect. Stripe answers a repetition with
    /// the result of the first attempt, unless it refuses to look at the request.
    pub(super) fn after_lost_attempt(self) -> PaymentError {
        match self.error {
            PaymentError::Unavailable { message, .. } | PaymentError::Unauthorized { message } => {
                PaymentError::Unknown { message }
            }
            conclusive => conclusive,
        }
    }
}

/// Returns the error of a response that says success and can't be read.
pub(super) fn unreadable(changes: bool, what: &str) -> PaymentError {
    let message = format!("Stripe responded with {what}");
    if changes { PaymentError::Unknown { message } } else { PaymentError::Unavailable { message, retry_after: None } }
}

/// Returns the error of a call that moves no money, although its response may be lost.
pub(super) fn not_charged(error: PaymentError) -> PaymentError {
    match error {
        PaymentError::Unknown { message } => PaymentError::Unavailable { message, retry_after: None },
        known => known,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn should_retry(headers: &HeaderMap) -> bool {
    headers.get("stripe-should-retry").is_none_or(|value| value.as_bytes() != b"false")
}

fn declined(error: Option<StripeObject<'_>>, message: String) -> PaymentError {
    let text = |path| error.and_then(|error| error.text(path));
    let code = text("/decline_code").or_else(|| text("/code"));
    // A generic decline can have the better reason in the code of the error, as with expired cards.
    let mut reasons = [text("/decline_code"), text("/code")].into_iter().flatten().map(decline_reason);
    let reason = reasons.find(|reason| *reason != DeclineReason::Generic);
    PaymentError::Declined { reason: reason.unwrap_or(DeclineReason::Generic), code: code.map(str::to_owned), message }
}

/// Returns the reason of a decline code or of the code of an error.
///
/// Documentation: <https://docs.stripe.com/declines/codes>.
fn decline_reason(code: &str) -> DeclineReason {
    match code {
        "insufficient_funds" | "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => {
            DeclineReason::InsufficientFunds
        }
        "expired_card" => DeclineReason::ExpiredCard,
        "incorrect_address"
        | "incorrect_cvc"
        | "incorrect_number"
        | "incorrect_pin"
        | "incorrect_zip"
        | "invalid_account"
        | "invalid_cvc"
        | "invalid_expiry_month"
        | "invalid_expiry_year"
        | "invalid_number"
        | "invalid_pin"
        | "new_account_information_available"
        | "pin_try_exceeded" => DeclineReason::IncorrectDetails,
        "authentication_required"
        | "authentication_not_handled"
        | "mobile_device_authentication_required"
        | "offline_pin_required"
        | "online_or_offline_pin_required"
        | "payment_intent_authentication_failure" => DeclineReason::AuthenticationRequired,
        "fraudulent" | "highest_risk_level" | "lost_card" | "merchant_blacklist" | "pickup_card"
        | "security_violation" | "stolen_card" => DeclineReason::Fraud,
        "card_not_supported"
        | "currency_not_supported"
        | "invalid_amount"
        | "not_permitted"
        | "service_not_allowed"
        | "transaction_not_allowed"
        | "payment_method_not_available" => DeclineReason::NotSupported,
        "approve_with_id" | "issuer_not_available" | "processing_error" | "reenter_transaction" | "try_again_later" => {
            DeclineReason::TemporarilyUnavailable
        }
        _ => DeclineReason::Generic,
    }
}
