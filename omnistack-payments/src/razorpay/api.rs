//! Calls to Razorpay.

use http::Method;
use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::Sha256,
    http::client::Client,
    money::Money,
    payment::{DeclineReason, PaymentError},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{
    provider_api::{ApiObject, ApiResponse, CallEffect, ProviderApi, send, with_json},
    wire::{WireForm, from_minor_units, to_minor_units},
};

/// Largest length of a receipt and of the reference of a payment link, in characters.
const MAX_RECEIPT_CHARS: usize = 40;
/// Largest length of a note, in characters.
pub(super) const MAX_NOTE_CHARS: usize = 256;

/// An account at Razorpay's API.
#[derive(Clone, Debug)]
pub(super) struct RazorpayApi {
    api: ProviderApi,
    key_id: String,
    key_secret: SecretString,
    clock: Clock,
}

impl RazorpayApi {
    pub(super) fn new(client: Client, url: &str, key_id: String, key_secret: SecretString, clock: Clock) -> Self {
        Self { api: ProviderApi::new(client, url), key_id, key_secret, clock }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asks for an object.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        self.call(Method::GET, path, query, None, CallEffect::Reads, object).await
    }

    /// Creates or changes an object.
    pub(super) async fn post(&self, path: &str, body: &Value, object: &'static str) -> Result<ApiObject, PaymentError> {
        self.call(Method::POST, path, &[], Some(body), CallEffect::Changes, object).await
    }

    /// Changes fields of an object.
    pub(super) async fn patch(
        &self,
        path: &str,
        body: &Value,
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        self.call(Method::PATCH, path, &[], Some(body), CallEffect::Changes, object).await
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, path: &str, object: &'static str) -> Result<ApiObject, PaymentError> {
        self.call(Method::DELETE, path, &[], None, CallEffect::Changes, object).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        effect: CallEffect,
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        let request = self.api.request(method, path, query);
        let request = request.basic_auth(&self.key_id, Some(self.key_secret.expose_secret()));
        let request = match body {
            Some(body) => with_json(request, &body.to_string()),
            None => request,
        };
        let response = send(request, effect).await?;
        if response.is_success() { response.object() } else { Err(refusal(&response, object)) }
    }
}

/// Returns the error that a response of Razorpay describes.
fn refusal(response: &ApiResponse, object: &'static str) -> PaymentError {
    let error = response.error_object();
    let code = error.text("/error/reason").filter(|reason| reason != "NA").or_else(|| error.text("/error/code"));
    let message = error.text("/error/description").unwrap_or_else(|| "Razorpay rejected the request".to_owned());
    // Razorpay answers 400 for an object that does not exist.
    let is_missing = message.contains("does not exist");
    let is_payment = error.text("/error/metadata/payment_id").is_some();
    match response.error(object, code, message) {
        PaymentError::Rejected { .. } if is_missing => PaymentError::NotFound { object },
        PaymentError::Rejected { code, message } => match code.as_deref().and_then(decline_reason) {
            Some(reason) => PaymentError::Declined { reason, code, message },
            None if is_payment => PaymentError::Declined { reason: DeclineReason::Generic, code, message },
            None => PaymentError::Rejected { code, message },
        },
        error => error,
    }
}

/// Returns the reason of a declined payment by Razorpay's reason. Returns `None` if it is no decline.
pub(super) fn decline_reason(reason: &str) -> Option<DeclineReason> {
    Some(match reason {
        // Razorpay may still authorise a payment days after a technical error, so no other provider may be asked.
        "payment_failed"
        | "payment_declined"
        | "card_declined"
        | "payment_cancelled"
        | "bank_technical_error"
        | "gateway_technical_error"
        | "issuer_technical_error" => DeclineReason::Generic,
        "insufficient_funds" => DeclineReason::InsufficientFunds,
        "card_expired" => DeclineReason::ExpiredCard,
        "incorrect_card_details" | "incorrect_cvv" | "incorrect_card_expiry_date" | "card_number_invalid" => {
            DeclineReason::IncorrectDetails
        }
        "authentication_failed" | "incorrect_otp" | "otp_expired" => DeclineReason::AuthenticationRequired,
        "payment_risk_check_failed" => DeclineReason::Fraud,
        "card_not_enrolled" | "international_transaction_not_allowed" | "transaction_limit_exceeded" => {
            DeclineReason::NotSupported
        }
        _ => return None,
    })
}

/// Returns the fields of an amount.
pub(super) fn amount_fields(amount: Money) -> Result<(i64, &'static str), PaymentError> {
    Ok((to_minor_units(WireForm::Razorpay, amount)?, amount.currency().code()))
}

/// Returns the amount in a field, in the currency of the object.
pub(super) fn amount_at(object: &ApiObject, pointer: &str) -> Option<Money> {
    from_minor_units(WireForm::Razorpay, object.integer(pointer)?, &object.text("/currency")?)
}

/// Returns the reference as Razorpay accepts it for receipts. A longer one is hashed; it is whole in the notes.
pub(super) fn receipt(reference: &str) -> String {
    if reference.chars().count() <= MAX_RECEIPT_CHARS {
        reference.to_owned()
    } else {
        Sha256::digest(reference).to_string().chars().take(MAX_RECEIPT_CHARS).collect()
    }
}

/// Returns the notes of an object with this reference.
///
/// # Errors
/// Fails with [`PaymentError::Rejected`] if the reference does not fit.
pub(super) fn notes(reference: &str, customer: Option<&str>) -> Result<Value, PaymentError> {
    if reference.is_empty() || reference.chars().count() > MAX_NOTE_CHARS {
        return Err(PaymentError::Rejected {
            code: Some("invalid_reference".to_owned()),
            message: format!("references at Razorpay have 1 to {MAX_NOTE_CHARS} characters"),
        });
    }
    let mut notes = json!({ "reference": reference });
    if let Some(customer) = customer {
        notes["customer"] = customer.into();
    }
    Ok(notes)
}

/// Returns the reference in the notes.
pub(super) fn reference_of(object: &ApiObject) -> Option<String> {
    object.text("/notes/reference")
}
