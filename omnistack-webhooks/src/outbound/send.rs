//! One attempt: the signed request to an endpoint, and its result.

use std::{error::Error as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use omnistack_core::{
    clock::{Clock, Timestamp},
    http::client::{self, Client},
};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{
    endpoint::SigningEndpoint,
    retry::{Verdict, retry_after},
};
use crate::signing::signature_header;

/// Largest number of bytes of a response's body that are read and stored.
pub(crate) const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// Longest error that is stored, in characters.
const MAX_ERROR_CHARS: usize = 300;

/// Time by which the HTTP client's own timeout exceeds the deadline of an attempt, so that the deadline ends it.
const CLIENT_TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Returns the id of a message as its receivers see it, in the header `webhook-id`. It is the same in all attempts.
pub(crate) fn webhook_id(message: Uuid) -> String {
    format!("msg_{}", message.simple())
}

/// The sender of messages to endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// The client, which connects to no private address.
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    /// Longest duration of an attempt, from its start to the last byte of the response that is read.
    pub(crate) timeout: Duration,
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptResult {
    /// When the attempt began.
    pub(crate) at: Timestamp,
    pub(crate) duration: Duration,
    /// The status of the response, if one arrived.
    pub(crate) status: Option<u16>,
    /// The reason why the attempt failed without a response, or why the response was not read.
    pub(crate) error: Option<String>,
    /// The first [`MAX_RESPONSE_BYTES`] of the response's body, as text that both databases can store.
    pub(crate) response: Option<String>,
    /// The pause that the receiver asks for.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the attempt took longer than the timeout.
    pub(crate) timed_out: bool,
}

impl AttemptResult {
    fn new(at: Timestamp) -> Self {
        Self {
            at,
            duration: Duration::ZERO,
            status: None,
            error: None,
            response: None,
            retry_after: None,
            timed_out: false,
        }
    }

    /// Returns the meaning of the result.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::of(self.status, self.error.is_none(), self.timed_out)
    }
}

impl Sender {
    /// Sends a message to an endpoint once, and returns what came of it. `payload` is the body, byte for byte.
    pub(crate) async fn send(&self, endpoint: &SigningEndpoint, message: Uuid, payload: &str) -> AttemptResult {
        let mut result = AttemptResult::new(self.clock.now());
        let began = self.clock.elapsed();
        let mut body = Vec::new();
        match headers(endpoint, message, result.at, payload) {
            Ok(headers) => {
                let exchange = self.exchange(endpoint, headers, payload, &mut result, &mut body);
                let ended = tokio::time::timeout(self.timeout, exchange).await;
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        result.timed_out = error.is_timeout();
                        result.error = Some(describe(&error));
                    }
                    Err(_) => {
                        result.timed_out = true;
                        let what = if result.status.is_some() { "the response did not end" } else { "no response" };
                        result.error = Some(format!("{what} within {:?}", self.timeout));
                    }
                }
            }
            Err(error) => result.error = Some(error.to_owned()),
        }
        result.response = (!body.is_empty()).then(|| storable(&body));
        result.duration = self.clock.elapsed().saturating_sub(began);
        result
    }

    /// Sends the request and reads the response. Writes what is known so far to `result` and `body`, so that it is kept
    /// if the deadline ends the exchange. The connection is closed if the body is longer than what is read.
    async fn exchange(
        &self,
        endpoint: &SigningEndpoint,
        headers: HeaderMap,
        payload: &str,
        result: &mut AttemptResult,
        body: &mut Vec<u8>,
    ) -> Result<(), reqwest::Error> {
        let request = self.client.post(endpoint.url.as_str()).headers(headers).body(payload.to_owned());
        let request = request.timeout(self.timeout.saturating_add(CLIENT_TIMEOUT_MARGIN));
        let mut response = request.send().await?;
        result.status = Some(response.status().as_u16());
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        result.retry_after = wait.and_then(|value| retry_after(value, self.clock.now()));
        while body.len() < MAX_RESPONSE_BYTES
            && let Some(chunk) = response.chunk().await?
        {
            let free = MAX_RESPONSE_BYTES - body.len();
            body.extend_from_slice(chunk.get(..free).unwrap_or(&chunk));
        }
        Ok(())
    }
}

/// Returns the headers of an attempt. Fails with a description if it can't be signed.
fn headers(endpoint: &SigningEndpoint, message: Uuid, at: Timestamp, payload: &str) -> Result<HeaderMap, &'static str> {
    let (id, seconds) = (webhook_id(message), at.as_seconds());
    let signature = signature_header(endpoint.scheme, &endpoint.secrets, &id, seconds, payload.as_bytes())
        .map_err(|_| "the message could not be signed; rotate the endpoint's secret")?;
    let mut headers = HeaderMap::new();
    for (name, value) in &endpoint.headers {
        let name = HeaderName::try_from(name.as_str());
        let value = HeaderValue::try_from(value.expose_secret());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err("a custom header of the endpoint is not valid; correct it");
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    // Set last, so that custom headers don't override them.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("omnistack/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in [(WEBHOOK_ID, id), (WEBHOOK_TIMESTAMP, seconds.to_string()), (WEBHOOK_SIGNATURE, signature)] {
        let value = HeaderValue::try_from(value).map_err(|_| "the signature is not a valid header")?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Returns text that both databases can store: invalid UTF-8 and NUL are replaced by U+FFFD.
fn storable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// Describes an error of the HTTP client, without the URL, whose path and query may be secret.
fn describe(error: &reqwest::Error) -> String {
    if client::is_refused(error) {
        return "the host has no public address; the endpoint is not called".to_owned();
    }
    let what = match () {
        () if error.is_timeout() => return "no connection or response in time".to_owned(),
        () if error.is_builder() => return "the URL or a header of the endpoint is not valid".to_owned(),
        () if error.is_connect() => "can't connect",
        () => "the connection was lost",
    };
    // The last cause names no URL: it is an error of DNS, TCP, TLS or HTTP.
    let mut cause = error.source();
    while let Some(next) = cause.and_then(|cause| cause.source()) {
        cause = Some(next);
    }
    let text = cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_messages_have_a_prefix_and_no_dots() {
        let id = webhook_id(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id, "msg_01970000000070008000000000000001");
    }

    #[test]
    fn bodies_become_text_that_databases_store() {
        for (bytes, expected) in [
            (b"ok".as_slice(), "ok"),
            (b"a\0b", "a\u{fffd}b"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"cut \xc3", "cut \u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(storable(bytes), expected, "{bytes:?}");
        }
    }
}
