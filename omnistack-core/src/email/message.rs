//! The mail message type.

mod attachment;
mod unsubscribe;

pub use attachment::Attachment;
pub use unsubscribe::Unsubscribe;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, Serializer, ser::Error as _};

use super::{Address, AddressError, InvalidEmail};
use crate::identity::TenantId;

/// Largest size of a mail, in bytes: no provider accepts more. See [`Email::size`].
pub const MAX_EMAIL_BYTES: u64 = 40 * 1024 * 1024;

/// A mail, as plain data: a [`Mailer`](super::Mailer) sends it directly, or a job sends it later.
///
/// ```
/// use omnistack_core::email::{Attachment, Email, Unsubscribe};
///
/// let report = Email::to("Ada Lovelace <ada@example.com>")
///     .cc("charles@example.com")
///     .subject("Your report for March")
///     .text("It is attached.")
///     .html("<p>It is attached.</p><img src=\"cid:chart\">")
///     .attach(Attachment::new("report.csv", "text/csv", "day,sales\n1,12\n"))
///     .attach(Attachment::new("chart.png", "image/png", vec![0x89, b'P']).inline("chart"))
///     .unsubscribe(Unsubscribe::one_click("https://shop.example.com/unsubscribe/2nFq"))
///     .idempotency_key("report/2030-03/ada");
/// assert!(report.from("shop@example.com").check().is_ok());
/// ```
///
/// Methods that take an address also take a text. If the text is not a valid address, the mail keeps the error:
/// [`check`](Self::check) reports it, and every attempt to send or store the mail fails with it.
///
/// Its serde form is an object of its fields, without the empty ones, and with attachments as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Email {
    /// The sender; the app's `EMAIL_FROM` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// The recipients in `To`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Address>,
    /// The recipients in `Cc`, visible to all recipients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<Address>,
    /// The recipients in `Bcc`, not visible to other recipients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<Address>,
    /// The addresses that replies go to, if not to the sender.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<Address>,
    /// The subject.
    pub subject: String,
    /// The body as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body as HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Files, and images shown by the HTML.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Extra headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<EmailHeader>,
    /// Tags, by which the provider's statistics and events distinguish mails. SMTP does not transmit them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<EmailTag>,
    /// The unsubscribe headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Unsubscribe>,
    /// The idempotency key: the same for every attempt to send the same mail. A provider that supports idempotency
    /// keys delivers the mail once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The tenant that the mail is sent for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The error of the first text that was not a valid address.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "fail_to_serialize", skip_deserializing)]
    address_error: Option<AddressError>,
}

/// Fails: a mail with an invalid address is not stored, because its fields do not show the error.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn fail_to_serialize<S: Serializer>(fault: &Option<AddressError>, _: S) -> Result<S::Ok, S::Error> {
    Err(S::Error::custom(fault.map_or(InvalidEmail::NoRecipients, InvalidEmail::Address)))
}

impl Email {
    /// Largest number of recipients of a mail, copies included. The providers' limits lie between 50 and 1000.
    pub const MAX_RECIPIENTS: usize = 50;

    /// Creates a mail to an address. [`add_to`](Self::add_to) adds more.
    pub fn to(address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        Self::default().add_to(address)
    }

    fn address(
        mut self,
        address: impl TryInto<Address, Error: Into<AddressError>>,
        put: impl FnOnce(&mut Self, Address),
    ) -> Self {
        match address.try_into() {
            Ok(address) => put(&mut self, address),
            Err(error) => _ = self.address_error.get_or_insert(error.into()),
        }
        self
    }

    /// Sets the sender. The provider must allow the app to send from this address.
    #[must_use]
    pub fn from(self, address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        self.address(address, |email, address| email.from = Some(address))
    }

    /// Adds a recipient to `To`.
    #[must_use]
    pub fn add_to(self, address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        self.address(address, |email, address| email.to.push(address))
    }

    /// Adds a recipient to `Cc`, visible to all recipients.
    #[must_use]
    pub fn cc(self, address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        self.address(address, |email, address| email.cc.push(address))
    }

    /// Adds a recipient to `Bcc`, not visible to other recipients.
    #[must_use]
    pub fn bcc(self, address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        self.address(address, |email, address| email.bcc.push(address))
    }

    /// Adds an address that replies go to.
    #[must_use]
    pub fn reply_to(self, address: impl TryInto<Address, Error: Into<AddressError>>) -> Self {
        self.address(address, |email, address| email.reply_to.push(address))
    }

