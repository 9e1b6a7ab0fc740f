//! Errors of the audit log.

use std::fmt;

use super::AuditChain;
use crate::{
    db,
    http::{self, FieldError},
};

/// Error of listing, verifying, exporting or deleting audit entries.
///
/// ```
/// use omnistack_core::audit::{AuditFilter, AuditStore, Error};
/// use omnistack_core::http;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let store: AuditStore = app.context().get()?;
/// let refused = store.list(&AuditFilter::all_chains(), 20, Some("page 2")).await.unwrap_err();
/// assert!(matches!(refused, Error::Cursor) && !refused.is_retryable());
/// // In a handler, `?` does this.
/// assert_eq!(http::Error::from(refused).status(), 422);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The chain was tampered with.
    #[error(transparent)]
    Broken(#[from] ChainBreak),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The cursor is not a `next_cursor` of a list of entries.
    #[error("the cursor is not the `next_cursor` of a list of audit entries")]
    Cursor,
    /// Retention deleted entries while they were exported; export again.
    #[error("retention deleted entries of the {0} during the export: export again")]
    DeletedDuringExport(AuditChain),
    /// The text is not a complete export.
    #[error("line {line} of the export {problem}")]
    Export {
        /// Number of the line, counted from 1.
        line: usize,
        /// Description of the problem, as the predicate of a sentence about the line.
        problem: String,
    },
}

/// Kind of an [`Error`].
///
/// ```
/// use omnistack_core::audit::{AuditChain, Error, ErrorKind};
///
/// // Reaction of a nightly check.
/// fn then(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::Broken => "alert an operator",
///         ErrorKind::Export => "fetch the file again",
///         _ if error.is_retryable() => "try again in a minute",
///         _ => "write it to the log",
///     }
/// }
/// assert_eq!(then(&Error::DeletedDuringExport(AuditChain::App)), "try again in a minute");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The chain was tampered with.
    Broken,
    /// The database failed with this kind of error.
    Database(db::ErrorKind),
    /// The cursor is invalid.
    Cursor,
    /// Retention deleted entries during the export.
    Retained,
    /// The text is not a complete export.
    Export,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Broken(_) => ErrorKind::Broken,
            Self::Database(error) => ErrorKind::Database(error.kind()),
            Self::Cursor => ErrorKind::Cursor,
            Self::DeletedDuringExport(_) => ErrorKind::Retained,
            Self::Export { .. } => ErrorKind::Export,
        }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::DeletedDuringExport(_) => true,
            Self::Broken(_) | Self::Cursor | Self::Export { .. } => false,
        }
    }
}

impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Cursor => Self::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]),
            Error::Database(error) => error.into(),
            Error::DeletedDuringExport(_) => {
                Self::unavailable("CONCURRENT_UPDATE", "old entries were deleted at the same time: try again")
                    .with_source(error)
            }
            Error::Broken(_) | Error::Export { .. } => Self::internal(error),
        }
    }
}

/// First place where a chain differs from what was recorded.
///
/// ```
/// use omnistack_core::audit::{AuditStore, AuditChain, Error};
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog}, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.removed")).await?;
/// # tx.commit().await?;
/// // The owner of the database can drop the trigger that protects entries.
/// app.db().query("drop trigger omni_audit_entries_delete").execute().await?;
/// app.db().query("delete from omni_audit_entries where sequence = 1").execute().await?;
/// match store.verify(AuditChain::App).await {
///     Err(Error::Broken(broken)) => {
///         assert_eq!((broken.chain, broken.sequence), (AuditChain::App, 1));
///         assert_eq!(broken.to_string(), "the audit chain of the app is broken at entry 1: it is missing");
///     }
///     other => panic!("this was not found: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain of the {chain} is broken at entry {sequence}: {kind}")]
#[non_exhaustive]
pub struct ChainBreak {
    /// The chain.
    pub chain: AuditChain,
    /// Number of the entry.
    pub sequence: i64,
    /// Kind of the break.
    pub kind: ChainBreakKind,
}

/// Kind of the first break of a chain.
///
/// ```
/// use omnistack_core::audit::{ChainBreakKind, Error, verify_export};
/// # use futures_util::TryStreamExt as _;
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog, AuditStore, AuditChain}, config::Config};
///
/// fn why(lines: &[String]) -> Option<ChainBreakKind> {
///     match verify_export(lines) {
///         Err(Error::Broken(broken)) => Some(broken.kind),
///         _ => None,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.removed")).await?;
/// # tx.commit().await?;
/// # let mut lines: Vec<String> = store.export(AuditChain::App).try_collect().await?;
/// assert_eq!(why(&lines), None);
/// lines[1] = lines[1].replace("backup.removed", "backup.made");
/// assert_eq!(why(&lines), Some(ChainBreakKind::Changed));
/// lines.remove(1);
/// assert_eq!(why(&lines), Some(ChainBreakKind::Truncated));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainBreakKind {
    /// The entry is missing, and later entries exist.
    Gap,
    /// The entry's hash does not match its columns: one of them was changed.
    Changed,
    /// The entry does not hold the hash of the previous entry: that entry was replaced, or this one was moved.
    Previous,
    /// The entry can't be read.
    Unreadable,
    /// The entry and all later ones are missing.
    Truncated,
    /// The entry should not exist: it is after the head, or before the entries that retention deleted.
    Unexpected,
    /// The chain's head is missing, or is not the last entry.
    Head,
    /// Entries up to this one were deleted, and no entry of the chain records a deletion by retention.
    Checkpoint,
}

impl fmt::Display for ChainBreakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "it is missing",
            Self::Changed => "it was changed",
            Self::Previous => "it does not follow the entry before it",
            Self::Unreadable => "it can't be read",
            Self::Truncated => "it and all later entries are missing",
            Self::Unexpected => "it should not exist",
            Self::Head => "the head of the chain is missing, or is not the last entry",
            Self::Checkpoint => "entries up to it were deleted, but not by retention",
        })
    }
}
