//! What goes wrong.

use std::{error::Error as StdError, fmt};

use omnistack_core::{db, http};

use crate::KeyError;

/// What goes wrong with objects and files.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

/// What an [`Error`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// There is one, and it was to be made only if there is none; or a folder has the name.
    Exists,
    /// The name can't be one.
    Key,
    /// A range that begins behind the object's end.
    Range,
    /// More bytes than allowed.
    TooLarge,
    /// The bytes are not those announced: fewer, more, or with another checksum. Nothing is stored.
    Mismatch,
    /// Who sends the bytes stopped. Nothing is stored.
    Interrupted,
    /// The object is in an archive, and has to be restored before it can be read.
    Archived,
    /// The provider can't do this; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The provider is away, too slow, or says "later". It may be tried again.
    Unavailable,
    /// There is no room.
    Full,
    /// The settings are wrong: credentials are not accepted, the bucket is not there.
    Configuration,
    /// The database failed.
    Database,
    /// A caller may not have what it asks for.
    Refused,
    /// Anything else.
    Other,
}

impl Error {
    /// Of a kind, with what caused it: for implementors of [`StorageProvider`](crate::StorageProvider).
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, source: source.into() }))
    }

    /// The provider can't do this.
    pub fn unsupported(what: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    pub(crate) fn not_found(key: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("no object `{key}`"))
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same may work later, unchanged.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::Database => self.0.source.downcast_ref::<db::Error>().is_some_and(db::Error::is_retryable),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.kind() {
            ErrorKind::NotFound => "not there",
            ErrorKind::Exists => "there already",
            ErrorKind::Key => "no key",
            ErrorKind::Range => "outside of the object",
            ErrorKind::TooLarge => "too large",
            ErrorKind::Mismatch => "not what was announced",
            ErrorKind::Interrupted => "the sender stopped",
            ErrorKind::Archived => "in an archive",
            ErrorKind::Unsupported => "the storage provider can't do this",
            ErrorKind::Unavailable => "the storage provider is not available",
            ErrorKind::Full => "the storage is full",
            ErrorKind::Configuration => "the storage provider is not set up",
            ErrorKind::Database => "the database",
            ErrorKind::Refused => "refused",
            ErrorKind::Other => "the storage failed",
        };
        write!(f, "{means}: {}", self.0.source)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.0.kind).field("source", &self.0.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.source.as_ref())
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::new(ErrorKind::Key, error)
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::new(ErrorKind::Database, error)
    }
}

impl From<omnistack_core::crypto::Error> for Error {
    fn from(error: omnistack_core::crypto::Error) -> Self {
        Self::new(ErrorKind::Configuration, error)
    }
}

/// The answer a caller gets.
impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        Self::new(ErrorKind::Refused, error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists | Io::NotADirectory | Io::IsADirectory | Io::DirectoryNotEmpty => ErrorKind::Exists,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Configuration,
            Io::InvalidFilename => ErrorKind::Key,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        use http::{Error as Answer, StatusCode};
        let Inner { kind, source } = *error.0;
        let source = match (kind, source.downcast::<Answer>()) {
            (ErrorKind::Refused | ErrorKind::Interrupted, Ok(answer)) => return *answer,
            (_, Ok(answer)) => answer as Box<dyn StdError + Send + Sync>,
            (_, Err(source)) => source,
        };
        let answer = match kind {
            ErrorKind::NotFound => Answer::not_found("the file"),
            ErrorKind::Exists => Answer::conflict("ALREADY_EXISTS", "there is one of this name already"),
            ErrorKind::Key => Answer::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_KEY", source.to_string()),
            ErrorKind::Range => Answer::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_NOT_SATISFIABLE",
                "the range is behind the file's end",
            ),
            ErrorKind::TooLarge => Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "FILE_TOO_LARGE", source.to_string()),
            ErrorKind::Mismatch => {
                Answer::new(StatusCode::UNPROCESSABLE_ENTITY, "CONTENT_MISMATCH", source.to_string())
            }
            ErrorKind::Interrupted => Answer::bad_request("UPLOAD_INTERRUPTED", "the upload ended early"),
            ErrorKind::Archived => {
                Answer::conflict("FILE_ARCHIVED", "the file is in an archive; it has to be restored first")
            }
            ErrorKind::Unsupported => Answer::conflict("UNSUPPORTED", "the storage of this app can't do this"),
            ErrorKind::Unavailable => {
                Answer::unavailable("STORAGE_UNAVAILABLE", "the storage is not available; try again")
            }
            ErrorKind::Full => Answer::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", "the storage is full"),
            ErrorKind::Database => match source.downcast::<db::Error>() {
                Ok(error) => return (*error).into(),
                Err(source) => return Answer::internal(source),
            },
            ErrorKind::Configuration | ErrorKind::Refused | ErrorKind::Other => return Answer::internal(source),
        };
        answer.cause(source)
    }
}
