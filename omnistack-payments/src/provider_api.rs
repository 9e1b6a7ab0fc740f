//! Calls to the APIs of payment providers, and what their failures say about the effect of a call.

mod object;

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use omnistack_core::{
    clock::Timestamp,
    http::client::{Client, RequestBuilder, is_refused},
    payment::PaymentError,
};
use reqwest::Response;
use uuid::Uuid;

pub(crate) use self::object::ApiObject;

/// Timeout of a call, from the connection to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest response that is read, in bytes: a page of 500 transactions.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Largest length of an id of a provider, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The effect of a call if it is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEffect {
    /// The call changes nothing, so it can be made again.
    Reads,
    /// The call changes something.
    Changes,
}

/// The API of a provider.
#[derive(Clone, Debug)]
pub(crate) struct ProviderApi {
    client: Client,
    base: String,
}

/// A response of a provider, whatever its status is.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    effect: CallEffect,
}

impl ProviderApi {
    /// Creates an API with this base URL, which has no slash at its end.
    pub(crate) fn new(client: Client, base: impl Into<String>) -> Self {
        Self { client, base: base.into() }
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = format!("{}{path}", self.base);
        if !query.is_empty() {
            url.push('?');
            url.push_str(&form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
        }
        self.client.request(method, url)
    }
}

/// Adds a JSON body to a request.
pub(crate) fn with_json(request: RequestBuilder, body: &str) -> RequestBuilder {
    request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned())
}

/// Sends a request, and returns the whole response, whatever its status is.
///
/// # Errors
/// Fails with [`PaymentError::Unavailable`] if the request was certainly not processed or changes nothing, and with
/// [`PaymentError::Unknown`] otherwise.
pub(crate) async fn send(request: RequestBuilder, effect: CallEffect) -> Result<ApiResponse, PaymentError> {
    let response = request.timeout(TIMEOUT).send().await.map_err(|error| transport_error(error, effect))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_body(response, effect).await?;
    Ok(ApiResponse { status, headers, body, effect })
}

async fn read_body(mut response: Response, effect: CallEffect) -> Result<Bytes, PaymentError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost_response(effect, describe(error)))? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(lost_response(effect, format!("the response has more than {MAX_RESPONSE_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Returns the error of a request without a response. Without a connection, DNS and TLS included, nothing was sent.
fn transport_error(error: reqwest::Error, effect: CallEffect) -> PaymentError {
    let is_sent = !(error.is_connect() || error.is_builder() || is_refused(&error));
    let message = describe(error);
    if is_sent { lost_response(effect, message) } else { PaymentError::Unavailable { message, retry_after: None } }
}

/// Returns the error of a call whose response is missing or can't be read.
pub(crate) fn lost_response(effect: CallEffect, message: impl Into<String>) -> PaymentError {
    let message = message.into();
    match effect {
        CallEffect::Reads => PaymentError::Unavailable { message, retry_after: None },
        CallEffect::Changes => PaymentError::Unknown { message },
    }
}

/// Returns the causes of an error. The URL is left out, because its query may be secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl ApiResponse {
    /// Returns whether the provider accepted the request.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Returns the body of an accepted request. An empty body is an object without fields.
    ///
    /// # Errors
    /// Fails if the body is no JSON object: then the call may have taken effect.
    pub(crate) fn object(&self) -> Result<ApiObject, PaymentError> {
        ApiObject::parse(&self.body).ok_or_else(|| lost_response(self.effect, "the response is no JSON object"))
    }

    /// Returns the body of a rejected request, or an object without fields if it is no JSON object.
    pub(crate) fn error_object(&self) -> ApiObject {
        ApiObject::parse(&self.body).unwrap_or_default()
    }

    /// Returns the error of a rejected request by its status.
    pub(crate) fn error(&self, object: &'static str, code: Option<String>, message: String) -> PaymentError {
        match self.status.as_u16() {
            401 | 403 => PaymentError::Unauthorized { message },
            404 => PaymentError::NotFound { object },
            429 => PaymentError::Unavailable { message, retry_after: self.retry_after() },
            // 408: the provider gave up waiting; 409: it still processes a request with the same key. Redirects are not
            // followed, and no provider documents them.
            status if status < 400 || matches!(status, 408 | 409 | 500..) => {
                match lost_response(self.effect, message) {
                    PaymentError::Unavailable { message, .. } => {
                        PaymentError::Unavailable { message, retry_after: self.retry_after() }
                    }
                    unknown => unknown,
                }
            }
            _ => PaymentError::Rejected { code, message },
        }
    }

    /// Returns whether the credentials were rejected, so that the request was not processed.
    #[cfg(feature = "paypal")]
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Returns an id if it can be a part of a path. Ids come from events and callers, and a `/` would name another object.
///
/// # Errors
/// Fails with [`PaymentError::NotFound`] if no provider makes such ids.
pub(crate) fn path_id<'a>(id: &'a str, object: &'static str) -> Result<&'a str, PaymentError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_id = !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(known);
    if is_id { Ok(id) } else { Err(PaymentError::NotFound { object }) }
}

/// Returns when a reference was created, if it ends with a UUIDv7, such as `pay_0192…`.
pub(crate) fn reference_time(reference: &str) -> Option<Timestamp> {
    let (_, id) = reference.rsplit_once('_').unwrap_or(("", reference));
    let id = Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))?;
    Some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, effect: CallEffect) -> ApiResponse {
        let headers = [(header::RETRY_AFTER, "7".parse().unwrap())].into_iter().collect();
        ApiResponse { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new(), effect }
    }

    #[test]
    fn a_status_says_whether_the_call_took_effect() {
        let retry_after = Some(Duration::from_secs(7));
        let unavailable = || PaymentError::Unavailable { message: "m".into(), retry_after };
        let unknown = || PaymentError::Unknown { message: "m".into() };
        let unauthorized = || PaymentError::Unauthorized { message: "m".into() };
        let rejected = || PaymentError::Rejected { code: Some("c".into()), message: "m".into() };
        for (status, read, change) in [
            (302, unavailable(), unknown()),
            (400, rejected(), rejected()),
            (401, unauthorized(), unauthorized()),
            (404, PaymentError::NotFound { object: "thing" }, PaymentError::NotFound { object: "thing" }),
            (408, unavailable(), unknown()),
            (409, unavailable(), unknown()),
            (422, rejected(), rejected()),
            (429, unavailable(), unavailable()),
            (500, unavailable(), unknown()),
            (503, unavailable(), unknown()),
        ] {
            for (effect, expected) in [(CallEffect::Reads, read), (CallEffect::Changes, change)] {
                let error = response(status, effect).error("thing", Some("c".into()), "m".into());
                assert_eq!(error, expected, "{status} {effect:?}");
            }
        }
    }

    #[test]
    fn ids_with_other_characters_are_of_no_object() {
        for id in ["", "a/b", "..", "a?b", "a%2fb", "é", &"a".repeat(65)] {
            assert_eq!(path_id(id, "payment"), Err(PaymentError::NotFound { object: "payment" }), "{id}");
        }
        assert_eq!(path_id("I-BW45_2", "payment"), Ok("I-BW45_2"));
    }

    #[test]
    fn references_state_their_time() {
        let time = reference_time("pay_018cc251-f400-7000-8000-000000000000");
        assert_eq!(time, Some("2024-01-01T00:00:00Z".parse().unwrap()));
        for other in ["", "pay_", "order-7", "pay_936da01f-9abd-4d9d-80c7-02af85c822a8"] {
            assert_eq!(reference_time(other), None, "{other}");
        }
    }
}
