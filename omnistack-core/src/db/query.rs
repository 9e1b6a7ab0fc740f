//! Statements and their arguments.

use std::{fmt, future::ready, io, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Arguments, BindValue, Dialect, Error, ErrorKind, Record,
    observe::Observers,
    pools::{BoundStatement, arguments, run},
};

/// A statement in both dialects, for the few that differ.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// Text for PostgreSQL.
    pub postgres: &'static str,
    /// Text for SQLite.
    pub sqlite: &'static str,
}

/// SQL that [`Db::query`](super::Db::query) accepts: a literal for both dialects, a pair, or composed text in
/// [`AssertSqlSafe`]. The caller that wraps it ensures that no input is part of the text.
pub trait IntoSql {
    /// Returns the text for a dialect.
    fn into_sql(self, dialect: Dialect) -> SqlStr;
}

impl IntoSql for &'static str {
    fn into_sql(self, _: Dialect) -> SqlStr {
        self.into_sql_str()
    }
}

impl IntoSql for Sql {
    fn into_sql(self, dialect: Dialect) -> SqlStr {
        match dialect {
            Dialect::Postgres => self.postgres.into_sql_str(),
            Dialect::Sqlite => self.sqlite.into_sql_str(),
        }
    }
}

impl IntoSql for AssertSqlSafe<String> {
    fn into_sql(self, _: Dialect) -> SqlStr {
        self.into_sql_str()
    }
}

impl IntoSql for AssertSqlSafe<Arc<str>> {
    fn into_sql(self, _: Dialect) -> SqlStr {
        self.into_sql_str()
    }
}

/// A statement that is being prepared: bind its values in order, then run it.
#[must_use = "a query does nothing until it is run"]
pub struct SqlQuery<'a> {
    sql: SqlStr,
    bound: BoundStatement<'a>,
    observers: &'a Arc<Observers>,
    encoding_error: Option<Error>,
}

impl<'a> SqlQuery<'a> {
    pub(super) fn new(sql: SqlStr, bound: BoundStatement<'a>, observers: &'a Arc<Observers>) -> Self {
        Self { sql, bound, observers, encoding_error: None }
    }

    /// Binds the value of the next placeholder. A value that can't be encoded makes the statement fail when it
    /// runs.
    pub fn bind<T: BindValue>(mut self, value: T) -> Self {
        let added = arguments!(&mut self.bound, |args| sqlx::Arguments::add(args, value));
        if let Err(error) = added {
            self.encoding_error.get_or_insert_with(|| sqlx::Error::Encode(error).into());
        }
        self
    }

    /// Sets all values at once, replacing those bound so far.
    pub fn args(mut self, args: Arguments) -> Self {
        if let Some(error) = args.set_on(&mut self.bound) {
            self.encoding_error.get_or_insert(error);
        }
        self
    }

    /// Runs the statement and returns the number of rows it changed.
    ///
    /// # Errors
    /// The error of the database, by [`ErrorKind`]; [`ErrorKind::InvalidValue`] if a value can't be encoded.
    pub async fn execute(self) -> Result<u64, Error> {
        let Self { sql, bound, observers, encoding_error: refused } = self;
        check_values(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.start());
        let result = run!(bound, |executor, args| async {
            sqlx::query_with(sql, args).execute(executor).await.map(|done| done.rows_affected())
        });
        watch.finish(text.as_str(), result.map_err(Error::from))
    }

    /// Returns all rows.
    ///
    /// # Errors
    /// The error of the database, by [`ErrorKind`]; [`ErrorKind::InvalidValue`] if a value can't be encoded.
    pub async fn fetch_all<T: Record>(self) -> Result<Vec<T>, Error> {
        let Self { sql, bound, observers, encoding_error: refused } = self;
        check_values(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.start());
        let result = run!(bound, |executor, args| sqlx::query_as_with(sql, args).fetch_all(executor));
        watch.finish(text.as_str(), result.map_err(Error::from))
    }

    /// Returns the first row, or `None` if there is no row.
    ///
    /// # Errors
    /// The error of the database, by [`ErrorKind`]; [`ErrorKind::InvalidValue`] if a value can't be encoded.
    pub async fn fetch_optional<T: Record>(self) -> Result<Option<T>, Error> {
        let Self { sql, bound, observers, encoding_error: refused } = self;
        check_values(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.start());
        let result = run!(bound, |executor, args| sqlx::query_as_with(sql, args).fetch_optional(executor));
        watch.finish(text.as_str(), result.map_err(Error::from))
    }

