//! What can be wrong with a chain, and with asking.

use std::fmt;

use super::Chain;
use crate::{
    db,
    http::{self, FieldProblem},
};

/// Why entries could not be listed, verified, exported or retained.
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
/// # let store: AuditStore = app.ctx().get()?;
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
    Broken(#[from] Broken),
    /// The database's.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// Not a `next_cursor` of a list of entries.
    #[error("this is not a cursor of a list of audit entries")]
    Cursor,
    /// Retention removed entries while they were exported; export again.
    #[error("retention removed entries of the {0} during the export")]
    Retained(Chain),
    /// The text is not a whole export.
    #[error("line {line} of the export {problem}")]
    Export {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// What an [`Error`] means.
///
/// ```
/// use omnistack_core::audit::{Chain, Error, ErrorKind};
///
/// /// What a nightly check does about it.
/// fn then(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::Broken => "wake somebody",
///         ErrorKind::Export => "fetch the file again",
///         _ if error.is_retryable() => "try again in a minute",
///         _ => "write it to the log",
///     }
/// }
/// assert_eq!(then(&Error::Retained(Chain::App)), "try again in a minute");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The chain was tampered with.
    Broken,
    /// The database's, of this kind.
    Database(db::ErrorKind),
    /// The caller's cursor is no cursor.
    Cursor,
    /// Retention came between.
    Retained,
    /// The text is not a whole export.
    Export,
}

impl Error {
    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Broken(_) => ErrorKind::Broken,
            Self::Database(error) => ErrorKind::Database(error.kind()),
            Self::Cursor => ErrorKind::Cursor,
            Self::Retained(_) => ErrorKind::Retained,
            Self::Export { .. } => ErrorKind::Export,
        }
    }

    /// Whether the same work may succeed if tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::Retained(_) => true,
            Self::Broken(_) | Self::Cursor | Self::Export { .. } => false,
        }
    }
}

impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Cursor => Self::invalid([FieldProblem::new(
                "cursor",
                "is not a cursor of this list; use `next_cursor` as it came",
            )]),
            Error::Database(error) => error.into(),
            Error::Retained(_) => {
                Self::unavailable("CONCURRENT_UPDATE", "old entries were removed at the same moment; try again")
                    .cause(error)
            }
            Error::Broken(_) | Error::Export { .. } => Self::internal(error),
        }
    }
}

/// The first place where a chain is not as it was recorded.
///
/// ```
/// use omnistack_core::audit::{AuditStore, Chain, Error};
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog}, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.ctx().get()?, app.ctx().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.removed")).await?;
/// # tx.commit().await?;
/// // Whoever owns the database can take away the trigger that keeps entries.
/// app.db().query("drop trigger audit_entries_delete").execute().await?;
/// app.db().query("delete from audit_entries where sequence = 1").execute().await?;
/// match store.verify(Chain::App).await {
///     Err(Error::Broken(broken)) => {
///         assert_eq!((broken.chain, broken.sequence), (Chain::App, 1));
///         assert_eq!(broken.to_string(), "the audit chain of the app is broken at entry 1: it is missing");
///     }
///     other => panic!("this was not found: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain of the {chain} is broken at entry {sequence}: {why}")]
#[non_exhaustive]
pub struct Broken {
    /// Which chain.
    pub chain: Chain,
    /// The number of the entry.
    pub sequence: i64,
    /// What is wrong with it.
    pub why: Break,
}

/// What is wrong at the first broken entry of a chain.
///
/// ```
/// use omnistack_core::audit::{Break, Error, verify_export};
/// # use futures_util::TryStreamExt as _;
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog, AuditStore, Chain}, config::Config};
///
/// fn why(lines: &[String]) -> Option<Break> {
///     match verify_export(lines) {
///         Err(Error::Broken(broken)) => Some(broken.why),
///         _ => None,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.ctx().get()?, app.ctx().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.removed")).await?;
/// # tx.commit().await?;
/// # let mut lines: Vec<String> = store.export(Chain::App).try_collect().await?;
/// assert_eq!(why(&lines), None);
/// lines[1] = lines[1].replace("backup.removed", "backup.made");
/// assert_eq!(why(&lines), Some(Break::Changed));
/// lines.remove(1);
/// assert_eq!(why(&lines), Some(Break::Truncated));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// The entry is missing, and later ones are there.
    Gap,
    /// Its columns don't give its hash: one of them was changed.
    Changed,
    /// It does not hold the hash of the entry before: that one was replaced, or this one moved.
    Previous,
    /// It can't be read at all.
    Unreadable,
    /// It and all later ones are missing: the tail was cut off.
    Truncated,
    /// It should not be there: behind the head, or before what retention removed.
    Unexpected,
    /// The chain's head is missing, or is not the last entry.
    Head,
    /// Entries up to this one were removed, and no entry of the chain says that retention did.
    Checkpoint,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "it is missing",
            Self::Changed => "it was changed",
            Self::Previous => "it does not follow the entry before it",
            Self::Unreadable => "it can't be read",
            Self::Truncated => "it and all later entries are missing",
            Self::Unexpected => "it should not be there",
            Self::Head => "the head of the chain is missing, or is not the last entry",
            Self::Checkpoint => "entries up to it were removed, not by retention",
        })
    }
}
