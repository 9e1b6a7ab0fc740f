//! HTTP client shared by the mail providers with an HTTP API.

use std::time::Duration;

use omnistack_core::http::client::{Client, RequestBuilder};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::{EmailError, EmailErrorKind};
use omnistack_core::{
    clock::Clock,
    http::{HeaderMap, HeaderValue, StatusCode, client::base_url, header},
    resilience::{Classification, Outcome},
};

/// Largest part of a response body that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// An HTTP endpoint that accepts a mail as JSON.
#[derive(Clone, Debug)]
pub(crate) struct HttpApi {
    client: Client,
    url: Url,
    /// The end of the URL's path, after that of the API's base URL.
    path: &'static str,
    /// Marked as sensitive, so that it is never logged.
    authorization: HeaderValue,
    clock: Clock,
}

/// A response with a success status: the provider accepted the mail.
pub(crate) struct AcceptedResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl HttpApi {
    pub(crate) fn new(
        client: Client,
        base: &str,
        path: &'static str,
        key: &SecretString,
        clock: Clock,
    ) -> Result<Self, EmailError> {
        let configuration = |message: String| EmailError::new(EmailErrorKind::Configuration, message);
        let mut url = base_url(base).map_err(|error| configuration(format!("the API's URL: {error}")))?;
        let joined = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| configuration("the API key has characters that are not allowed in a header".into()))?;
        authorization.set_sensitive(true);
        Ok(Self { client, url, path, authorization, clock })
    }

    /// Posts a mail. Fails with the [`ErrorKind`] that matches the response, or the connection error.
    pub(crate) async fn post(&self, body: Vec<u8>, headers: HeaderMap) -> Result<AcceptedResponse, EmailError> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        self.response(request).await
    }

    /// Sends a GET request to another path of the API, with the API key. Fails like [`post`](Self::post).
    pub(crate) async fn get(&self, path: &str) -> Result<AcceptedResponse, EmailError> {
        let mut url = self.url.clone();
        let base = url.path().strip_suffix(self.path).unwrap_or_default().to_owned();
        url.set_path(&format!("{base}{path}"));
        let request = self.client.get(url).header(header::AUTHORIZATION, self.authorization.clone());
        self.response(request).await
    }

    async fn response(&self, request: RequestBuilder) -> Result<AcceptedResponse, EmailError> {
        let answer = request.send().await.map_err(|error| {
            // Without a connection, nothing was sent.
            let kind = match () {
                () if error.is_connect() => EmailErrorKind::Unavailable,
                () if error.is_builder() => EmailErrorKind::Configuration,
                () => EmailErrorKind::Unknown,
            };
            EmailError::new(kind, error.without_url())
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = read_body(answer).await;
        if status.is_success() {
            return Ok(AcceptedResponse { headers, body });
        }
        Err(self.error_from_response(status, &headers, &body))
    }

    fn error_from_response(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> EmailError {
        let class = Classification::from_response(status, headers, self.clock.now());
        let kind = match (status.as_u16(), class.outcome()) {
            // A redirect is not followed: the URL is not that of the API.
            (..=399, _) => EmailErrorKind::Configuration,
            (401 | 403 | 404, _) => EmailErrorKind::Configuration,
            (429, _) => EmailErrorKind::RateLimited,
            (_, Outcome::Unknown | Outcome::Success) => EmailErrorKind::Unknown,
            (_, Outcome::Failed) if class.is_transient() => EmailErrorKind::Unavailable,
            (_, Outcome::Failed) => EmailErrorKind::Refused,
        };
        let error = EmailError::new(kind, RejectedResponse { status, text: body_excerpt(body) });
        match class.retry_delay() {
            // Longer waits than a day are not plausible.
            Some(wait) => error.with_retry_after(wait.min(Duration::from_hours(24))),
            None => error,
        }
    }
}

/// Reads the response body until it ends, the connection breaks or the limit is reached. An incomplete body is no
/// error: the status alone decides whether the mail was accepted.
async fn read_body(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            break;
        }
    }
    body
}

/// Returns the first 500 characters of a response body, with control characters replaced by spaces.
fn body_excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(500).collect()
}

/// A response with an error status.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {text}")]
struct RejectedResponse {
    status: StatusCode,
    text: String,
}