    /// Returns the first row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if there is no row; otherwise those of
    /// [`fetch_optional`](Self::fetch_optional).
    pub async fn fetch_one<T: Record>(self) -> Result<T, Error> {
        self.fetch_optional().await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Returns a stream of the rows as they arrive, for results too large for memory. Observers don't receive it,
    /// since its duration depends on the reader.
    pub fn stream<T: Record + 'a>(self) -> impl Stream<Item = Result<T, Error>> + Send + 'a {
        let Self { sql, bound, encoding_error: refused, .. } = self;
        if let Err(refused) = check_values(&sql, &bound, refused) {
            return stream::iter([Err(refused)]).boxed();
        }
        let (rows, mut received) = mpsc::channel(1);
        let read = async move {
            let read = match bound {
                #[cfg(feature = "postgres")]
                BoundStatement::PostgresPool(database, args) => match database.acquire().await {
                    Ok(mut lease) => lease.stream(sql, args, &rows).await,
                    Err(error) => Err(error),
                },
                #[cfg(feature = "postgres")]
                BoundStatement::PostgresConnection(lease, args) => lease.stream(sql, args, &rows).await,
                #[cfg(feature = "sqlite")]
                BoundStatement::SqlitePool(database, pool, args) => match database.check_file().await {
                    Ok(()) => send(sqlx::query_as_with(sql, args).fetch(pool), None, &rows).await,
                    Err(error) => Err(error),
                },
                #[cfg(feature = "sqlite")]
                BoundStatement::SqliteConnection(connection, args) => {
                    send(sqlx::query_as_with(sql, args).fetch(connection), None, &rows).await
                }
            };
            if let Err(error) = read {
                // Fails if the stream was dropped.
                _ = rows.send(Err(error)).await;
            }
        };
        let read = stream::once(read).filter_map(|()| ready(None));
        stream::select(stream::poll_fn(move |context| received.poll_recv(context)), read).err_into().boxed()
    }
}

/// Sends rows as they arrive, each within a limit, until there are no more or the receiver is dropped.
pub(super) async fn send<T>(
    mut found: impl Stream<Item = sqlx::Result<T>> + Unpin,
    limit: Option<Duration>,
    rows: &mpsc::Sender<sqlx::Result<T>>,
) -> sqlx::Result<()> {
    while let Some(row) = with_limit(limit, found.try_next()).await? {
        if rows.send(Ok(row)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Waits for a response within a limit.
pub(super) async fn with_limit<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let Some(limit) = limit else { return answer.await };
    timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("the database did not respond within {limit:?}; the response was lost");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message)))
    })
}

/// Returns an error if a value could not be encoded, or if the number of values differs from that of the
/// placeholders. SQLite would treat missing values as null and ignore superfluous ones.
fn check_values(sql: &SqlStr, bound: &BoundStatement<'_>, refused: Option<Error>) -> Result<(), Error> {
    let given = arguments!(bound, |args| sqlx::Arguments::len(args));
    match refused {
        Some(error) => Err(error),
        None if given != placeholders(sql.as_str(), bound.dialect()) => {
            Err(Error::new(ErrorKind::Other, format!("{given} values for `{}`", sql.as_str()).into()))
        }
        None => Ok(()),
    }
}

/// Returns the highest `$n` outside of quotes, or without any the number of `?` on SQLite. On PostgreSQL, `?` is an
/// operator.
fn placeholders(sql: &str, dialect: Dialect) -> usize {
    let (mut highest, mut number, mut next, mut quoted) = (0, None, 0, false);
    for byte in sql.bytes() {
        number = match (byte, number) {
            (b'0'..=b'9', Some(number)) => Some(number * 10 + usize::from(byte - b'0')),
            (b'$', _) if !quoted => Some(0),
            _ => None,
        };
        next += usize::from(byte == b'?' && !quoted && dialect == Dialect::Sqlite);
        quoted ^= byte == b'\'';
        highest = highest.max(number.unwrap_or(0));
    }
    if highest == 0 { next } else { highest }
}

impl fmt::Debug for SqlQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlQuery").field("sql", &self.sql.as_str()).finish_non_exhaustive()
    }
}
