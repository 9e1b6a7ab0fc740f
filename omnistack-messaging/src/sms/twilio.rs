//! The provider for Twilio, by its Messages API (version 2010-04-01).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::Serializer;
use omnistack_core::http::client::{Client, RequestBuilder};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{MAX_SEGMENTS, SentSms, SmsError, SmsErrorKind, SmsMessage, SmsProvider};
use omnistack_core::{
    clock::Clock,
    http::{HeaderMap, HeaderValue, StatusCode, client::base_url, header},
    resilience::{Classification, Outcome},
};

/// Largest part of a response body that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Default limit on the duration of sending one message.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// The credentials for Twilio's API.
#[derive(Clone, Debug)]
pub enum TwilioCredentials {
    /// The account's auth token.
    Token(SecretString),
    /// An API key: its SID (`SK…`) and its secret. It can be revoked without changing the auth token.
    Key(String, SecretString),
}

/// The sender of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwilioFrom {
    /// A number of the account, or a name in countries that allow it.
    Sender(String),
    /// A messaging service (`MG…`), which chooses a number.
    Service(String),
}

/// A provider that sends messages by Twilio. It maps responses to error kinds:
///
/// | response | kind |
/// |---|---|
/// | 2xx | accepted, no error |
/// | error code 21610 | [`OptedOut`](SmsErrorKind::OptedOut) |
/// | 401, 403, 404, a redirect, a sender that is not the account's | [`Configuration`](SmsErrorKind::Configuration) |
/// | 429 | [`RateLimited`](SmsErrorKind::RateLimited) |
/// | other 4xx | [`Refused`](SmsErrorKind::Refused) |
/// | no connection | [`Unavailable`](SmsErrorKind::Unavailable) |
/// | 5xx, no response in time, an incomplete response | [`Unknown`](SmsErrorKind::Unknown) |
#[derive(Clone)]
pub struct Twilio {
    client: Client,
    url: Url,
    /// Marked as sensitive, so that it is never logged.
    authorization: HeaderValue,
    from: TwilioFrom,
    timeout: Duration,
    clock: Clock,
}

impl Twilio {
    /// Creates a provider for an account (`AC…`), with the base URL of the API, which is usually
    /// `https://api.twilio.com`.
    ///
    /// # Errors
    /// Returns [`SmsErrorKind::Configuration`] if the URL, the account's SID or the credentials are not valid.
    pub fn new(
        client: Client,
        base: &str,
        account: &str,
        credentials: &TwilioCredentials,
        from: TwilioFrom,
        clock: Clock,
    ) -> Result<Self, SmsError> {
        let wrong = |what: String| SmsError::new(SmsErrorKind::Configuration, what);
        let mut url = base_url(base).map_err(|error| wrong(format!("the API's URL: {error}")))?;
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(wrong("the account's SID must consist of letters and digits: AC…".into()));
        }
        let path = format!("{}/2010-04-01/Accounts/{account}/Messages.json", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let (user, secret) = match credentials {
            TwilioCredentials::Token(token) => (account, token),
            TwilioCredentials::Key(key, secret) => (key.as_str(), secret),
        };
        let basic = STANDARD.encode(format!("{user}:{}", secret.expose_secret()));
        let mut authorization =
            HeaderValue::from_str(&format!("Basic {basic}")).map_err(|error| wrong(error.to_string()))?;
        authorization.set_sensitive(true);
        Ok(Self { client, url, authorization, from, timeout: DEFAULT_TIMEOUT, clock })
    }

