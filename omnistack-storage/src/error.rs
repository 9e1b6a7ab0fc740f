//! Errors.

use std::{error::Error as StdError, fmt, time::Duration};

use omnistack_core::{
    db, http,
    resilience::{Classification, Classify},
};

use crate::KeyError;

/// An error of an operation on objects or files.
///
/// Its [`kind`](Self::kind) tells errors apart. It converts into [`omnistack_core::http::Error`], the response to
/// an HTTP request.
///
/// ```
/// use omnistack_storage::{Error, ErrorKind, Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let storage = Storage::new(Memory::default());
/// let error = storage.head(&"missing.txt".parse()?).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert!(!error.is_retryable());
/// # Ok(())
/// # }
/// ```
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// The kind of an [`Error`].
///
/// ```
/// use omnistack_storage::{ErrorKind, Memory, ObjectKey, PutOptions, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key: ObjectKey = "reports/2030.csv".parse()?;
/// storage.put(&key, "a,b\n").await?;
/// let refused = storage.put_with(&key, "c,d\n", &PutOptions::default().create_only()).await.unwrap_err();
/// match refused.kind() {
///     ErrorKind::Exists => println!("there is a report of this year already"),
///     _ => return Err(refused),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The object exists although it was to be created, or another object occupies the name as a folder.
    Exists,
    /// The object key is invalid.
    InvalidKey,
    /// The range begins after the end of the object.
    Range,
    /// The bytes exceed the limit.
    TooLarge,
    /// The size or checksum of the bytes differs from the declared one. Nothing is stored.
    Mismatch,
    /// The client stopped sending before the end. Nothing is stored.
    Interrupted,
    /// The object is archived and must be restored before it can be read.
    Archived,
    /// The provider does not support the operation; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The provider can't be reached, did not respond in time, or responded that the request should be repeated
    /// later. The call can be retried.
    Unavailable,
    /// The storage has no space left.
    StorageFull,
    /// The settings are wrong: the provider refuses the credentials, or the bucket does not exist.
    Configuration,
    /// A database error.
    Database,
    /// The request is refused; the error holds the HTTP response.
    Refused,
    /// Any other error.
    Other,
}

impl ErrorKind {
    /// Returns the name in metrics and spans, such as `not_found`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::InvalidKey => "invalid_key",
            Self::Range => "range",
            Self::TooLarge => "too_large",
            Self::Mismatch => "mismatch",
            Self::Interrupted => "interrupted",
            Self::Archived => "archived",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::Configuration => "configuration",
            Self::Database => "database",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

impl Error {
    /// Creates an error with its cause, for implementations of [`StorageProvider`](crate::StorageProvider).
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(ErrorInner { kind, retry_after: None, source: source.into() }))
    }

    /// Creates an error of the kind [`ErrorKind::Unsupported`] that names the unsupported feature.
    pub fn unsupported(what: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    /// Sets how long the provider asks to wait before the next attempt.
    #[cfg(any(feature = "s3", feature = "cloudinary"))]
    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    pub(crate) fn not_found(key: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("the object `{key}`"))
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed if it is repeated later.
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
            ErrorKind::NotFound => "not found",
            ErrorKind::Exists => "already exists",
            ErrorKind::InvalidKey => "invalid object key",
            ErrorKind::Range => "range not satisfiable",
            ErrorKind::TooLarge => "too large",
            ErrorKind::Mismatch => "content mismatch",
            ErrorKind::Interrupted => "upload interrupted",
            ErrorKind::Archived => "archived",
            ErrorKind::Unsupported => "not supported by the storage provider",
            ErrorKind::Unavailable => "storage provider unavailable",
            ErrorKind::StorageFull => "storage full",
            ErrorKind::Configuration => "storage provider misconfigured",
            ErrorKind::Database => "database error",
            ErrorKind::Refused => "request refused",
            ErrorKind::Other => "storage error",
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

/// The response to a failed operation describes the current state of the storage, so it is the result of the call
/// even if an earlier attempt was lost.
impl Classify for Error {
    fn class(&self) -> Classification {
        let class = match self.kind() {
            _ if self.is_retryable() => Classification::unknown().retryable(),
            ErrorKind::Database | ErrorKind::Other => Classification::unknown(),
            _ => Classification::failed().settled(),
        };
        match self.0.retry_after {
            Some(wait) => class.retry_after(wait),
            None => class,
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::new(ErrorKind::InvalidKey, error)
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

/// Wraps a response as an error of the kind [`ErrorKind::Refused`].
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
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::StorageFull,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Configuration,
            Io::InvalidFilename => ErrorKind::InvalidKey,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        use http::{Error as Answer, StatusCode};
        let ErrorInner { kind, source, .. } = *error.0;
        let source = match (kind, source.downcast::<Answer>()) {
            (ErrorKind::Refused | ErrorKind::Interrupted, Ok(answer)) => return *answer,
            (_, Ok(answer)) => answer as Box<dyn StdError + Send + Sync>,
            (_, Err(source)) => source,
        };
        let answer = match kind {
            ErrorKind::NotFound => Answer::not_found("the file"),
            ErrorKind::Exists => {
                Answer::conflict("ALREADY_EXISTS", "an object with this name already exists: choose another name")
            }
            ErrorKind::InvalidKey => Answer::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_KEY", source.to_string()),
            ErrorKind::Range => Answer::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_NOT_SATISFIABLE",
                "the range begins after the end of the file",
            ),
            ErrorKind::TooLarge => Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "FILE_TOO_LARGE", source.to_string()),
            ErrorKind::Mismatch => {
                Answer::new(StatusCode::UNPROCESSABLE_ENTITY, "CONTENT_MISMATCH", source.to_string())
            }
            ErrorKind::Interrupted => {
                Answer::bad_request("UPLOAD_INTERRUPTED", "the upload ended early: send the file again")
            }
            ErrorKind::Archived => {
                Answer::conflict("FILE_ARCHIVED", "the file is archived: ask an operator to restore it")
            }
            ErrorKind::Unsupported => {
                Answer::conflict("UNSUPPORTED", "the storage of this app does not support this operation")
            }
            ErrorKind::Unavailable => {
                Answer::unavailable("STORAGE_UNAVAILABLE", "the storage is not available: try again later")
            }
            ErrorKind::StorageFull => {
                Answer::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", "the storage is full: try again later")
            }
            ErrorKind::Database => match source.downcast::<db::Error>() {
                Ok(error) => return (*error).into(),
                Err(source) => return Answer::internal(source),
            },
            ErrorKind::Configuration | ErrorKind::Refused | ErrorKind::Other => return Answer::internal(source),
        };
        answer.with_source(source)
    }
}
