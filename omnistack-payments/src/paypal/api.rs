//! Calls to PayPal, with the access token that they need.

use std::{sync::Arc, time::Duration};

use http::{Method, header};
use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::Sha256,
    http::client::Client,
    payment::{DeclineReason, PaymentError},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{sync::Mutex, time::timeout};

use crate::provider_api::{ApiObject, ApiResponse, CallEffect, ProviderApi, lost_response, send, with_json};

/// The header with the idempotency key.
const REQUEST_ID: &str = "paypal-request-id";
/// The issue of a payment or a refund whose `invoice_id`, which is the app's reference, was used before.
const DUPLICATE_REFERENCE: &str = "DUPLICATE_INVOICE_ID";
/// Largest length of an idempotency key, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 108;
/// Longest time for which a call waits for the access token that another call asks for.
const TOKEN_WAIT: Duration = Duration::from_secs(15);
/// Time before its end at which an access token is no longer used, so that none expires on its way.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// An account at PayPal's API. Its clones share the access token.
#[derive(Clone, Debug)]
pub(super) struct PayPalApi {
    api: ProviderApi,
    client_id: String,
    client_secret: SecretString,
    clock: Clock,
    token: Arc<Mutex<Option<AccessToken>>>,
}

#[derive(Clone, Debug)]
struct AccessToken {
    secret: SecretString,
    expires_at: Timestamp,
}

/// A call.
#[derive(Clone, Copy, Debug)]
struct PayPalCall<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a str>,
    key: Option<&'a str>,
    effect: CallEffect,
    /// The type of the object, for errors.
    object: &'static str,
}

impl PayPalApi {
    pub(super) fn new(client: Client, url: &str, client_id: String, client_secret: SecretString, clock: Clock) -> Self {
        Self { api: ProviderApi::new(client, url), client_id, client_secret, clock, token: Arc::default() }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Verifies the credentials.
    pub(super) async fn check(&self) -> Result<(), PaymentError> {
        let token = self.fetch_token().await?;
        *self.token.lock().await = Some(token);
        Ok(())
    }

    /// Asks for an object.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        let effect = CallEffect::Reads;
        self.call(PayPalCall { method: &Method::GET, path, query, body: None, key: None, effect, object }).await
    }

