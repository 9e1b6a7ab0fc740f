//! Errors of the cache.

use std::{error::Error as StdError, fmt};

/// Error of a cache operation that failed, or whose outcome is unknown.
pub struct Error {
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

/// Kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store is unavailable. The operation had no effect.
    Unavailable,
    /// No response arrived in time, or the connection was lost before it arrived. The operation may have taken
    /// effect, or may still take effect.
    Unknown,
    /// The key contains something else: a hash in place of a value, or a text in place of a number.
    WrongType,
    /// All other errors. They are bugs.
    Other,
}

impl ErrorKind {
    /// Returns the name in metrics and spans, such as `unavailable`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::WrongType => "wrong_type",
            Self::Other => "other",
        }
    }
}

impl Error {
    /// Creates an error of a kind with its source, for implementations of [`CacheStore`](super::CacheStore).
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the same operation may be repeated without a second effect.
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Returns whether the store caused the error, rather than the caller.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Unknown)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.kind {
            ErrorKind::Unavailable => "the cache is unavailable",
            ErrorKind::Unknown => "the cache did not respond, so the outcome is unknown",
            ErrorKind::WrongType => "the key contains a value of another type",
            ErrorKind::Other => "the cache failed",
        };
        write!(f, "{means}: {}", self.source)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.kind).field("source", &self.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}
