//! Telephone numbers.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A telephone number in the international format of ITU-T E.164: `+`, the country code, and 7 to 15 digits in all.
///
/// Spaces, hyphens, dots and parentheses between digits are removed. The type does not check that the number is in
/// use.
///
/// ```
/// use omnistack_messaging::sms::PhoneNumber;
///
/// let number: PhoneNumber = "+44 (20) 7946-0018".parse()?;
/// assert_eq!(number.as_str(), "+442079460018");
/// assert_eq!(format!("{number:?}"), "PhoneNumber(+44…18)");
/// assert!("020 7946 0018".parse::<PhoneNumber>().is_err());
/// # Ok::<(), omnistack_messaging::sms::PhoneNumberError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Returns the number, such as `+491701234567`.
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
        // The shortest numbers have seven digits, with the country code.
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

/// Hides most digits, because numbers are personal data and debug output goes to the log.
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

/// The reason why a text is not a telephone number. It does not contain the text, which is personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhoneNumberError {
    /// The text does not begin with `+` and a country code.
    #[error("a telephone number must begin with + and the country code")]
    NoCountry,
    /// The text has a character that is neither a digit nor a separator.
    #[error("a telephone number must have digits only")]
    Character,
    /// The text has fewer than 7 or more than 15 digits.
    #[error("a telephone number must have 7 to 15 digits")]
    Length,
}
