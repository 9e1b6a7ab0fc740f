//! Why a flag was not changed.

use http::StatusCode;

use crate::{
    db,
    http::{Error, FieldProblem},
};

/// Why a flag was not changed, or could not be read. Evaluating one never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// The definition is not acceptable; each problem names a field.
    #[error("the definition is not acceptable: {}", described(.0))]
    Invalid(Vec<FieldProblem>),
    /// There is no such flag, segment or override.
    #[error("{0} was not found")]
    NotFound(String),
    /// A flag of this key is there already.
    #[error("a flag `{0}` exists")]
    Exists(String),
    /// Somebody else changed it since it was read.
    #[error("`{key}` has changed since: it is at revision {revision}")]
    Changed {
        /// Which.
        key: String,
        /// Its revision now.
        revision: i64,
    },
    /// Flags depend on it.
    #[error("`{what}` is used by {}", .by.join(", "))]
    InUse {
        /// The flag or segment.
        what: String,
        /// The flags.
        by: Vec<String>,
    },
    /// These flags are not kept in a database.
    #[error("these flags are fixed")]
    Fixed,
    /// It can't be written as JSON.
    #[error("the definition can't be written as JSON")]
    Written(#[source] serde_json::Error),
    /// The database's.
    #[error(transparent)]
    Database(#[from] db::Error),
}

fn described(problems: &[FieldProblem]) -> String {
    problems.iter().map(|problem| format!("`{}` {}", problem.field, problem.message)).collect::<Vec<_>>().join("; ")
}

impl FlagError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Invalid(problems) => Self::invalid(problems),
            FlagError::NotFound(what) => Self::not_found(what),
            FlagError::Exists(key) => Self::conflict("ALREADY_EXISTS", format!("a flag `{key}` exists")),
            FlagError::Changed { key, revision } => {
                let message = format!("somebody else has changed `{key}` since: read it again");
                Self::new(StatusCode::CONFLICT, "FLAG_CHANGED", message).detail("revision", revision)
            }
            FlagError::InUse { what, by } => {
                let message = format!("flags use `{what}`: change them first");
                Self::conflict("FLAG_IN_USE", message).detail("used_by", by)
            }
            FlagError::Fixed => Self::conflict("FLAGS_FIXED", "these flags are fixed and can't be changed"),
            FlagError::Database(error) => error.into(),
            FlagError::Written(error) => Self::internal(error),
        }
    }
}
