//! The provider for Resend.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::http::client::Client;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Email, EmailError, EmailErrorKind, EmailProvider, EmailTag, InvalidEmail, SentMail, http_api::HttpApi};
use omnistack_core::{
    clock::Clock,
    http::{HeaderMap, HeaderName, HeaderValue},
};

/// A provider that sends mails by [Resend](https://resend.com/docs/api-reference/emails/send-email).
///
/// Resend supports idempotency keys for 24 hours: a mail with a key whose outcome is unknown may be sent again, and
/// arrives once.
///
/// ```no_run
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_messaging::email::Resend;
///
/// let client = ClientSettings::default().client()?;
/// let resend = Resend::new(client, "https://api.resend.com", &"re_…".into(), Clock::system())?;
/// # Ok::<(), omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resend(HttpApi);

impl Resend {
    /// Base URL of Resend's API.
    pub const URL: &'static str = "https://api.resend.com";

    /// Creates a provider from the app's HTTP client, the API's base URL and an API key that is allowed to send.
    ///
    /// # Errors
    /// Returns [`EmailErrorKind::Configuration`] if the URL is neither `https` nor on this machine, or if the key has
    /// characters that are not allowed in a header.
    pub fn new(client: Client, base: &str, key: &SecretString, clock: Clock) -> Result<Self, EmailError> {
        HttpApi::new(client, base, "/emails", key, clock).map(Self)
    }
}

#[async_trait]
impl EmailProvider for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn supports_idempotency_keys(&self) -> bool {
        true
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        email.check()?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &email.idempotency_key {
            let key = HeaderValue::from_str(key).map_err(|_| InvalidEmail::IdempotencyKey)?;
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        let body = serde_json::to_vec(&ResendRequest::of(email))
            .map_err(|error| EmailError::new(EmailErrorKind::Invalid, error))?;
        let taken = self.0.post(body, headers).await.map_err(in_progress)?;
        let sent = SentMail::new(self.name());
        Ok(match serde_json::from_slice::<ResendResponse>(&taken.body) {
            Ok(answer) => sent.with_provider_id(answer.id),
            // The status says that the mail was accepted, even if the body can't be read.
            Err(_) => sent,
        })
    }

    /// Lists the account's domains, for which Resend requires a key with full access. A key that may only send is
    /// valid if Resend names that as the reason for the rejection.
    async fn check_connection(&self) -> Result<(), EmailError> {
        match self.0.get("/domains").await {
            Err(error) if !error.to_string().contains("restricted_api_key") => Err(error),
            _ => Ok(()),
        }
    }
}

/// Resend is still processing an earlier request with the same key, so the outcome is unknown.
fn in_progress(error: EmailError) -> EmailError {
    if error.kind() == EmailErrorKind::Refused && error.to_string().contains("concurrent_idempotent_requests") {
        return error.with_kind(EmailErrorKind::Unknown);
    }
    error
}

#[derive(Deserialize)]
struct ResendResponse {
    id: String,
}

/// The schema `SendEmailRequest` of Resend's API description.
#[derive(Serialize)]
struct ResendRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    to: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to: Vec<String>,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<ResendAttachment<'a>>,
    #[serde(skip_serializing_if = "<[EmailTag]>::is_empty")]
    tags: &'a [EmailTag],
}

#[derive(Serialize)]
struct ResendAttachment<'a> {
    filename: &'a str,
    content: String,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

impl<'a> ResendRequest<'a> {
    fn of(email: &'a Email) -> Self {
        let list = |addresses: &[super::Address]| addresses.iter().map(ToString::to_string).collect();
        let file = |file: &'a super::Attachment| ResendAttachment {
            filename: &file.name,
            content: STANDARD.encode(&file.content),
            content_type: &file.content_type,
            content_id: file.content_id.as_deref(),
        };
        Self {
            from: email.from.as_ref().map(ToString::to_string),
            to: list(&email.to),
            cc: list(&email.cc),
            bcc: list(&email.bcc),
            reply_to: list(&email.reply_to),
            subject: &email.subject,
            text: email.written_text(),
            html: email.written_html(),
            headers: email.all_headers().map(|(name, value)| (name.into(), value.into_owned().into())).collect(),
            attachments: email.attachments.iter().map(file).collect(),
            tags: &email.tags,
        }
    }
}
