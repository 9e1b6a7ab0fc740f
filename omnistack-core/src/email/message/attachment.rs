//! Attachments of mails.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{InvalidEmail, check_header_text, is_token};

/// An attachment of a mail: a file, or an inline image shown by the HTML.
///
/// ```
/// use omnistack_core::email::{Attachment, Email, InvalidEmail};
///
/// let invoice = Attachment::new("2030-0017.xml", "application/xml", "<invoice/>");
/// let logo = Attachment::new("logo.png", "image/png", b"\x89PNG".as_slice()).inline("logo");
/// let mail = Email::to("ada@example.com").from("shop@example.com").subject("Your invoice");
/// let mail = mail.html("<img src=\"cid:logo\"><p>It is attached.</p>").attach(invoice).attach(logo);
/// assert_eq!(mail.check(), Ok(()));
///
/// let odd = mail.attach(Attachment::new("notes", "notes", "…"));
/// assert_eq!(odd.check(), Err(InvalidEmail::Attachment("notes".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Attachment {
    /// The file name, shown to the recipient, at most 255 bytes.
    pub name: String,
    /// The media type, such as `image/png` or `text/plain; charset=utf-8`; at most 255 bytes.
    pub content_type: String,
    /// The content.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub content: Bytes,
    /// The content id by which the HTML shows the image, `<img src="cid:chart">`. If absent, the attachment is a
    /// file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

impl Attachment {
    /// Creates an attachment that is a file.
    pub fn new(name: impl Into<String>, content_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { name: name.into(), content_type: content_type.into(), content: content.into(), content_id: None }
    }

    /// Makes the attachment an inline image with this content id, which the HTML refers to as `cid:…`. The id has 1
    /// to 128 ASCII letters, digits, `.`, `_`, `-` and `@`.
    #[must_use]
    pub fn inline(mut self, content_id: impl Into<String>) -> Self {
        self.content_id = Some(content_id.into());
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidEmail> {
        check_header_text("the name of an attachment", &self.name, 255)?;
        check_header_text("the media type of an attachment", &self.content_type, 255)?;
        let essence = self.content_type.split(';').next().unwrap_or_default().trim();
        let media_type = essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
            && self.content_type.is_ascii()
            && !essence.starts_with("multipart/");
        let content_id = self.content_id.as_deref().is_none_or(|id| {
            matches!(id.len(), 1..=128)
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
        });
        if self.name.is_empty() || !media_type || !content_id {
            return Err(InvalidEmail::Attachment(self.name.clone()));
        }
        Ok(())
    }
}

fn to_base64<S: Serializer>(content: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(content))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
}
