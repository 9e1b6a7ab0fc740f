//! The error of backups.

use std::io;

use crate::{BoxError, audit, db};

/// The error of making, verifying or restoring a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is not what was written: it was changed or cut off, or something in it is not whole.
    #[error("the archive {archive} is damaged: {problem}; nothing was restored from it: use another one")]
    Damaged {
        /// The file or URL of the archive.
        archive: String,
        /// The part of the archive that is damaged, and what is wrong with it.
        problem: String,
    },
    /// The database that was restored is not the one that was backed up.
    #[error("the restored database differs from the one in {archive}: {problem}; don't use it")]
    Differs {
        /// The file or URL of the archive.
        archive: String,
        /// The table or chain that differs, and how.
        problem: String,
    },
    /// The settings, the tools or the place do not allow it. The message says what to do.
    #[error("{0}")]
    Refused(String),
    /// A file, a storage or a program failed.
    #[error("{what}")]
    Failed {
        /// The operation that failed.
        what: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] db::Error),
    /// An audit chain can't be read.
    #[error("the audit log can't be read")]
    Audit(#[from] audit::Error),
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The archive can't be used.
    Damaged,
    /// The restored data differ from those that were backed up.
    Differs,
    /// The caller has to change something first.
    Refused,
    /// A file, a storage, a program or the database failed. It may succeed later.
    Failed,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Differs { .. } => ErrorKind::Differs,
            Self::Refused(_) => ErrorKind::Refused,
            Self::Failed { .. } | Self::Database(_) | Self::Audit(_) => ErrorKind::Failed,
        }
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    pub(super) fn damaged(archive: &str, problem: impl Into<String>) -> Self {
        Self::Damaged { archive: archive.into(), problem: problem.into() }
    }

    pub(super) fn failed(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// Returns whether the reader of what is written has gone away, so that its error is the cause.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let Self::Failed { source, .. } = self else { return false };
        source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}