    /// Sets how long sending one message may take. Default: 15 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn form(&self, message: &SmsMessage) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", message.to.as_str());
        match &self.from {
            TwilioFrom::Sender(from) => form.append_pair("From", from),
            TwilioFrom::Service(service) => form.append_pair("MessagingServiceSid", service),
        };
        form.append_pair("Body", &message.text);
        if let Some(url) = &message.status_url {
            form.append_pair("StatusCallback", url);
        }
        form.finish()
    }

    fn error_from_response(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SmsError {
        let class = Classification::from_response(status, headers, self.clock.now());
        let refused: TwilioErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let kind = match (status.as_u16(), refused.code, class.outcome()) {
            // A redirect is not followed: the URL is not that of the API.
            (..=399 | 401 | 403 | 404, ..) => SmsErrorKind::Configuration,
            (429, ..) => SmsErrorKind::RateLimited,
            (400..=499, Some(21610), _) => SmsErrorKind::OptedOut,
            // There is no sender, it does not belong to the account, or it can't send messages.
            (400..=499, Some(21212 | 21603 | 21606 | 21701 | 21703), _) => SmsErrorKind::Configuration,
            (_, _, Outcome::Unknown | Outcome::Success) => SmsErrorKind::Unknown,
            (_, _, Outcome::Failed) if class.is_transient() => SmsErrorKind::Unavailable,
            (_, _, Outcome::Failed) => SmsErrorKind::Refused,
        };
        let error = SmsError::new(kind, TwilioRejection { status, refused });
        match class.retry_delay() {
            // Longer waits than a day are not plausible.
            Some(wait) => error.with_retry_after(wait.min(Duration::from_hours(24))),
            None => error,
        }
    }
}

#[async_trait]
impl SmsProvider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(self.form(message));
        let (status, headers, body) = response(request).await?;
        if !status.is_success() {
            return Err(self.error_from_response(status, &headers, &body));
        }
        let sent = SentSms::new(self.name());
        Ok(match serde_json::from_slice::<TwilioAccepted>(&body) {
            Ok(TwilioAccepted { sid }) if sid.len() <= 64 => sent.with_provider_id(sid),
            _ => sent,
        })
    }

    /// Lists one message of the account, and ignores it. A restricted API key that may not list messages is valid if
    /// Twilio responds with 403.
    async fn check_connection(&self) -> Result<(), SmsError> {
        let mut url = self.url.clone();
        url.set_query(Some("PageSize=1"));
        let request = self.client.get(url).timeout(self.timeout);
        let request = request.header(header::AUTHORIZATION, self.authorization.clone());
        let (status, headers, body) = response(request).await?;
        if status.is_success() || status == StatusCode::FORBIDDEN {
            return Ok(());
        }
        Err(self.error_from_response(status, &headers, &body))
    }
}

/// Sends a request, and returns the status, the headers and the body of the response. The body is read until it ends,
/// the connection breaks or the limit is reached. An incomplete body is no error: the status alone decides whether a
/// message was accepted.
async fn response(request: RequestBuilder) -> Result<(StatusCode, HeaderMap, Vec<u8>), SmsError> {
    let mut answer = request.send().await.map_err(|error| {
        // Without a connection, nothing was sent.
        let kind = match () {
            () if error.is_connect() => SmsErrorKind::Unavailable,
            () if error.is_builder() => SmsErrorKind::Configuration,
            () => SmsErrorKind::Unknown,
        };
        SmsError::new(kind, error.without_url())
    })?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            break;
        }
    }
    Ok((status, headers, body))
}

impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twilio").field("host", &self.url.host_str()).field("from", &self.from).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TwilioAccepted {
    sid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TwilioErrorBody {
    code: Option<u32>,
    message: Option<String>,
}

/// A response with an error status.
#[derive(Debug)]
struct TwilioRejection {
    status: StatusCode,
    refused: TwilioErrorBody,
}

impl fmt::Display for TwilioRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = self.refused.code {
            write!(f, ", code {code}")?;
        }
        let message = self.refused.message.iter().flat_map(|text| text.chars());
        // Digits are hidden, because Twilio repeats numbers, which are personal data, in its messages.
        let shown = message.map(|c| if c.is_control() || c.is_ascii_digit() { '·' } else { c }).take(300);
        write!(f, ": {}", shown.collect::<String>())
    }
}

impl std::error::Error for TwilioRejection {}
