//! Database errors, by what a caller can do about them.

use std::{error::Error as StdError, fmt};

/// The error of a statement or a connection.
pub struct Error(Box<ErrorDetails>);

struct ErrorDetails {
    kind: ErrorKind,
    constraint: Option<String>,
    source: Box<dyn StdError + Send + Sync>,
}

/// The kind of a database error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `fetch_one` found no row.
    NotFound,
    /// A row with the same unique value exists.
    Unique,
    /// A referenced row does not exist, or other rows still reference the row.
    ForeignKey,
    /// A `check` constraint refused the value.
    Check,
    /// A required value is missing.
    NotNull,
    /// A value that the database can't store, such as NUL in text or a number out of range.
    InvalidValue,
    /// Conflict with another transaction. The whole transaction may be run again.
    Conflict,
    /// The statement took longer than allowed.
    Timeout,
    /// The database can't be reached, is restarting, is read-only or has no free connection or disk space.
    Unavailable,
    /// A table or column is missing: migrations have not run.
    Schema,
    /// The settings are invalid.
    Configuration,
    /// Any other error; a bug.
    Other,
}

impl ErrorKind {
    /// Returns the name in metrics and spans, such as `not_found`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unique => "unique",
            Self::ForeignKey => "foreign_key",
            Self::Check => "check",
            Self::NotNull => "not_null",
            Self::InvalidValue => "invalid_value",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Schema => "schema",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }
}

impl Error {
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message.into().into())
    }

    /// Returns the error for a URL that sqlx refuses. sqlx's own message is left out because it quotes the URL.
    pub(crate) fn invalid_url(_: sqlx::Error) -> Self {
        Self::configuration(
            "is not a valid URL; percent-encode special characters in the password, and check the parameters after `?`",
        )
    }

    /// Creates an error of a kind, for modules that refuse a value or fail in other ways while they use the database.
    pub fn new(kind: ErrorKind, source: Box<dyn StdError + Send + Sync>) -> Self {
        Self(Box::new(ErrorDetails { kind, constraint: None, source }))
    }

    /// Creates the error of a stored value that can't be read, such as the code of a currency that does not exist. In a
    /// response it is a 500, whose log line names the table, the row and the column. The value itself is left out: it can
    /// be personal.
    ///
    /// ```
    /// use omnistack_core::db::Error;
    ///
    /// let error = Error::unreadable("invoices", 7, "currency");
    /// assert!(error.to_string().starts_with("`currency` of the row 7 of `invoices` can't be read"));
    /// ```
    pub fn unreadable(table: &str, id: impl fmt::Display, column: &str) -> Self {
        let advice = "restore the value, or run the version of the app that has stored it";
        let message = format!("`{column}` of the row {id} of `{table}` can't be read; {advice}");
        Self::new(ErrorKind::Other, message.into())
    }

    /// Returns the error with a text before it and advice after it, for work that does not depend on migrations that have
    /// run.
    pub(crate) fn in_context(self, context: &str, advice: &str) -> Self {
        let kind = match self.kind() {
            ErrorKind::Schema => ErrorKind::Other,
            kind => kind,
        };
        let ErrorDetails { constraint, source, .. } = *self.0;
        Self(Box::new(ErrorDetails { kind, constraint, source: format!("{context}: {source}{advice}").into() }))
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same work may succeed if it is tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Conflict | ErrorKind::Unavailable)
    }

    /// Returns the name of the violated constraint in PostgreSQL's convention, on both databases:
    /// `projects_tenant_id_name_key`.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let kind = match &error {
            E::RowNotFound => ErrorKind::NotFound,
            E::Database(error) => kind_of(error.as_ref()),
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
                ErrorKind::Unavailable
            }
            // The server closed the connection in the middle of a message.
            E::Protocol(_) => ErrorKind::Unavailable,
            E::Encode(_) | E::InvalidArgument(_) => ErrorKind::InvalidValue,
            E::Configuration(_) => ErrorKind::Configuration,
            _ => ErrorKind::Other,
        };
        let constraint = match &error {
            E::Database(error) => constraint(error.as_ref()),
            _ => None,
        };
        Self(Box::new(ErrorDetails { kind, constraint, source: Box::new(error) }))
    }
}