    /// Creates or changes an object.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        key: &str,
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        let effect = CallEffect::Changes;
        let text = body.to_string();
        let (body, key) = (Some(text.as_str()), Some(key));
        self.call(PayPalCall { method: &Method::POST, path, query: &[], body, key, effect, object }).await
    }

    /// Changes fields of an object. Such a call has no idempotency key: it sets values.
    pub(super) async fn patch(
        &self,
        path: &str,
        body: &Value,
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        let effect = CallEffect::Changes;
        let text = body.to_string();
        let body = Some(text.as_str());
        self.call(PayPalCall { method: &Method::PATCH, path, query: &[], body, key: None, effect, object }).await
    }

    /// Asks a question in JSON, whose bytes are sent as they are.
    pub(super) async fn post_text(
        &self,
        path: &str,
        body: &str,
        object: &'static str,
    ) -> Result<ApiObject, PaymentError> {
        let effect = CallEffect::Reads;
        let body = Some(body);
        self.call(PayPalCall { method: &Method::POST, path, query: &[], body, key: None, effect, object }).await
    }

    async fn call(&self, call: PayPalCall<'_>) -> Result<ApiObject, PaymentError> {
        let token = self.token().await?;
        let response = self.send(call, &token).await?;
        // A token can be revoked before it expires. The request was not processed.
        let response = if response.is_unauthorized() {
            self.forget(&token).await;
            let token = self.token().await?;
            self.send(call, &token).await?
        } else {
            response
        };
        if response.is_success() { response.object() } else { Err(refusal(&response, call.object)) }
    }

    async fn send(&self, call: PayPalCall<'_>, token: &SecretString) -> Result<ApiResponse, PaymentError> {
        let request = self.api.request(call.method.clone(), call.path, call.query);
        let request = request.bearer_auth(token.expose_secret()).header("prefer", "return=representation");
        let request = match call.key {
            Some(key) => request.header(REQUEST_ID, request_id(key)),
            None => request,
        };
        let request = match call.body {
            Some(body) => with_json(request, body),
            None => request,
        };
        send(request, call.effect).await
    }

    /// Returns an access token. Concurrent calls wait for one request.
    async fn token(&self) -> Result<SecretString, PaymentError> {
        // While PayPal issues no token, the waiting calls would ask one after another, each for the whole deadline.
        let waited = timeout(TOKEN_WAIT, self.token.lock()).await;
        let mut stored =
            waited.map_err(|_| lost_response(CallEffect::Reads, "PayPal issues no access token in time"))?;
        if let Some(token) = &*stored
            && token.expires_at > self.clock.now()
        {
            return Ok(token.secret.clone());
        }
        let token = self.fetch_token().await?;
        let secret = token.secret.clone();
        *stored = Some(token);
        Ok(secret)
    }

    async fn forget(&self, token: &SecretString) {
        let mut stored = self.token.lock().await;
        if stored.as_ref().is_some_and(|stored| stored.secret.expose_secret() == token.expose_secret()) {
            *stored = None;
        }
    }

    async fn fetch_token(&self) -> Result<AccessToken, PaymentError> {
        let request = self.api.request(Method::POST, "/v1/oauth2/token", &[]);
        let request = request
            .basic_auth(&self.client_id, Some(self.client_secret.expose_secret()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let response = send(request, CallEffect::Reads).await?;
        if !response.is_success() {
            let error = response.error_object();
            let message = error.text("/error_description").unwrap_or_else(|| "the access token was refused".to_owned());
            let error = response.error("access token", error.text("/error"), message);
            return Err(match error {
                PaymentError::Rejected { message, .. } => PaymentError::Unauthorized { message },
                error => error,
            });
        }
        let body = response.object()?;
        let no_token = || lost_response(CallEffect::Reads, "the response has no access token");
        let secret = body.text("/access_token").ok_or_else(no_token)?.into();
        let seconds = body.integer("/expires_in").and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
        let lifetime = Duration::from_secs(seconds).saturating_sub(TOKEN_MARGIN);
        Ok(AccessToken { secret, expires_at: self.clock.now() + lifetime })
    }
}

/// Returns the idempotency key as PayPal accepts it.
fn request_id(key: &str) -> String {
    let is_accepted = key.len() <= MAX_REQUEST_ID_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_accepted { key.to_owned() } else { Sha256::digest(key).to_string() }
}

/// Returns the error of a request that creates a payment or a refund. If its reference was used before, there is one
/// already, whose response was lost.
pub(super) fn of_used_reference(error: PaymentError) -> PaymentError {
    match error {
        PaymentError::Rejected { code: Some(code), message } if code == DUPLICATE_REFERENCE => {
            PaymentError::Unknown { message }
        }
        error => error,
    }
}

/// Returns the error that a response of PayPal describes.
fn refusal(response: &ApiResponse, object: &'static str) -> PaymentError {
    let error = response.error_object();
    let code = error.text("/details/0/issue").or_else(|| error.text("/name"));
    let message = error.text("/details/0/description").or_else(|| error.text("/message"));
    let message = message.unwrap_or_else(|| "PayPal rejected the request".to_owned());
    match response.error(object, code, message) {
        PaymentError::Rejected { code: Some(code), message } => match decline_reason(&code) {
            Some(reason) => PaymentError::Declined { reason, code: Some(code), message },
            None => PaymentError::Rejected { code: Some(code), message },
        },
        error => error,
    }
}

/// Returns the reason of a declined payment by PayPal's issue. Returns `None` if the issue is no decline.
fn decline_reason(issue: &str) -> Option<DeclineReason> {
    Some(match issue {
        "INSTRUMENT_DECLINED"
        | "TRANSACTION_REFUSED"
        | "PAYER_CANNOT_PAY"
        | "PAYER_ACCOUNT_RESTRICTED"
        | "PAYER_ACCOUNT_LOCKED_OR_CLOSED"
        | "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING"
        | "CARD_CLOSED"
        | "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED" => DeclineReason::Generic,
        "CARD_EXPIRED" => DeclineReason::ExpiredCard,
        "PAYER_ACTION_REQUIRED" => DeclineReason::AuthenticationRequired,
        "COMPLIANCE_VIOLATION" | "TRANSACTION_BLOCKED_BY_PAYEE" => DeclineReason::Fraud,
        "CARD_BRAND_NOT_SUPPORTED" | "CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE" | "PAYER_COUNTRY_NOT_SUPPORTED" => {
            DeclineReason::NotSupported
        }
        "PAYMENT_SOURCE_TEMPORARILY_UNAVAILABLE" => DeclineReason::TemporarilyUnavailable,
        _ => return None,
    })
}
