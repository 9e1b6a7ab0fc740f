//! The provider for SendGrid.

use std::collections::HashSet;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::http::client::Client;
use secrecy::SecretString;
use serde::Serialize;

use super::{Address, Email, EmailError, EmailErrorKind, EmailProvider, InvalidEmail, SentMail, http_api::HttpApi};
use omnistack_core::{clock::Clock, http::HeaderMap};

/// A provider that sends mails by SendGrid's [v3
/// API](https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send).
///
/// SendGrid does not support idempotency keys: a mail with an unknown outcome that is sent again may arrive twice.
/// Tags are sent as `custom_args`, which SendGrid's events contain. A recipient that is listed more than once is
/// sent only once, at its first position.
///
/// ```no_run
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_messaging::email::SendGrid;
///
/// let client = ClientSettings::default().client()?;
/// let sendgrid = SendGrid::new(client, "https://api.sendgrid.com", &"SG.…".into(), Clock::system())?;
/// # Ok::<(), omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SendGrid(HttpApi);

/// Largest mail that SendGrid accepts, in bytes.
const MAX_MAIL_BYTES: u64 = 30 * 1024 * 1024;

impl SendGrid {
    /// Base URL of SendGrid's API. For senders in the European Union: `https://api.eu.sendgrid.com`.
    pub const URL: &'static str = "https://api.sendgrid.com";

    /// Creates a provider from the app's HTTP client, the API's base URL and an API key that is allowed to send.
    ///
    /// # Errors
    /// Returns [`EmailErrorKind::Configuration`] if the URL is neither `https` nor on this machine, or if the key has
    /// characters that are not allowed in a header.
    pub fn new(client: Client, base: &str, key: &SecretString, clock: Clock) -> Result<Self, EmailError> {
        HttpApi::new(client, base, "/v3/mail/send", key, clock).map(Self)
    }
}

#[async_trait]
impl EmailProvider for SendGrid {
    fn name(&self) -> &'static str {
        "sendgrid"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        email.check()?;
        if email.size() > MAX_MAIL_BYTES {
            return Err(InvalidEmail::TooLarge { size: email.size(), limit: MAX_MAIL_BYTES }.into());
        }
        let body = serde_json::to_vec(&SendGridRequest::of(email)?)
            .map_err(|error| EmailError::new(EmailErrorKind::Invalid, error))?;
        let taken = self.0.post(body, HeaderMap::new()).await?;
        let sent = SentMail::new(self.name());
        Ok(match taken.headers.get("x-message-id").and_then(|id| id.to_str().ok()) {
            Some(id) => sent.with_provider_id(id),
            None => sent,
        })
    }

    /// Reads the scopes of the API key, which every valid key may do.
    async fn check_connection(&self) -> Result<(), EmailError> {
        self.0.get("/v3/scopes").await.map(drop)
    }
}

#[derive(Serialize)]
struct SendGridRequest<'a> {
    personalizations: [SendGridPersonalization<'a>; 1],
    from: SendGridAddress<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to_list: Vec<SendGridAddress<'a>>,
    subject: &'a str,
    content: Vec<SendGridContent<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<SendGridAttachment<'a>>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    custom_args: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct SendGridPersonalization<'a> {
    to: Vec<SendGridAddress<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<SendGridAddress<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<SendGridAddress<'a>>,
}

#[derive(Serialize)]
struct SendGridAddress<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct SendGridContent<'a> {
    r#type: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct SendGridAttachment<'a> {
    content: String,
    r#type: &'a str,
    filename: &'a str,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

impl<'a> SendGridAddress<'a> {
    fn of(address: &'a Address) -> Self {
        Self { email: address.mailbox(), name: address.name() }
    }
}

impl<'a> SendGridRequest<'a> {
    fn of(email: &'a Email) -> Result<Self, InvalidEmail> {
        let mut seen = HashSet::new();
        // SendGrid refuses a mail with a duplicate recipient.
        let mut once = |addresses: &'a [Address]| -> Vec<SendGridAddress<'a>> {
            let fresh = addresses.iter().filter(|address| seen.insert(address.normalized()));
            fresh.map(SendGridAddress::of).collect()
        };
        let recipients = SendGridPersonalization { to: once(&email.to), cc: once(&email.cc), bcc: once(&email.bcc) };
        let mut replies = HashSet::new();
        let reply_to = email.reply_to.iter().filter(|address| replies.insert(address.normalized()));
        // SendGrid requires this order.
        let content = [("text/plain", email.written_text()), ("text/html", email.written_html())];
        let content = content.into_iter().filter_map(|(r#type, value)| Some(SendGridContent { r#type, value: value? }));
        let file = |file: &'a super::Attachment| SendGridAttachment {
            content: STANDARD.encode(&file.content),
            r#type: &file.content_type,
            filename: &file.name,
            disposition: if file.content_id.is_some() { "inline" } else { "attachment" },
            content_id: file.content_id.as_deref(),
        };
        Ok(Self {
            personalizations: [recipients],
            from: email.from.as_ref().map(SendGridAddress::of).ok_or(InvalidEmail::NoSender)?,
            reply_to_list: reply_to.map(SendGridAddress::of).collect(),
            subject: &email.subject,
            content: content.collect(),
            attachments: email.attachments.iter().map(file).collect(),
            headers: email.all_headers().map(|(name, value)| (name.into(), value.into_owned().into())).collect(),
            custom_args: email.tags.iter().map(|tag| (tag.name.clone(), tag.value.clone().into())).collect(),
        })
    }
}
