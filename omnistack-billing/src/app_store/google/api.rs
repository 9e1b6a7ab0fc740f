//! Calls to the Google Play Developer API.

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    http::client::{Client, RequestBuilder},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{access_token::AccessTokens, purchase::GooglePurchase, service_account::ServiceAccount};

/// Timeout of a call, from the connection to the last byte of the response.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// Maximum length of a message of Google that is shown, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// The error of a call to Google.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::app_store) enum GooglePlayError {
    /// Google has no such purchase, or no longer.
    #[error("Google Play has no such purchase")]
    NotFound,
    /// Google rejects the credentials of the service account.
    #[error("Google Play rejects the service account: {0}")]
    Unauthorized(String),
    /// Google rejects the request.
    #[error("Google Play rejects the request: {0}")]
    Rejected(String),
    /// There was no conclusive response.
    #[error("Google Play could not be asked: {0}")]
    Unavailable(String),
}

/// The API of Google Play for one app. Cheap to clone.
#[derive(Clone)]
pub(in crate::app_store) struct GooglePlay(Arc<GooglePlayInner>);

struct GooglePlayInner {
    client: Client,
    clock: Clock,
    /// The URL of the API without a slash at its end.
    base: String,
    package: String,
    tokens: AccessTokens,
}

impl GooglePlay {
    pub(super) fn new(client: Client, clock: Clock, base: String, package: String, account: ServiceAccount) -> Self {
        let tokens = AccessTokens::new(account);
        Self(Arc::new(GooglePlayInner { client, clock, base, package, tokens }))
    }

    /// Returns the package name of the app.
    pub(in crate::app_store) fn package(&self) -> &str {
        &self.0.package
    }

    /// Returns a purchase (`purchases.subscriptionsv2.get`). The token must be one that
    /// [`is_purchase_token`](super::is_purchase_token) accepts.
    pub(in crate::app_store) async fn purchase(&self, token: &str) -> Result<GooglePurchase, GooglePlayError> {
        let version = self.0.clock.now().as_micros();
        let url = format!("{}/purchases/subscriptionsv2/tokens/{token}", self.prefix());
        let body = self.call(self.0.client.get(url)).await?;
        GooglePurchase::read(token, &parse::<Value>(&body)?, version)
            .ok_or_else(|| GooglePlayError::Unavailable("the response has no subscription".to_owned()))
    }

    /// Tells Google that the customer has what was bought (`purchases.subscriptions.acknowledge`).
    pub(in crate::app_store) async fn acknowledge(&self, product: &str, token: &str) -> Result<(), GooglePlayError> {
        let url = format!("{}/purchases/subscriptions/{product}/tokens/{token}:acknowledge", self.prefix());
        let request = self.0.client.post(url).header("content-type", "application/json").body("{}");
        self.call(request).await.map(drop)
    }

    fn prefix(&self) -> String {
        format!("{}/androidpublisher/v3/applications/{}", self.0.base, self.0.package)
    }

    /// Sends an authenticated request and returns the body of the response.
    async fn call(&self, request: RequestBuilder) -> Result<Vec<u8>, GooglePlayError> {
        let token = self.0.tokens.get(&self.0.client, &self.0.clock).await?;
        let (status, body) = send(request.bearer_auth(&token)).await?;
        if status == 401 {
            // It may have been revoked; the next call gets another one.
            self.0.tokens.forget().await;
        }
        success(status, body)
    }
}

/// Sends a request, and returns the status and the body of the response.
pub(super) async fn send(request: RequestBuilder) -> Result<(u16, Vec<u8>), GooglePlayError> {
    let unavailable = |error: &dyn fmt::Display| GooglePlayError::Unavailable(error.to_string());
    let sent = request.timeout(CALL_TIMEOUT).send().await;
    // The URL has the token of the purchase.
    let mut response = sent.map_err(|error| unavailable(&error.without_url()))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(&error.without_url()))? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(GooglePlayError::Unavailable("the response has more than 1 MiB".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), body))
}

/// Returns the body of a response of success.
pub(super) fn success(status: u16, body: Vec<u8>) -> Result<Vec<u8>, GooglePlayError> {
    match status {
        200..=299 => Ok(body),
        // 410 for a purchase that ended more than 60 days ago.
        404 | 410 => Err(GooglePlayError::NotFound),
        401 | 403 => Err(GooglePlayError::Unauthorized(message(&body))),
        429 => Err(GooglePlayError::Unavailable(message(&body))),
        400..=499 => Err(GooglePlayError::Rejected(message(&body))),
        _ => Err(GooglePlayError::Unavailable(format!("responded with status {status}"))),
    }
}

/// Parses a body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, GooglePlayError> {
    serde_json::from_slice(body).map_err(|error| GooglePlayError::Unavailable(error.to_string()))
}

/// Returns the message in the body of an error.
pub(super) fn message(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = ["/error/message", "/error_description", "/error"].iter().find_map(|path| body.pointer(path)?.as_str());
    text.unwrap_or("no reason is given").chars().take(MAX_MESSAGE_CHARS).collect()
}

impl fmt::Debug for GooglePlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GooglePlay").field("package", &self.0.package).finish_non_exhaustive()
    }
}
