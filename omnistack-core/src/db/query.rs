//! One statement and its arguments.

use std::{fmt, future::ready, io, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Args, Dialect, Error, ErrorKind, Record, Value,
    driver::{Bound, arguments, run},
    observe::Observers,
};

/// The same statement in both dialects, for the few that differ.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// For PostgreSQL.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

/// What [`Db::query`](super::Db::query) accepts: a literal for both dialects, a pair, or composed text wrapped in
/// [`AssertSqlSafe`] by whoever made sure that no input became part of it.
pub trait IntoSql {
    /// The text for this dialect.
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

/// A statement being prepared: bind its values in order, then run it.
#[must_use = "a query does nothing until it is run"]
pub struct Query<'a> {
    sql: SqlStr,
    bound: Bound<'a>,
    observers: &'a Arc<Observers>,
    refused: Option<Error>,
}

impl<'a> Query<'a> {
    pub(super) fn new(sql: SqlStr, bound: Bound<'a>, observers: &'a Arc<Observers>) -> Self {
        Self { sql, bound, observers, refused: None }
    }

    /// Binds the value of the next placeholder.
    pub fn bind<T: Value>(mut self, value: T) -> Self {
        let added = arguments!(&mut self.bound, |args| sqlx::Arguments::add(args, value));
        if let Err(error) = added {
            self.refused.get_or_insert_with(|| sqlx::Error::Encode(error).into());
        }
        self
    }

    /// Takes all values at once, in place of those bound so far.
    pub fn args(mut self, args: Args) -> Self {
        if let Some(error) = args.give_to(&mut self.bound) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Runs it and returns how many rows it changed.
    pub async fn execute(self) -> Result<u64, Error> {
        let Self { sql, bound, observers, refused } = self;
        complete(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.watch());
        let result = run!(bound, |executor, args| async {
            sqlx::query_with(sql, args).execute(executor).await.map(|done| done.rows_affected())
        });
        watch.ended(text.as_str(), result.map_err(Error::from))
    }

    /// Every row.
    pub async fn fetch_all<T: Record>(self) -> Result<Vec<T>, Error> {
        let Self { sql, bound, observers, refused } = self;
        complete(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.watch());
        let result = run!(bound, |executor, args| sqlx::query_as_with(sql, args).fetch_all(executor));
        watch.ended(text.as_str(), result.map_err(Error::from))
    }

    /// The first row, if there is one.
    pub async fn fetch_optional<T: Record>(self) -> Result<Option<T>, Error> {
        let Self { sql, bound, observers, refused } = self;
        complete(&sql, &bound, refused)?;
        let (text, watch) = (sql.clone(), observers.watch());
        let result = run!(bound, |executor, args| sqlx::query_as_with(sql, args).fetch_optional(executor));
        watch.ended(text.as_str(), result.map_err(Error::from))
    }

    /// The first row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) when there is none.
    pub async fn fetch_one<T: Record>(self) -> Result<T, Error> {
        self.fetch_optional().await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The rows as they come, for results too large to hold. Observers don't see it: its time is the reader's.
    pub fn stream<T: Record + 'a>(self) -> impl Stream<Item = Result<T, Error>> + Send + 'a {
        let Self { sql, bound, refused, .. } = self;
        if let Err(refused) = complete(&sql, &bound, refused) {
            return stream::iter([Err(refused)]).boxed();
        }
        let (rows, mut received) = mpsc::channel(1);
        let read = async move {
            let read = match bound {
                #[cfg(feature = "postgres")]
                Bound::PostgresPool(database, args) => match database.acquire().await {
                    Ok(mut lease) => lease.stream(sql, args, &rows).await,
                    Err(error) => Err(error),
                },
                #[cfg(feature = "postgres")]
                Bound::PostgresConnection(lease, args) => lease.stream(sql, args, &rows).await,
                #[cfg(feature = "sqlite")]
                Bound::SqlitePool(database, pool, args) => match database.ready().await {
                    Ok(()) => send(sqlx::query_as_with(sql, args).fetch(pool), None, &rows).await,
                    Err(error) => Err(error),
                },
                #[cfg(feature = "sqlite")]
                Bound::SqliteConnection(connection, args) => {
                    send(sqlx::query_as_with(sql, args).fetch(connection), None, &rows).await
                }
            };
            if let Err(error) = read {
                // Unless the stream was dropped.
                _ = rows.send(Err(error)).await;
            }
        };
        let read = stream::once(read).filter_map(|()| ready(None));
        stream::select(stream::poll_fn(move |context| received.poll_recv(context)), read).err_into().boxed()
    }
}

/// Passes rows on as they come, each within a limit, until there are no more or the stream they are for is dropped.
pub(super) async fn send<T>(
    mut found: impl Stream<Item = sqlx::Result<T>> + Unpin,
    limit: Option<Duration>,
    rows: &mpsc::Sender<sqlx::Result<T>>,
) -> sqlx::Result<()> {
    while let Some(row) = within(limit, found.try_next()).await? {
        if rows.send(Ok(row)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Waits for an answer as long as it may take.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let Some(limit) = limit else { return answer.await };
    timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("the database has not answered within {limit:?}: the answer was lost on the way");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message)))
    })
}

/// Refuses a statement whose values could not be encoded, or are not as many as its placeholders: SQLite would take those
/// that are missing for null, and those that are left over for nothing.
fn complete(sql: &SqlStr, bound: &Bound<'_>, refused: Option<Error>) -> Result<(), Error> {
    let given = arguments!(bound, |args| sqlx::Arguments::len(args));
    match refused {
        Some(error) => Err(error),
        None if given != placeholders(sql.as_str()) => {
            Err(Error::new(ErrorKind::Other, format!("{given} values for `{}`", sql.as_str()).into()))
        }
        None => Ok(()),
    }
}

/// The highest `$n` outside of quotes.
fn placeholders(sql: &str) -> usize {
    let (mut highest, mut number, mut quoted) = (0, None, false);
    for byte in sql.bytes() {
        number = match (byte, number) {
            (b'0'..=b'9', Some(number)) => Some(number * 10 + usize::from(byte - b'0')),
            (b'$', _) if !quoted => Some(0),
            _ => None,
        };
        quoted ^= byte == b'\'';
        highest = highest.max(number.unwrap_or(0));
    }
    highest
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("sql", &self.sql.as_str()).finish_non_exhaustive()
    }
}
