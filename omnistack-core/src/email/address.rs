//! An address mail can be sent to.

use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A mailbox, and the name of who reads it. Valid by construction, so it can stand in a header and in a command.
///
/// ```
/// use omnistack_core::email::Address;
///
/// let ada: Address = "Ada Lovelace <ada@example.com>".parse()?;
/// assert_eq!((ada.name(), ada.mailbox()), (Some("Ada Lovelace"), "ada@example.com"));
///
/// // Domains in other scripts are kept as the network knows them (RFC 5890).
/// assert_eq!(Address::new("info@bücher.example")?.mailbox(), "info@xn--bcher-kva.example");
///
/// assert!("ada@example.com, eve@example.com".parse::<Address>().is_err());
/// assert!("ada@example.com\r\nBcc: eve@example.com".parse::<Address>().is_err());
/// # Ok::<(), omnistack_core::email::AddressError>(())
/// ```
///
/// Narrower than RFC 5322, as providers are: the local part is a dot-atom of ASCII characters, so neither quoted parts
/// (`"a b"@example.com`) nor those in other scripts (RFC 6531) are taken, and no address literals (`a@[192.0.2.1]`). Its
/// case is kept, the domain's is not.
///
/// In serde and as text it is `Ada Lovelace <ada@example.com>`, the name in quotes where it needs them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    mailbox: String,
    /// Where the `@` is.
    at: usize,
    name: Option<String>,
}

impl Address {
    /// A mailbox without a name: `ada@example.com`.
    ///
    /// # Errors
    /// It is none.
    pub fn new(mailbox: &str) -> Result<Self, AddressError> {
        let (local, domain) = mailbox.rsplit_once('@').ok_or(AddressError::Form)?;
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

    /// With the name of who reads it. An empty one is none.
    ///
    /// # Errors
    /// The name has a control character, or more than 255 bytes.
    pub fn named(mut self, name: &str) -> Result<Self, AddressError> {
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

    /// `ada@example.com`, its domain in ASCII.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// Returns the mailbox in its normal form, by which addresses are compared and kept: the domain in ASCII (RFC 5890), all
    /// of it in lower case. Mailboxes that differ by case alone are treated as one (RFC 5321, section 2.4, would let them
    /// differ; providers don't).
    ///
    /// ```
    /// use omnistack_core::email::Address;
    ///
    /// let spellings = ["Ida@exämple.com", "ida@EXÄMPLE.com", "IDA@xn--exmple-cua.com"];
    /// for spelling in spellings {
    ///     assert_eq!(Address::new(spelling)?.normal(), "ida@xn--exmple-cua.com");
    /// }
    /// # Ok::<(), omnistack_core::email::AddressError>(())
    /// ```
    pub fn normal(&self) -> String {
        self.mailbox.to_ascii_lowercase()
    }

    /// What is before the `@`, at most 64 bytes.
    pub fn local(&self) -> &str {
        &self.mailbox[..self.at]
    }

    /// What is after the `@`, in lower case and ASCII.
    pub fn domain(&self) -> &str {
        &self.mailbox[self.at + 1..]
    }

    /// Who reads it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// RFC 5322, section 3.2.3.
fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

const fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~')
}

/// Whether a name may stand without quotes: atoms, dots and spaces, and any character beyond ASCII.
fn is_phrase(name: &str) -> bool {
    name.bytes().all(|byte| is_atext(byte) || matches!(byte, b' ' | b'.' | 0x80..))
}

/// The name as it was before it was put in quotes.
fn unquoted(name: &str) -> Result<Cow<'_, str>, AddressError> {
    let Some(inner) = name.strip_prefix('"') else {
        return if is_phrase(name) { Ok(name.into()) } else { Err(AddressError::Form) };
    };
    let inner = inner.strip_suffix('"').ok_or(AddressError::Form)?;
    let (mut plain, mut characters) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(character) = characters.next() {
        plain.push(match character {
            '"' => return Err(AddressError::Form),
            '\\' => characters.next().ok_or(AddressError::Form)?,
            other => other,
        });
    }
    Ok(plain.into())
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches(' ');
        match text.strip_suffix('>').map(|rest| rest.rsplit_once('<').ok_or(AddressError::Form)).transpose()? {
            None => Self::new(text),
            Some((name, mailbox)) => Self::new(mailbox)?.named(&unquoted(name.trim_matches(' '))?),
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

/// Why a text is no address. The text itself is not in it: it is personal.
///
/// ```
/// use omnistack_core::{email::{Address, AddressError}, http::{Error, FieldProblem, StatusCode}};
///
/// fn address(text: &str) -> Result<Address, Error> {
///     text.parse().map_err(|error: AddressError| match error {
///         AddressError::Form => Error::invalid([FieldProblem::new("email", "is no mail address")]),
///         other => Error::invalid([FieldProblem::new("email", other.to_string())]),
///     })
/// }
///
/// assert_eq!("ada@".parse::<Address>(), Err(AddressError::Domain));
/// assert_eq!(address("ada").unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither `ada@example.com` nor `Ada Lovelace <ada@example.com>`, or more than one.
    #[error("expected `ada@example.com` or `Ada Lovelace <ada@example.com>`")]
    Form,
    /// What is before the `@` is empty or has characters that may not stand there.
    #[error("what is before the @ must be ASCII letters, digits, dots between them, or !#$%&'*+/=?^_`{{|}}~-")]
    Local,
    /// What is before the `@` has more than 64 bytes (RFC 5321, section 4.5.3.1.1).
    #[error("what is before the @ has more than 64 characters")]
    LocalTooLong,
    /// What is after the `@` is no domain.
    #[error("what is after the @ is no domain")]
    Domain,
    /// More than 254 bytes (RFC 5321, section 4.5.3.1.3).
    #[error("it has more than 254 characters")]
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
