//! The errors of providers, as they are stored and as callers get them.

use std::fmt::Display;

use omnistack_core::{
    http::{Error, StatusCode},
    payment::PaymentError,
};

use super::{model::PaymentFailure, rows::name_of};

/// The codes of calls that have certainly not reached what they were to change.
pub(super) const NOT_SENT: [&str; 2] = ["provider_unauthorized", "provider_unavailable"];
/// The code of an attempt of which its provider knows nothing.
pub(super) const NOT_RECEIVED: &str = "not_received";

/// Returns the error of a provider that could not be asked.
pub(super) fn not_asked(reason: impl Display) -> PaymentError {
    PaymentError::Unavailable { message: reason.to_string(), retry_after: None }
}

/// Returns the reason as it is stored.
pub(super) fn failure(error: &PaymentError) -> PaymentFailure {
    PaymentFailure::new(code(error), error.to_string())
}

/// Returns the code of an error: that of a decline is its reason, such as `insufficient_funds`.
fn code(error: &PaymentError) -> String {
    match error {
        PaymentError::Declined { reason, .. } => match name_of(reason).as_str() {
            "" | "generic" => "declined".to_owned(),
            reason => reason.to_owned(),
        },
        PaymentError::Rejected { code: Some(code), .. } => code.clone(),
        PaymentError::Rejected { code: None, .. } => "rejected".to_owned(),
        PaymentError::NotFound { .. } => "not_found".to_owned(),
        PaymentError::NotSupported { .. } => "not_supported".to_owned(),
        PaymentError::Unauthorized { .. } => "provider_unauthorized".to_owned(),
        PaymentError::Unavailable { .. } => "provider_unavailable".to_owned(),
        PaymentError::Unknown { .. } => "outcome_unknown".to_owned(),
        _ => "failed".to_owned(),
    }
}

/// Returns the response for an error that has changed nothing at the provider.
pub(super) fn response(error: &PaymentError) -> Error {
    let (status, code) = match error {
        PaymentError::Declined { .. } => (StatusCode::PAYMENT_REQUIRED, "PAYMENT_DECLINED"),
        PaymentError::Rejected { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "PAYMENT_REJECTED"),
        PaymentError::NotFound { .. } => (StatusCode::CONFLICT, "PAYMENT_NOT_AT_PROVIDER"),
        PaymentError::NotSupported { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "PAYMENT_NOT_SUPPORTED"),
        PaymentError::Unauthorized { .. } => (StatusCode::BAD_GATEWAY, "PAYMENT_PROVIDER_UNAUTHORIZED"),
        PaymentError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "PAYMENT_PROVIDER_UNAVAILABLE"),
        _ => (StatusCode::BAD_GATEWAY, "PAYMENT_PROVIDER_FAILED"),
    };
    Error::new(status, code, error.to_string()).with_detail("reason", failure(error).code)
}

/// Returns the error of a payment that another tenant has, or that does not exist.
pub(super) fn no_payment() -> Error {
    Error::not_found("the payment")
}

/// Returns the error of a request that must wait until the outcome of an earlier one is known.
pub(super) fn outcome_unknown() -> Error {
    let message = "it is not known yet whether the provider has taken the money; get the payment again in a minute";
    Error::conflict("PAYMENT_OUTCOME_UNKNOWN", message)
}
