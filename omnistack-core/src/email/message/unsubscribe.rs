//! Unsubscribe headers of mails.

use serde::{Deserialize, Serialize};

use super::{Address, InvalidEmail};

/// Returns the mailbox as it is written in a `mailto:` URL (RFC 6068, section 2).
fn escaped(address: &Address) -> String {
    const ESCAPED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-').remove(b'~').remove(b'+');
    format!("{}@{}", percent_encoding::utf8_percent_encode(address.local(), ESCAPED), address.domain())
}

/// The unsubscribe headers of a mail: `List-Unsubscribe` (RFC 2369) and `List-Unsubscribe-Post` (RFC 8058).
///
/// Large mailbox providers require [`one_click`](Self::one_click) from senders of bulk mail.
///
/// ```
/// use omnistack_core::email::Unsubscribe;
///
/// let unsubscribe = Unsubscribe::one_click("https://shop.example.com/unsubscribe/2nFq")
///     .or_mail("stop@shop.example.com".parse()?);
/// assert_eq!(unsubscribe.headers().collect::<Vec<_>>(), [
///     ("List-Unsubscribe", "<https://shop.example.com/unsubscribe/2nFq>, <mailto:stop@shop.example.com>".into()),
///     ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()),
/// ]);
/// # Ok::<(), omnistack_core::email::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unsubscribe {
    /// The URL of the page, at most 900 ASCII characters.
    pub url: String,
    /// Whether one POST to the URL unsubscribes without a confirmation.
    pub one_click: bool,
    /// An address where a mail unsubscribes as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Address>,
}

impl Unsubscribe {
    /// Creates a one-click unsubscription: one POST to this `https` URL, sent by the recipient's mailbox provider,
    /// unsubscribes. The URL must need no cookie and no sign-in, and a GET must not unsubscribe (RFC 8058, section
    /// 3).
    pub fn one_click(url: impl Into<String>) -> Self {
        Self { url: url.into(), one_click: true, mail: None }
    }

    /// Creates an unsubscription by a page that asks the recipient for a confirmation.
    pub fn page(url: impl Into<String>) -> Self {
        Self { one_click: false, ..Self::one_click(url) }
    }

    /// Adds an address where a mail unsubscribes as well.
    #[must_use]
    pub fn or_mail(mut self, address: Address) -> Self {
        self.mail = Some(address);
        self
    }

    /// Returns the headers, as names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mail = self.mail.as_ref().map(|mail| format!(", <mailto:{}>", escaped(mail))).unwrap_or_default();
        let post = self.one_click.then(|| ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
        [("List-Unsubscribe", format!("<{}>{mail}", self.url))].into_iter().chain(post)
    }

    pub(super) fn check(&self) -> Result<(), InvalidEmail> {
        let scheme = self.url.starts_with("https://") || (!self.one_click && self.url.starts_with("http://"));
        let characters = self.url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b','));
        if scheme && characters && self.url.len() <= 900 { Ok(()) } else { Err(InvalidEmail::Unsubscribe) }
    }
}
