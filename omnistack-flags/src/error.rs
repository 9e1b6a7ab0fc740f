//! Errors of flags.

use http::StatusCode;

use omnistack_core::{
    db,
    http::{Error, FieldError},
};

/// Error of changing or reading flags. Evaluating a flag never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// The definition is invalid; each problem names a field.
    #[error("the definition is invalid: {}", described(.0))]
    Invalid(Vec<FieldError>),
    /// The flag, segment or override does not exist.
    #[error("{0} was not found")]
    NotFound(String),
    /// A flag with this key exists.
    #[error("a flag `{0}` already exists")]
    Exists(String),
    /// The flag was changed since the revision that the caller read.
    #[error("the flag `{key}` was changed: it is now at revision {revision}")]
    Changed {
        /// Key of the flag.
        key: String,
        /// Its current revision.
        revision: i64,
    },
    /// Other flags depend on the flag or segment.
    #[error("`{what}` is used by {}", .by.join(", "))]
    InUse {
        /// Name of the flag or segment.
        what: String,
        /// Keys of the flags that use it.
        by: Vec<String>,
    },
    /// The flags are not stored in a database, so they cannot be changed.
    #[error("these flags are fixed and can't be changed")]
    Fixed,
    /// The definition can't be serialized as JSON.
    #[error("the definition can't be serialized as JSON")]
    Serialize(#[source] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

fn described(problems: &[FieldError]) -> String {
    problems.iter().map(|problem| format!("`{}` {}", problem.field, problem.message)).collect::<Vec<_>>().join("; ")
}

impl FlagError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Invalid(problems) => Self::invalid(problems),
            FlagError::NotFound(what) => Self::not_found(what),
            FlagError::Exists(key) => Self::conflict("ALREADY_EXISTS", format!("a flag `{key}` already exists")),
            FlagError::Changed { key, revision } => {
                let message = format!("the flag `{key}` was changed since it was read: read it again");
                Self::new(StatusCode::CONFLICT, "FLAG_CHANGED", message).with_detail("revision", revision)
            }
            FlagError::InUse { what, by } => {
                let message = format!("other flags use `{what}`: change those flags first");
                Self::conflict("FLAG_IN_USE", message).with_detail("used_by", by)
            }
            FlagError::Fixed => Self::conflict("FLAGS_FIXED", "these flags are fixed and can't be changed"),
            FlagError::Database(error) => error.into(),
            FlagError::Serialize(error) => Self::internal(error),
        }
    }
}
