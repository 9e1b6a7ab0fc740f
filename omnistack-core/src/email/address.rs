//! Email addresses.

use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::config::SettingValue;

/// An email address: a mailbox and an optional display name. It is valid by construction, so it can be put into a
/// header or an SMTP command.
///
/// ```
/// use omnistack_core::email::Address;
///
/// let ada: Address = "Ada Lovelace <ada@example.com>".parse()?;
/// assert_eq!((ada.name(), ada.mailbox()), (Some("Ada Lovelace"), "ada@example.com"));
///
/// // International domain names are kept in their ASCII form (RFC 5890).
/// assert_eq!(Address::new("info@bücher.example")?.mailbox(), "info@xn--bcher-kva.example");
///
/// assert!("ada@example.com, eve@example.com".parse::<Address>().is_err());
/// assert!("ada@example.com\r\nBcc: eve@example.com".parse::<Address>().is_err());
/// # Ok::<(), omnistack_core::email::AddressError>(())
/// ```
///
/// The syntax is narrower than RFC 5322, as that of mail providers is. The local part is a dot-atom of ASCII
/// characters: quoted local parts (`"a b"@example.com`), local parts with other characters (RFC 6531) and address
/// literals (`a@[192.0.2.1]`) are rejected. The case of the local part is kept; the domain is lowercased.
///
/// Its serde form and its text form are `Ada Lovelace <ada@example.com>`, with the name in quotes if it needs them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    mailbox: String,
    /// Byte offset of the `@` in `mailbox`.
    at: usize,
    name: Option<String>,
}

impl Address {
    /// Creates an address without a name from a mailbox such as `ada@example.com`.
    ///
    /// # Errors
    /// Returns an [`AddressError`] if the text is not a valid mailbox.
    pub fn new(mailbox: &str) -> Result<Self, AddressError> {
        let (local, domain) = mailbox.rsplit_once('@').ok_or(AddressError::Syntax)?;
        if local.len() > 64 {
            return Err(AddressError::LocalTooLong);
        }
        if !is_dot_atom(local) {
            return Err(AddressError::Local);
        }
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| AddressError::Domain)?;
        if local.len() + 1 + domain.len() > 254 {
            return Err(AddressError::TooLong);
        }
        Ok(Self { mailbox: format!("{local}@{domain}"), at: local.len(), name: None })
    }

    /// Sets the display name. A name that is blank removes it.
    ///
    /// # Errors
    /// Returns [`AddressError::NameControlCharacter`] if the name has a control character, and
    /// [`AddressError::NameTooLong`] if it has more than 255 bytes.
    pub fn with_name(mut self, name: &str) -> Result<Self, AddressError> {
        let name = name.trim();
        if name.chars().any(char::is_control) {
            return Err(AddressError::NameControlCharacter);
        }
        if name.len() > 255 {
            return Err(AddressError::NameTooLong);
        }
        self.name = (!name.is_empty()).then(|| name.into());
        Ok(self)
    }

    /// Returns the mailbox, such as `ada@example.com`, with its domain in ASCII.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// Returns the mailbox in its normal form, in which addresses are compared and stored: the domain in ASCII (RFC
    /// 5890), and all of it in lower case. Mailboxes that differ only by case are treated as one; RFC 5321, section
    /// 2.4, would allow them to differ, but mail providers do not.
    ///
    /// ```
    /// use omnistack_core::email::Address;
    ///
    /// let spellings = ["Ida@exämple.com", "ida@EXÄMPLE.com", "IDA@xn--exmple-cua.com"];
    /// for spelling in spellings {
    ///     assert_eq!(Address::new(spelling)?.normalized(), "ida@xn--exmple-cua.com");
    /// }
    /// # Ok::<(), omnistack_core::email::AddressError>(())
    /// ```
    pub fn normalized(&self) -> String {
        self.mailbox.to_ascii_lowercase()
    }

    /// Returns the local part, before the `@`: at most 64 bytes.
    pub fn local(&self) -> &str {
        &self.mailbox[..self.at]
    }

    /// Returns the domain, after the `@`, in lower case and ASCII.
    pub fn domain(&self) -> &str {
        &self.mailbox[self.at + 1..]
    }

    /// Returns the display name, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Returns whether the text is a dot-atom (RFC 5322, section 3.2.3).
fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

const fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~')
}

/// Returns whether a name needs no quotes: it has only atoms, dots, spaces and characters beyond ASCII.
fn is_phrase(name: &str) -> bool {
    name.bytes().all(|byte| is_atext(byte) || matches!(byte, b' ' | b'.' | 0x80..))
}

