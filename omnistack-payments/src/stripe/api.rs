//! Calls to the API of Stripe.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use omnistack_core::{http::client::Client, payment::PaymentError};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod, VERSION};
use tokio::time::{sleep, timeout};

use super::{
    error::{CallFailure, unreadable},
    object::StripeObject,
};

/// Time for a call, with its repetitions.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest number of repetitions of a call.
const MAX_RETRIES: u32 = 2;
/// Time before the first repetition. Each further one waits twice as long.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Largest response that is read, in bytes: a page of 100 invoices.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// Largest length of an id of Stripe, in bytes.
const MAX_ID_BYTES: usize = 255;

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The API of Stripe with the key of an account.
#[derive(Clone)]
pub(super) struct StripeApi {
    client: Client,
    base: Url,
    key: SecretString,
}

/// A call, which may be sent several times.
pub(super) struct StripeCall {
    request: RequestBuilder,
    /// The type of object that it asks for or changes.
    pub(super) object: &'static str,
    key: Option<IdempotencyKey>,
}

impl StripeCall {
    /// Returns whether the call changes something, so that a lost response leaves its outcome unknown.
    pub(super) const fn changes(&self) -> bool {
        !matches!(self.request.method, StripeMethod::Get)
    }
}

/// A response with an object.
pub(super) struct StripeReply {
    value: Value,
    changes: bool,
}

impl StripeReply {
    pub(super) fn object(&self) -> StripeObject<'_> {
        StripeObject::new(&self.value)
    }

    /// Returns what `parse` reads from the object. If it reads nothing, the response has another form than expected.
    pub(super) fn read<T>(&self, parse: impl FnOnce(StripeObject<'_>) -> Option<T>) -> Result<T, PaymentError> {
        parse(self.object()).ok_or_else(|| unreadable(self.changes, "an object of another form"))
    }
}

/// A response of Stripe, whatever its status is.
struct StripeResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl StripeApi {
    pub(super) fn new(client: Client, base: Url, key: SecretString) -> Self {
        Self { client, base, key }
    }

    /// Asks for an object or a list. `query` is an object; its nulls are left out.
    pub(super) async fn get(
        &self,
        object: &'static str,
        path: &str,
        query: Value,
    ) -> Result<StripeReply, PaymentError> {
        let mut request = RequestBuilder::new(StripeMethod::Get, path);
        let query = without_nulls(query);
        if query.as_object().is_some_and(|query| !query.is_empty()) {
            request = request.query(&query);
        }
        self.send(&StripeCall { request, object, key: None }).await
    }

    /// Changes something. `form` is an object; its nulls are left out, and empty texts clear a value. Without an
    /// idempotency key, the same form twice must have one effect.
    pub(super) async fn post(
        &self,
        object: &'static str,
        path: &str,
        form: Value,
        key: Option<&str>,
    ) -> Result<StripeReply, PaymentError> {
        let request = RequestBuilder::new(StripeMethod::Post, path).form(&without_nulls(form));
        let key = key.map(IdempotencyKey::new).transpose().map_err(|error| PaymentError::Rejected {
            code: Some("invalid_idempotency_key".to_owned()),
            message: error.to_string(),
        })?;
        self.send(&StripeCall { request, object, key }).await
    }

    /// Deletes something.
    pub(super) async fn delete(&self, object: &'static str, path: &str) -> Result<StripeReply, PaymentError> {
        let request = RequestBuilder::new(StripeMethod::Delete, path);
        self.send(&StripeCall { request, object, key: None }).await
    }

    async fn send(&self, call: &StripeCall) -> Result<StripeReply, PaymentError> {
        let outcome = timeout(CALL_TIMEOUT, self.attempts(call)).await;
        let body = outcome.unwrap_or_else(|_| Err(CallFailure::lost(call, "no response in time").error))?;
        let value = serde_json::from_slice(&body).map_err(|_| unreadable(call.changes(), "no JSON"))?;
        Ok(StripeReply { value, changes: call.changes() })
    }

    /// Sends the call until its outcome is known, at most three times, with one idempotency key.
    async fn attempts(&self, call: &StripeCall) -> Result<Bytes, PaymentError> {
        let (mut retries, mut delay) = (MAX_RETRIES, FIRST_RETRY_DELAY);
        let mut may_have_taken_effect = false;
        loop {
            let failure = match self.attempt(call).await {
                Ok(response) if response.status.is_success() => return Ok(response.body),
                Ok(response) => CallFailure::of_response(call, response.status, &response.headers, &response.body),
                Err(failure) => failure,
            };
            may_have_taken_effect |= matches!(failure.error, PaymentError::Unknown { .. });
            if !failure.retryable || retries == 0 {
                return Err(if may_have_taken_effect { failure.after_lost_attempt() } else { failure.error });
            }
            tracing::debug!(target: "omnistack::payments", error = %failure.error, "a call to Stripe is repeated");
            sleep(delay).await;
            (retries, delay) = (retries - 1, delay * 2);
        }
    }

    async fn attempt(&self, call: &StripeCall) -> Result<StripeResponse, CallFailure> {
        let StripeCall { request, key, .. } = call;
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v1{}", self.base.path().trim_end_matches('/'), request.path));
        url.set_query(request.query.as_deref());
        let mut sent = match request.method {
            StripeMethod::Get => self.client.get(url),
            StripeMethod::Post => self.client.post(url),
            StripeMethod::Delete => self.client.delete(url),
        };
        sent =
            sent.bearer_auth(self.key.expose_secret()).header(STRIPE_VERSION, VERSION.as_str()).timeout(CALL_TIMEOUT);
        if let Some(key) = key {
            sent = sent.header(IDEMPOTENCY_KEY, key.as_str());
        }
        if let Some(body) = &request.body {
            sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.clone());
        }
        let transport = |error: reqwest::Error| CallFailure::of_transport(call, &error.without_url());
        let mut response = sent.send().await.map_err(transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(CallFailure::lost(call, "the response is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(StripeResponse { status, headers, body: body.into() })
    }
}

impl fmt::Debug for StripeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeApi").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Returns an id as a segment of a path.
///
/// # Errors
/// [`PaymentError::NotFound`] if Stripe has no ids of this form, so that an id can't lead to another path.
pub(super) fn id_segment<'a>(object: &'static str, id: &'a str) -> Result<&'a str, PaymentError> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let valid = !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(is_id);
    if valid { Ok(id) } else { Err(PaymentError::NotFound { object }) }
}

/// Returns a value without the nulls in its objects.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_have_no_nulls_and_keep_empty_texts() {
        let form = json!({ "a": null, "b": { "c": null, "d": 1 }, "e": [{ "f": null, "g": "x y&" }], "h": "" });
        let request = RequestBuilder::new(StripeMethod::Post, "/x").form(&without_nulls(form));
        let body = request.body.unwrap();
        let pairs: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let expected = [("b[d]", "1"), ("e[0][g]", "x y&"), ("h", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_version_of_the_api_is_pinned() {
        assert_eq!(VERSION.as_str(), "2026-09-30.endive");
    }

    #[test]
    fn ids_are_one_segment_of_a_path() {
        for id in ["pi_3Nx", "cus-1"] {
            assert_eq!(id_segment("payment", id), Ok(id));
        }
        for id in ["", "../balance", "pi_1/cancel", "pi_1?x", "pi 1", &"a".repeat(256)] {
            assert_eq!(id_segment("payment", id), Err(PaymentError::NotFound { object: "payment" }), "{id}");
        }
    }
}
