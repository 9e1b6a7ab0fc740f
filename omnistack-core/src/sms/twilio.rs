//! Twilio, by its API for messages (version 2010-04-01).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::Serializer;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{MAX_SEGMENTS, SmsError, SmsErrorKind, SmsMessage, SmsProvider, SmsSent};
use crate::{
    clock::Clock,
    http::{HeaderMap, HeaderValue, StatusCode, client::base_url, header},
    resilience::{Class, Outcome},
};

/// How much of an answer is read.
const ANSWER: usize = 64 * 1024;
/// How long handing one message over may take, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How the app shows Twilio who it is.
#[derive(Clone, Debug)]
pub enum TwilioCredentials {
    /// By the account's auth token.
    Token(SecretString),
    /// By an API key, its name (`SK…`) and its secret: it can be taken back alone.
    Key(String, SecretString),
}

/// Whom messages are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwilioFrom {
    /// A number of the account's, or a name where a country allows one.
    Sender(String),
    /// A messaging service (`MG…`), which chooses a number.
    Service(String),
}

/// Sends by Twilio. What it answers means:
///
/// | answer | kind |
/// |---|---|
/// | 2xx | taken |
/// | code 21610 | [`OptedOut`](SmsErrorKind::OptedOut) |
/// | 401, 403, 404, a redirect, a sender that is not the account's | [`Configuration`](SmsErrorKind::Configuration) |
/// | 429 | [`RateLimited`](SmsErrorKind::RateLimited) |
/// | other 4xx | [`Refused`](SmsErrorKind::Refused) |
/// | no connection | [`Unavailable`](SmsErrorKind::Unavailable) |
/// | 5xx, no answer in time, an answer that broke off | [`Unknown`](SmsErrorKind::Unknown) |
#[derive(Clone)]
pub struct Twilio {
    client: Client,
    url: Url,
    /// Marked as sensitive, so that it is never shown.
    authorization: HeaderValue,
    from: TwilioFrom,
    timeout: Duration,
    clock: Clock,
}

impl Twilio {
    /// Of an account (`AC…`), at `https://api.twilio.com` or elsewhere.
    ///
    /// # Errors
    /// Of kind [`Configuration`](SmsErrorKind::Configuration): a URL or an account that is none.
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
            return Err(wrong("the account's SID is letters and digits: AC…".into()));
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
        Ok(Self { client, url, authorization, from, timeout: TIMEOUT, clock })
    }

    /// How long handing one message over may take.
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

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SmsError {
        let class = Class::of_response(status, headers, self.clock.now());
        let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
        let kind = match (status.as_u16(), refused.code, class.outcome()) {
            // A redirect, which is not followed: this is not the API.
            (..=399 | 401 | 403 | 404, ..) => SmsErrorKind::Configuration,
            (429, ..) => SmsErrorKind::RateLimited,
            (400..=499, Some(21610), _) => SmsErrorKind::OptedOut,
            // No sender, one that is not the account's, one that can't send messages.
            (400..=499, Some(21212 | 21603 | 21606 | 21701 | 21703), _) => SmsErrorKind::Configuration,
            (_, _, Outcome::Unknown | Outcome::Success) => SmsErrorKind::Unknown,
            (_, _, Outcome::Failed) if class.is_transient() => SmsErrorKind::Unavailable,
            (_, _, Outcome::Failed) => SmsErrorKind::Refused,
        };
        let error = SmsError::new(kind, Answered { status, refused });
        match class.wait() {
            // Nobody means more than a day.
            Some(wait) => error.after(wait.min(Duration::from_hours(24))),
            None => error,
        }
    }
}

#[async_trait]
impl SmsProvider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(self.form(message));
        let mut answer = request.send().await.map_err(|error| {
            // Without a connection nothing was sent.
            let kind = match () {
                () if error.is_connect() => SmsErrorKind::Unavailable,
                () if error.is_builder() => SmsErrorKind::Configuration,
                () => SmsErrorKind::Unknown,
            };
            SmsError::new(kind, error.without_url())
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        // What was read until it ended, broke off or was too long: its status has said what became of the message.
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER {
                break;
            }
        }
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &body));
        }
        let sent = SmsSent::by(self.name());
        Ok(match serde_json::from_slice::<Taken>(&body) {
            Ok(Taken { sid }) if sid.len() <= 64 => sent.with_id(sid),
            _ => sent,
        })
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twilio").field("host", &self.url.host_str()).field("from", &self.from).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Taken {
    sid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {
    code: Option<u32>,
    message: Option<String>,
}

/// An answer that says no.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    refused: Refused,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = self.refused.code {
            write!(f, ", code {code}")?;
        }
        let message = self.refused.message.iter().flat_map(|text| text.chars());
        // Numbers are personal: Twilio repeats them in its words.
        let shown = message.map(|c| if c.is_control() || c.is_ascii_digit() { '·' } else { c }).take(300);
        write!(f, ": {}", shown.collect::<String>())
    }
}

impl std::error::Error for Answered {}
