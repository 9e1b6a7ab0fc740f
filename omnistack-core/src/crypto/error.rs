//! What can go wrong with secrets.

use crate::http;

/// Why something could not be sealed, opened or read.
///
/// None is worth trying again, and none says more than an attacker may know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a sealed value, or of a version this build does not know.
    #[error("this is not a sealed value of a version known here")]
    Malformed,
    /// Sealed with a key the ring does not have.
    #[error("it is sealed with the key `{0}`, which SECRET_KEYS does not have")]
    UnknownKey(String),
    /// It does not open: it was changed, moved to another place, or sealed with another key of the same id.
    #[error("it does not open: changed, moved to another place, or sealed with another key of the same id")]
    Refused,
    /// It opens, and is not text.
    #[error("what was sealed is not text")]
    NotText,
    /// More than AES-GCM seals at once (64 GiB).
    #[error("too much to seal at once")]
    TooLarge,
    /// The keys of a ring, or a key for signing, can't be used. Holds no key.
    #[error("{0}")]
    Keys(String),
}

/// What an [`Error`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The value itself is wrong: not sealed, changed, or moved.
    Value,
    /// The key for it is missing.
    UnknownKey,
    /// The settings can't be used.
    Configuration,
}

impl Error {
    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed | Self::Refused | Self::NotText | Self::TooLarge => ErrorKind::Value,
            Self::UnknownKey(_) => ErrorKind::UnknownKey,
            Self::Keys(_) => ErrorKind::Configuration,
        }
    }

    /// Whether the same work may succeed if tried again: never, until somebody changes something.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Value | ErrorKind::UnknownKey | ErrorKind::Configuration => false,
        }
    }
}

/// 500: whoever asked can't help it.
impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        Self::internal(error)
    }
}