/// Removes the quotes and backslashes of a quoted name. Fails if the quotes do not match, or if an unquoted name
/// needs quotes.
fn unquoted(name: &str) -> Result<Cow<'_, str>, AddressError> {
    let Some(inner) = name.strip_prefix('"') else {
        return if is_phrase(name) { Ok(name.into()) } else { Err(AddressError::Syntax) };
    };
    let inner = inner.strip_suffix('"').ok_or(AddressError::Syntax)?;
    let (mut plain, mut characters) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(character) = characters.next() {
        plain.push(match character {
            '"' => return Err(AddressError::Syntax),
            '\\' => characters.next().ok_or(AddressError::Syntax)?,
            other => other,
        });
    }
    Ok(plain.into())
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches(' ');
        match text.strip_suffix('>').map(|rest| rest.rsplit_once('<').ok_or(AddressError::Syntax)).transpose()? {
            None => Self::new(text),
            Some((name, mailbox)) => Self::new(mailbox)?.with_name(&unquoted(name.trim_matches(' '))?),
        }
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str(&self.mailbox),
            Some(name) if is_phrase(name) => write!(f, "{name} <{}>", self.mailbox),
            Some(name) => {
                write!(f, "\"{}\" <{}>", name.replace('\\', "\\\\").replace('"', "\\\""), self.mailbox)
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The reason why a text is not a valid address. It does not contain the text, which is personal data.
///
/// ```
/// use omnistack_core::{email::{Address, AddressError}, http::{Error, FieldError, StatusCode}};
///
/// fn address(text: &str) -> Result<Address, Error> {
///     text.parse().map_err(|error: AddressError| match error {
///         AddressError::Syntax => Error::invalid([FieldError::new("email", "is not an email address")]),
///         other => Error::invalid([FieldError::new("email", other.to_string())]),
///     })
/// }
///
/// assert_eq!("ada@".parse::<Address>(), Err(AddressError::Domain));
/// assert_eq!(address("ada").unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is neither `ada@example.com` nor `Ada Lovelace <ada@example.com>`, or is more than one address.
    #[error("expected `ada@example.com` or `Ada Lovelace <ada@example.com>`")]
    Syntax,
    /// The local part is empty or has characters that are not allowed.
    #[error("the part before the @ must consist of ASCII letters, digits, dots between them, or !#$%&'*+/=?^_`{{|}}~-")]
    Local,
    /// The local part has more than 64 bytes (RFC 5321, section 4.5.3.1.1).
    #[error("the part before the @ has more than 64 characters")]
    LocalTooLong,
    /// The domain is not valid.
    #[error("the part after the @ is not a valid domain")]
    Domain,
    /// The mailbox has more than 254 bytes (RFC 5321, section 4.5.3.1.3).
    #[error("the address has more than 254 characters")]
    TooLong,
    /// The name has a line break or another control character.
    #[error("the name has a line break or another control character")]
    NameControlCharacter,
    /// The name has more than 255 bytes.
    #[error("the name has more than 255 bytes")]
    NameTooLong,
}

impl From<Infallible> for AddressError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl SettingValue for Address {
    const EXPECTED: &'static str = "mail address, e.g. Shop <shop@example.com>";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("is not a mail address: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn domains_are_converted_by_uts_46() {
        let bidirectional = [("\u{5d0}\u{5d1}.example", Some("xn--4dbc.example")), ("\u{5d0}a.example", None)];
        let spellings = [
            ("B\u{dc}CHER.example", Some("xn--bcher-kva.example")),
            ("bu\u{308}cher.example", Some("xn--bcher-kva.example")),
            ("XN--BCHER-KVA.example", Some("xn--bcher-kva.example")),
            ("\u{ff42}.example", Some("b.example")),
            ("b\u{ad}\u{fc}cher.example", Some("xn--bcher-kva.example")),
            // `ß` is not converted to `ss`.
            ("fa\u{df}.example", Some("xn--fa-hia.example")),
            // A joiner is valid after a virama.
            ("\u{915}\u{94d}\u{200d}\u{937}.example", Some("xn--11b2ezcw70k.example")),
            ("a\u{200d}b.example", None),
        ];
        let invalid =
            ["xn--a.example", "xn--\u{fc}.example", "\u{308}a.example", "\u{378}.example", "\u{fffd}.example"];
        let invalid = invalid.into_iter().map(|domain| (domain, None));
        for (domain, expected) in spellings.into_iter().chain(bidirectional).chain(invalid) {
            let address = Address::new(&format!("ada@{domain}")).ok();
            assert_eq!(address.as_ref().map(Address::domain), expected, "{domain:?}");
        }
    }
}