    /// Sets the subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets the body as plain text. If there is [`html`](Self::html) as well, the recipient's mail program chooses.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the body as HTML.
    #[must_use]
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.html = Some(html.into());
        self
    }

    /// Adds a file, or an image shown by the HTML.
    #[must_use]
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Adds an extra header. Headers that the message sets itself, such as `Subject`, are not allowed.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(EmailHeader { name: name.into(), value: value.into() });
        self
    }

    /// Adds a tag, by which the provider's statistics and events distinguish mails.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(EmailTag { name: name.into(), value: value.into() });
        self
    }

    /// Sets how recipients unsubscribe.
    #[must_use]
    pub fn unsubscribe(mut self, unsubscribe: Unsubscribe) -> Self {
        self.unsubscribe = Some(unsubscribe);
        self
    }

    /// Sets the idempotency key, which must be the same for every attempt to send the same mail. A provider that
    /// supports idempotency keys delivers the mail once.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Sets the tenant that the mail is sent for.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Returns all recipients: `to`, `cc` and `bcc`.
    pub fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }

    /// Returns the plain text, if it is not empty.
    pub fn written_text(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns the HTML, if it is not empty.
    pub fn written_html(&self) -> Option<&str> {
        self.html.as_deref().filter(|html| !html.is_empty())
    }

    /// Returns the extra headers and the unsubscribe headers.
    pub fn all_headers(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let extra = self.headers.iter().map(|header| (header.name.as_str(), Cow::Borrowed(header.value.as_str())));
        let unsubscribe = self.unsubscribe.iter().flat_map(Unsubscribe::headers);
        extra.chain(unsubscribe.map(|(name, value)| (name, Cow::Owned(value))))
    }

    /// Returns the size of the mail, in bytes: text, HTML, and attachments as base64. Headers are not counted.
    pub fn size(&self) -> u64 {
        let text = |text: &Option<String>| text.as_deref().map_or(0, str::len) as u64;
        let attachments: u64 = self.attachments.iter().map(|file| file.content.len().div_ceil(3) as u64 * 4).sum();
        text(&self.text) + text(&self.html) + attachments
    }

    /// Validates the mail. Every provider calls this before it sends.
    ///
    /// # Errors
    /// Returns the first reason why the mail is not valid.
    pub fn check(&self) -> Result<(), InvalidEmail> {
        if let Some(fault) = self.address_error {
            return Err(fault.into());
        }
        match self.recipients().count() {
            _ if self.to.is_empty() => return Err(InvalidEmail::NoRecipients),
            many if many > Self::MAX_RECIPIENTS => return Err(InvalidEmail::TooManyRecipients(many)),
            _ => {}
        }
        if self.from.is_none() {
            return Err(InvalidEmail::NoSender);
        }
        if self.subject.trim().is_empty() {
            return Err(InvalidEmail::NoSubject);
        }
        check_header_text("the subject", &self.subject, 998)?;
        if self.written_text().is_none() && self.written_html().is_none() {
            return Err(InvalidEmail::NoBody);
        }
        self.attachments.iter().try_for_each(Attachment::check)?;
        self.headers.iter().try_for_each(EmailHeader::check)?;
        let mut names = BTreeSet::new();
        for tag in &self.tags {
            if !tag.is_valid() || !names.insert(&tag.name) {
                return Err(InvalidEmail::Tag(tag.name.clone()));
            }
        }
        self.unsubscribe.as_ref().map_or(Ok(()), Unsubscribe::check)?;
        match &self.idempotency_key {
            Some(key) if !matches!(key.len(), 1..=256) || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(InvalidEmail::IdempotencyKey);
            }
            _ => {}
        }
        match self.size() {
            size if size > MAX_EMAIL_BYTES => Err(InvalidEmail::TooLarge { size, limit: MAX_EMAIL_BYTES }),
            _ => Ok(()),
        }
    }
}

/// Checks that a header value has no control characters, which could end the header, and at most `limit` bytes.
fn check_header_text(field: &'static str, text: &str, limit: usize) -> Result<(), InvalidEmail> {
    if text.chars().any(char::is_control) {
        return Err(InvalidEmail::ControlCharacter(field));
    }
    if text.len() > limit {
        return Err(InvalidEmail::TooLong { field, limit });
    }
    Ok(())
}

/// Returns whether the text is a token of RFC 9110, section 5.6.2, which is also a token of RFC 2045, section 5.1.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// An extra header of a mail.
///
/// ```
/// use omnistack_core::email::{Email, InvalidEmail};
///
/// let mail = Email::to("ada@example.com").from("shop@example.com").subject("Away").text("I am back on Monday.");
/// let mail = mail.header("Auto-Submitted", "auto-replied");
/// assert_eq!((mail.headers[0].name.as_str(), mail.check()), ("Auto-Submitted", Ok(())));
///
/// // `Bcc` is set by the method `bcc`.
/// assert_eq!(mail.header("Bcc", "eve@example.com").check(), Err(InvalidEmail::Header("Bcc".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmailHeader {
    /// The header's name, at most 76 ASCII characters.
    pub name: String,
    /// The header's value, one line of at most 998 bytes.
    pub value: String,
}

/// Headers that the message or the mail servers set; extra headers must not have these names, nor names that begin
/// with `content-`.
const RESERVED_HEADERS: [&str; 16] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "dkim-signature",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "x-smtpapi",
];

impl EmailHeader {
    fn check(&self) -> Result<(), InvalidEmail> {
        let lower = self.name.to_ascii_lowercase();
        if !is_token(&self.name)
            || self.name.len() > 76
            || RESERVED_HEADERS.contains(&&*lower)
            || lower.starts_with("content-")
        {
            return Err(InvalidEmail::Header(self.name.clone()));
        }
        check_header_text("the value of a header", &self.value, 998)
    }
}

/// A tag, by which statistics and events distinguish mails. Name and value each have 1 to 256 ASCII letters,
/// digits, `_` and `-`.
///
/// ```
/// use omnistack_core::email::Email;
///
/// let mail = Email::to("ada@example.com").subject("Spring").text("All is new.").tag("campaign", "spring");
/// let campaign = mail.tags.iter().find(|tag| tag.name == "campaign").map(|tag| tag.value.as_str());
/// assert_eq!(campaign, Some("spring"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmailTag {
    /// The tag's name, such as `template`.
    pub name: String,
    /// The tag's value, such as `welcome`.
    pub value: String,
}

impl EmailTag {
    fn is_valid(&self) -> bool {
        [&self.name, &self.value].iter().all(|text| {
            matches!(text.len(), 1..=256)
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        })
    }
}
