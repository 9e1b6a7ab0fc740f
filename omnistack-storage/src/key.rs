//! Object keys.

use std::{fmt, str::FromStr};

/// The key of an object: parts separated by `/`, such as `invoices/2030/7.pdf`.
///
/// A key is valid with every provider, so the rules are stricter than those of each: at most 1,024 bytes of
/// UTF-8, each part 1 to 255 bytes; no part `.` or `..`; no control character, no bidirectional formatting
/// character, no backslash, and no `%` followed by two hexadecimal digits, which a proxy might decode.
///
/// ```
/// use omnistack_storage::ObjectKey;
///
/// let key: ObjectKey = "invoices/2030/7.pdf".parse()?;
/// assert_eq!(key.as_str(), "invoices/2030/7.pdf");
/// assert!("invoices/../secrets".parse::<ObjectKey>().is_err());
/// # Ok::<_, omnistack_storage::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// The reason why a text is not an [`ObjectKey`].
///
/// ```
/// use omnistack_storage::{KeyError, ObjectKey};
///
/// assert_eq!(ObjectKey::new("a//b"), Err(KeyError::EmptyPart));
/// assert_eq!(ObjectKey::new("a/../b"), Err(KeyError::DotPart));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is empty.
    #[error("an object key must not be empty")]
    Empty,
    /// The key has more than 1,024 bytes.
    #[error("an object key must have at most {} bytes", ObjectKey::MAX_BYTES)]
    TooLong,
    /// A part is empty: the key begins or ends with a slash, or has two in a row.
    #[error("a part of an object key must not be empty")]
    EmptyPart,
    /// A part has more than 255 bytes, which file systems do not allow.
    #[error("a part of an object key must have at most {} bytes", ObjectKey::MAX_PART_BYTES)]
    PartTooLong,
    /// A part is `.` or `..`.
    #[error("a part of an object key must not be `.` or `..`")]
    DotPart,
    /// The key has a character that is not allowed.
    #[error("an object key must not have control characters, backslashes or percent-encoded characters")]
    InvalidCharacter,
}

impl ObjectKey {
    /// The largest size of a key in bytes: the limit of S3 and Google Cloud Storage.
    pub const MAX_BYTES: usize = 1024;
    /// The largest size of a part in bytes: the limit of file systems.
    pub const MAX_PART_BYTES: usize = 255;

    /// Creates a key.
    ///
    /// # Errors
    /// [`KeyError`] if the text is not a valid key.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), KeyError> {
    match text.len() {
        0 => return Err(KeyError::Empty),
        length if length > ObjectKey::MAX_BYTES => return Err(KeyError::TooLong),
        _ => {}
    }
    // `is_control` includes the C1 controls. The others change the direction in which text is displayed.
    let refused = |character: char| {
        character.is_control()
            || character == '\\'
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().any(refused) || has_escape(text.as_bytes()) {
        return Err(KeyError::InvalidCharacter);
    }
    for part in text.split('/') {
        match part {
            "" => return Err(KeyError::EmptyPart),
            "." | ".." => return Err(KeyError::DotPart),
            part if part.len() > ObjectKey::MAX_PART_BYTES => return Err(KeyError::PartTooLong),
            _ => {}
        }
    }
    Ok(())
}

fn has_escape(text: &[u8]) -> bool {
    text.windows(3).any(|three| three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit())
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_keys() {
        let part = "a".repeat(255);
        let longest = [part.as_str(); 4].join("/");
        for good in ["a", "a/b.txt", "Grüße/🎉 party.png", "...", "a/.hidden", "100%", "50% off", "a b", &longest] {
            assert!(ObjectKey::new(good).is_ok(), "{good}: {:?}", ObjectKey::new(good));
        }
        let long = format!("{}/{}", part, "b".repeat(4096));
        let wide = format!("{part}a");
        for (bad, why) in [
            ("", KeyError::Empty),
            ("/", KeyError::EmptyPart),
            ("/a", KeyError::EmptyPart),
            ("a/", KeyError::EmptyPart),
            ("a//b", KeyError::EmptyPart),
            (".", KeyError::DotPart),
            ("..", KeyError::DotPart),
            ("../a", KeyError::DotPart),
            ("a/../b", KeyError::DotPart),
            ("a/./b", KeyError::DotPart),
            ("%2e%2e/a", KeyError::InvalidCharacter),
            ("a/%2E./b", KeyError::InvalidCharacter),
            ("a%2fb", KeyError::InvalidCharacter),
            ("a%00", KeyError::InvalidCharacter),
            ("a\0b", KeyError::InvalidCharacter),
            ("a\nb", KeyError::InvalidCharacter),
            ("a\u{7f}", KeyError::InvalidCharacter),
            ("a\u{85}", KeyError::InvalidCharacter),
            ("a\\..\\b", KeyError::InvalidCharacter),
            ("a\u{202e}gpj.exe", KeyError::InvalidCharacter),
            (long.as_str(), KeyError::TooLong),
            (wide.as_str(), KeyError::PartTooLong),
        ] {
            assert_eq!(ObjectKey::new(bad), Err(why), "{bad:?}");
        }
    }
}
