//! Errors of cryptography.

/// Error of sealing, opening or parsing.
///
/// No error is worth a retry, and none reveals more than an attacker may know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a sealed value, or has a version that this build does not support.
    #[error("the text is not a sealed value of a supported version")]
    Malformed,
    /// The value is sealed with a key that is not in the ring.
    #[error("the value is sealed with the key `{0}`, which is not in SECRET_KEYS")]
    UnknownKey(String),
    /// The value can't be opened: it was changed, moved to another context, or sealed with another key of the
    /// same id.
    #[error("the value can't be opened: it was changed, moved, or sealed with another key of the same id")]
    CannotOpen,
    /// The opened secret is not UTF-8.
    #[error("the sealed secret is not text")]
    NotText,
    /// The secret is larger than AES-GCM can seal (64 GiB).
    #[error("the secret is too large to seal")]
    TooLarge,
    /// The keys of a ring, or a signing key, are unusable. The message contains no key.
    #[error("{0}")]
    InvalidKeys(String),
}

/// Kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The value itself is wrong: it is not sealed, or was changed or moved.
    Value,
    /// The key of the value is missing.
    UnknownKey,
    /// The configured keys are unusable.
    Configuration,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed | Self::CannotOpen | Self::NotText | Self::TooLarge => ErrorKind::Value,
            Self::UnknownKey(_) => ErrorKind::UnknownKey,
            Self::InvalidKeys(_) => ErrorKind::Configuration,
        }
    }

    /// Returns whether the same call may succeed later, which is always `false`.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Value | ErrorKind::UnknownKey | ErrorKind::Configuration => false,
        }
    }
}
