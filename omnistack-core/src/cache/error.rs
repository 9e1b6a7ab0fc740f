//! What went wrong, in terms a caller can act on.

use std::{error::Error as StdError, fmt};

/// A cache operation that was not carried out, or may not have been.
pub struct Error {
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

/// What a cache error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store is away. Nothing was done.
    Unavailable,
    /// No answer came in time, or the connection was lost before it came: it may have been done, or may be done later.
    Unknown,
    /// The key holds something else: a hash where a value is asked for, text where a number is counted.
    WrongType,
    /// Anything else; a bug.
    Other,
}

impl Error {
    /// Of a kind, with what caused it: for implementors of [`CacheStore`](super::CacheStore).
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same operation may be tried again without being done twice.
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Whether the store is to blame rather than the caller.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Unknown)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.kind {
            ErrorKind::Unavailable => "the cache is not available",
            ErrorKind::Unknown => "the cache did not answer, so the outcome is unknown",
            ErrorKind::WrongType => "the key holds a value of another kind",
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