fn kind_of(error: &dyn sqlx::error::DatabaseError) -> ErrorKind {
    use sqlx::error::ErrorKind as K;
    match error.kind() {
        K::UniqueViolation => return ErrorKind::Unique,
        K::ForeignKeyViolation => return ErrorKind::ForeignKey,
        K::NotNullViolation => return ErrorKind::NotNull,
        K::CheckViolation => return ErrorKind::Check,
        _ => {}
    }
    let code = error.code().unwrap_or_default();
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return kind_of_sqlite(code.parse().unwrap_or(0), error.message());
    }
    kind_of_postgres(&code)
}

/// Maps an SQLSTATE code (PostgreSQL manual, appendix A).
fn kind_of_postgres(code: &str) -> ErrorKind {
    match code {
        "57014" => ErrorKind::Timeout,
        // The number of values differs from that of the placeholders.
        "08P01" => ErrorKind::Other,
        "40001" | "40P01" | "55P03" => ErrorKind::Conflict,
        "42P01" | "42703" | "3F000" | "42883" => ErrorKind::Schema,
        // Starting up, shutting down, terminated by an operator, idle too long in a transaction.
        "57P01" | "57P02" | "57P03" | "25P03" | "58030" | "25006" => ErrorKind::Unavailable,
        _ => match code.get(..2) {
            Some("22") => ErrorKind::InvalidValue,
            Some("08" | "53") => ErrorKind::Unavailable,
            Some("28" | "3D") => ErrorKind::Configuration,
            _ => ErrorKind::Other,
        },
    }
}

/// Maps a result code (<https://www.sqlite.org/rescode.html>). The low byte is the primary code.
#[cfg(feature = "sqlite")]
fn kind_of_sqlite(code: i32, message: &str) -> ErrorKind {
    match code & 0xff {
        // BUSY, LOCKED
        5 | 6 => ErrorKind::Conflict,
        // INTERRUPT, by `Tx::set_statement_timeout`
        9 => ErrorKind::Timeout,
        // READONLY, IOERR, FULL, CANTOPEN
        8 | 10 | 13 | 14 => ErrorKind::Unavailable,
        // TOOBIG, MISMATCH, RANGE
        18 | 20 | 25 => ErrorKind::InvalidValue,
        1 if ["no such table", "no such column", " has no column named "].iter().any(|says| message.contains(says)) => {
            ErrorKind::Schema
        }
        // CONSTRAINT_DATATYPE
        19 if code == 3091 => ErrorKind::InvalidValue,
        _ => ErrorKind::Other,
    }
}

fn constraint(error: &dyn sqlx::error::DatabaseError) -> Option<String> {
    if let Some(name) = error.constraint() {
        return Some(name.to_owned());
    }
    // SQLite: `UNIQUE constraint failed: projects.tenant_id, projects.name`, `CHECK constraint failed: name`
    let (what, columns) = error.message().split_once(" constraint failed: ")?;
    match what {
        // CONSTRAINT_PRIMARYKEY
        "UNIQUE" if error.code().as_deref() == Some("1555") => {
            return columns.split_once('.').map(|(table, _)| format!("{table}_pkey"));
        }
        "UNIQUE" => {}
        "CHECK" => return Some(columns.to_owned()),
        _ => return None,
    }
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.')?;
        if name.is_empty() {
            name.push_str(table);
        }
        name.push('_');
        name.push_str(column);
    }
    Some(name + "_key")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source.fmt(f)?;
        match self.kind() {
            ErrorKind::Schema => f.write_str(" (have the migrations run? `migrate` runs them)"),
            ErrorKind::Unavailable if matches!(self.0.source.downcast_ref(), Some(sqlx::Error::PoolTimedOut)) => {
                f.write_str(" (is the server of DATABASE_URL up, and DATABASE_MAX_CONNECTIONS enough?)")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.0.kind).field("source", &self.0.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.source()
    }
}
