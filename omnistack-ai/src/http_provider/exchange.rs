//! One request to a provider and its response.

use std::{borrow::Cow, error::Error as _, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, Version, header};
use omnistack_core::http::client::RequestBuilder;
use reqwest::Response;

use super::{clients::ClientLease, deadlines::CallDeadlines, events::ByteStream};
use crate::error::{LlmError, LlmErrorKind, TimeoutPhase};

/// Maximum size of the body of a failed response that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The time after the total limit at which the HTTP client gives up too. Its error does not say which limit has passed.
const CLIENT_GRACE: Duration = Duration::from_secs(5);

/// The headers in which providers state their id of a request.
const REQUEST_ID_HEADERS: [&str; 3] = ["x-request-id", "request-id", "apim-request-id"];

/// A response whose body has not arrived.
#[derive(Debug)]
pub(super) struct Exchange {
    provider: Cow<'static, str>,
    deadlines: CallDeadlines,
    response: Response,
    lease: ClientLease,
}

impl Exchange {
    /// Sends a request, and returns the response when its headers have arrived, whatever its status is.
    ///
    /// # Errors
    /// Fails with [`LlmErrorKind::Unreachable`] if there is no response, and with [`LlmErrorKind::Timeout`].
    pub(super) async fn send(
        provider: Cow<'static, str>,
        lease: ClientLease,
        request: RequestBuilder,
        deadlines: CallDeadlines,
    ) -> Result<Self, LlmError> {
        let request = request.timeout(deadlines.remaining().saturating_add(CLIENT_GRACE));
        match deadlines.wait(TimeoutPhase::FirstByte, request.send()).await {
            Ok(Ok(response)) => Ok(Self { provider, deadlines, response, lease }),
            Ok(Err(error)) if error.is_builder() => {
                let message = format!("the request can't be sent: {}", describe(error));
                Err(LlmError::new(LlmErrorKind::Unreachable, provider, message))
            }
            Ok(Err(error)) => Err(LlmError::new(LlmErrorKind::Unreachable, provider, describe(error))),
            Err(phase) => Err(timeout_error(provider, phase)),
        }
    }

    /// Returns the status.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Takes the headers out of the response, which has none afterwards.
    pub(super) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// Returns whether the response came over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.response.version() == Version::HTTP_2
    }

    /// Returns whether the body is JSON and no stream of events.
    pub(super) fn is_json(&self) -> bool {
        let content_type = self.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// Fails with [`LlmErrorKind::Protocol`] if it has more than `max_bytes`, with [`LlmErrorKind::Interrupted`] if it
    /// ends early, and with [`LlmErrorKind::Timeout`].
    pub(super) async fn read(mut self, max_bytes: usize) -> Result<Bytes, LlmError> {
        let mut body = Vec::new();
        let mut phase = TimeoutPhase::FirstByte;
        loop {
            match self.deadlines.wait(phase, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > max_bytes => {
                    let message = format!("the response has more than {max_bytes} bytes");
                    return Err(LlmError::new(LlmErrorKind::Protocol, self.provider, message));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(body.into()),
                Ok(Err(error)) => {
                    return Err(LlmError::new(LlmErrorKind::Interrupted, self.provider, describe(error)));
                }
                Err(phase) => return Err(timeout_error(self.provider, phase)),
            }
            phase = TimeoutPhase::Idle;
        }
    }

    /// Returns the beginning of the body of a failed response. A body that breaks off or stalls says less, but the
    /// status is known.
    pub(super) async fn read_error(mut self) -> Bytes {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES
            && let Ok(Ok(Some(chunk))) = self.deadlines.wait(TimeoutPhase::Idle, self.response.chunk()).await
        {
            let room = MAX_ERROR_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        body.into()
    }

    /// Returns the body as it arrives. Dropping it ends the request.
    pub(super) fn into_bytes(self) -> ByteStream {
        let parts = (self.response, self.lease, self.provider);
        let bytes = stream::unfold(Some(parts), |parts| async move {
            let (mut response, lease, provider) = parts?;
            match response.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some((response, lease, provider)))),
                Ok(None) => None,
                Err(error) => Some((Err(LlmError::new(LlmErrorKind::Interrupted, provider, describe(error))), None)),
            }
        });
        bytes.boxed()
    }
}

/// Returns the provider's id of the request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = REQUEST_ID_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    value.map(|text| text.chars().take(200).collect())
}

/// Returns the error of a call whose time limit has passed.
pub(super) fn timeout_error(provider: Cow<'static, str>, phase: TimeoutPhase) -> LlmError {
    let message = match phase {
        TimeoutPhase::FirstByte => "no part of the answer arrived within the time limit",
        TimeoutPhase::Idle => "the answer stalled for longer than the time limit",
        TimeoutPhase::Total => "the answer took longer than the time limit of the call",
    };
    LlmError::new(LlmErrorKind::Timeout(phase), provider, message)
}

/// Returns the causes of an error. The URL is left out, because it may be of a private network.
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
