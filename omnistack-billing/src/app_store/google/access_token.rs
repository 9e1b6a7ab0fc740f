//! The access token of the service account, kept for as long as it is valid.

use std::time::Duration;

use omnistack_core::{
    clock::{Clock, Timestamp},
    http::client::Client,
};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    api::{self, GooglePlayError},
    service_account::ServiceAccount,
};

/// Time before the expiry of a token from which on it is replaced.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The access tokens of a service account.
pub(super) struct AccessTokens {
    account: ServiceAccount,
    /// The token and when it expires. It is locked during a request, so that there is one at a time.
    current: Mutex<Option<(String, Timestamp)>>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: u64,
}

impl AccessTokens {
    pub(super) fn new(account: ServiceAccount) -> Self {
        Self { account, current: Mutex::new(None) }
    }

    /// Returns a token, and asks Google for a new one if the last is about to expire.
    pub(super) async fn get(&self, client: &Client, clock: &Clock) -> Result<String, GooglePlayError> {
        let mut current = self.current.lock().await;
        let now = clock.now();
        if let Some((token, expires_at)) = &*current
            && now + EXPIRY_MARGIN < *expires_at
        {
            return Ok(token.clone());
        }
        let assertion = self.account.assertion(now).ok_or_else(|| {
            GooglePlayError::Unauthorized("the private key of the service account could not sign".to_owned())
        })?;
        // The characters of an assertion need no encoding in a form.
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = client
            .post(self.account.token_url())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let (status, body) = api::send(request).await?;
        // Google explains a rejected assertion with 400.
        if matches!(status, 400 | 401 | 403) {
            return Err(GooglePlayError::Unauthorized(api::message(&body)));
        }
        let body = api::success(status, body)?;
        let TokenResponse { access_token, expires_in } = api::parse(&body)?;
        *current = Some((access_token.clone(), now + Duration::from_secs(expires_in)));
        Ok(access_token)
    }

    /// Forgets the token, which Google has rejected.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }
}
