//! Names of objects.

use std::{fmt, str::FromStr};

/// The name of an object: parts with `/` between, such as `invoices/2030/7.pdf`.
///
/// It means the same to every provider, so it is narrower than any of them: at most 1,024 bytes of UTF-8, each part 1 to
/// 255; no part `.` or `..`; no control characters, no backslash, and no percent sign before two hexadecimal digits, which
/// somebody on the way may decode.
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

/// What is wrong with the name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No name.
    #[error("a key is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("a key is longer than {} bytes", ObjectKey::LONGEST)]
    TooLong,
    /// It begins or ends with a slash, or two follow each other.
    #[error("a part of a key is empty")]
    EmptyPart,
    /// A part of more than 255 bytes, which no file system holds.
    #[error("a part of a key is longer than {} bytes", ObjectKey::LONGEST_PART)]
    LongPart,
    /// A part that means a folder elsewhere.
    #[error("a part of a key is `.` or `..`")]
    Dots,
    /// A character that means something on the way.
    #[error("a key has a control character, a backslash or a percent-encoded character")]
    Character,
}

impl ObjectKey {
    /// Bytes of a key at most: what S3 and Google Cloud Storage allow.
    pub const LONGEST: usize = 1024;
    /// Bytes of one part at most: what file systems allow.
    pub const LONGEST_PART: usize = 255;

    /// The key, if that is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), KeyError> {
    match text.len() {
        0 => return Err(KeyError::Empty),
        length if length > ObjectKey::LONGEST => return Err(KeyError::TooLong),
        _ => {}
    }
    // Also the C1 controls, and what makes text run backwards in a listing.
    let refused = |character: char| {
        character.is_control()
            || character == '\\'
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().any(refused) || has_escape(text.as_bytes()) {
        return Err(KeyError::Character);
    }
    for part in text.split('/') {
        match part {
            "" => return Err(KeyError::EmptyPart),
            "." | ".." => return Err(KeyError::Dots),
            part if part.len() > ObjectKey::LONGEST_PART => return Err(KeyError::LongPart),
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
    fn what_is_a_key() {
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
            (".", KeyError::Dots),
            ("..", KeyError::Dots),
            ("../a", KeyError::Dots),
            ("a/../b", KeyError::Dots),
            ("a/./b", KeyError::Dots),
            ("%2e%2e/a", KeyError::Character),
            ("a/%2E./b", KeyError::Character),
            ("a%2fb", KeyError::Character),
            ("a%00", KeyError::Character),
            ("a\0b", KeyError::Character),
            ("a\nb", KeyError::Character),
            ("a\u{7f}", KeyError::Character),
            ("a\u{85}", KeyError::Character),
            ("a\\..\\b", KeyError::Character),
            ("a\u{202e}gpj.exe", KeyError::Character),
            (long.as_str(), KeyError::TooLong),
            (wide.as_str(), KeyError::LongPart),
        ] {
            assert_eq!(ObjectKey::new(bad), Err(why), "{bad:?}");
        }
    }
}
