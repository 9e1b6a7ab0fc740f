//! A number messages can be sent to.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A telephone number as the whole world writes it (ITU-T E.164): `+`, the country's code, and up to 15 digits in all.
///
/// Spaces, hyphens, dots and parentheses that people write between digits are left out. Whether anybody answers is not known.
///
/// ```
/// use omnistack_core::sms::PhoneNumber;
///
/// let number: PhoneNumber = "+44 (20) 7946-0018".parse()?;
/// assert_eq!(number.as_str(), "+442079460018");
/// assert_eq!(format!("{number:?}"), "PhoneNumber(+44…18)");
/// assert!("020 7946 0018".parse::<PhoneNumber>().is_err());
/// # Ok::<(), omnistack_core::sms::PhoneNumberError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// `+491701234567`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneNumberError;

    fn from_str(text: &str) -> Result<Self, PhoneNumberError> {
        let rest = text.trim().strip_prefix('+').ok_or(PhoneNumberError::NoCountry)?;
        let mut number = String::with_capacity(16);
        number.push('+');
        for character in rest.chars() {
            match character {
                '0'..='9' => number.push(character),
                ' ' | '-' | '.' | '(' | ')' | '\u{a0}' => {}
                _ => return Err(PhoneNumberError::Character),
            }
            if number.len() > 16 {
                return Err(PhoneNumberError::Length);
            }
        }
        // The shortest numbers there are have seven digits with the country's code.
        if number.len() < 8 {
            return Err(PhoneNumberError::Length);
        }
        if number.as_bytes()[1] == b'0' {
            return Err(PhoneNumberError::NoCountry);
        }
        Ok(Self(number))
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number is somebody's: not all of it is in the log.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber({}…{})", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why a text is no telephone number. The text itself is not in it: it is personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhoneNumberError {
    /// It does not begin with `+` and a country's code.
    #[error("a telephone number begins with + and the country's code")]
    NoCountry,
    /// It has another character than digits and what stands between them.
    #[error("a telephone number has digits only")]
    Character,
    /// It has fewer than 7 or more than 15 digits.
    #[error("a telephone number has 7 to 15 digits")]
    Length,
}
