//! Statements with many rows of values.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
};

use sqlx::AssertSqlSafe;

use super::{Arguments, Dialect, Error, Record, Tx};

/// Numbers of rows of one statement on SQLite. There are few, so that each statement is prepared once.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];
/// Largest number of rows of one statement on PostgreSQL.
const MAX_ROWS_POSTGRES: usize = 1_000;

/// An `insert` of any number of rows. It runs as few statements. On PostgreSQL, one has up to 1,000 rows, whose values
/// are an array for each column; on SQLite, its `values` have 256, 64, 16, 4 or 1 rows.
///
/// ```
/// use omnistack_core::db::{BulkInsert, Db, Error};
///
/// static INSERT: BulkInsert<2> = BulkInsert::new(
///     "insert into planets (name, moons) values",
///     "on conflict (name) do nothing returning name",
/// );
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let db = Db::memory()?;
/// db.query("create table planets (name text primary key, moons bigint not null)").execute().await?;
/// let mut tx = db.begin().await?;
/// let planets = [("Mars", 2_i64), ("Venus", 0), ("Mars", 3)];
/// let stored: Vec<(String,)> = INSERT
///     .fetch_all(&mut tx, &planets, |row, (name, moons)| {
///         row.push(*name);
///         row.push(*moons);
///     })
///     .await?;
/// assert_eq!(stored.len(), 2);
/// # tx.commit().await
/// # }
/// ```
///
/// A query can join such rows to its tables: its text before the rows ends with `from (values`, and that after them
/// begins with `) as` and a name. The columns of the rows are `column1`, `column2` and so on.
///
/// On PostgreSQL, the values have built-in types.
pub struct BulkInsert<const COLUMNS: usize> {
    head: &'static str,
    tail: &'static str,
    postgres: OnceLock<Arc<str>>,
    sqlite: [OnceLock<Arc<str>>; CHUNKS.len()],
}

impl<const COLUMNS: usize> BulkInsert<COLUMNS> {
    /// Creates a statement of the text before the rows, which ends with `values`, and the text after them. Neither has
    /// placeholders.
    pub const fn new(head: &'static str, tail: &'static str) -> Self {
        Self { head, tail, postgres: OnceLock::new(), sqlite: [const { OnceLock::new() }; CHUNKS.len()] }
    }

    /// Inserts rows. `bind` adds the values of one row, in the order of the columns. Returns the rows of `returning`.
    ///
    /// # Errors
    /// The errors of the database; [`ErrorKind::Other`](super::ErrorKind::Other) if `bind` adds another number of values
    /// than there are columns.
    pub async fn fetch_all<T: Record, R>(
        &self,
        tx: &mut Tx,
        rows: &[R],
        bind: impl Fn(&mut Arguments, &R),
    ) -> Result<Vec<T>, Error> {
        let mut returned = Vec::new();
        for (text, chunk) in self.statements(tx.dialect(), rows) {
            let args = arguments::<COLUMNS, R>(tx, &text, chunk, &bind);
            returned.extend(tx.query(AssertSqlSafe(text)).args(args).fetch_all::<T>().await?);
        }
        Ok(returned)
    }

    /// Inserts rows as [`fetch_all`](Self::fetch_all) does, and returns their number.
    ///
    /// # Errors
    /// Those of [`fetch_all`](Self::fetch_all).
    pub async fn execute<R>(&self, tx: &mut Tx, rows: &[R], bind: impl Fn(&mut Arguments, &R)) -> Result<u64, Error> {
        let mut count = 0;
        for (text, chunk) in self.statements(tx.dialect(), rows) {
            let args = arguments::<COLUMNS, R>(tx, &text, chunk, &bind);
            count += tx.query(AssertSqlSafe(text)).args(args).execute().await?;
        }
        Ok(count)
    }

    /// Splits rows into those of each statement.
    fn statements<'r, R>(&self, dialect: Dialect, mut rows: &'r [R]) -> impl Iterator<Item = (Arc<str>, &'r [R])> {
        std::iter::from_fn(move || {
            let (text, size) = match dialect {
                Dialect::Postgres if rows.is_empty() => return None,
                Dialect::Postgres => (self.postgres_text(), rows.len().min(MAX_ROWS_POSTGRES)),
                Dialect::Sqlite => {
                    let index = CHUNKS.iter().position(|size| *size <= rows.len())?;
                    (self.sqlite_text(index), CHUNKS[index])
                }
            };
            let (chunk, rest) = rows.split_at(size);
            rows = rest;
            Some((text, chunk))
        })
    }

    /// Returns the text for any number of rows. It is planned once, however many there are.
    fn postgres_text(&self) -> Arc<str> {
        let text = self.postgres.get_or_init(|| {
            let numbered = |name: &str| (1..=COLUMNS).map(|number| format!("{name}{number}")).collect::<Vec<_>>();
            let (arrays, columns) = (numbered("$").join(", "), numbered("column").join(", "));
            let head = self.head.strip_suffix("values").unwrap_or(self.head);
            format!("{head}select * from unnest({arrays}) as given ({columns}) {}", self.tail).into()
        });
        text.clone()
    }

    fn sqlite_text(&self, index: usize) -> Arc<str> {
        let text = self.sqlite[index].get_or_init(|| {
            let mut text = self.head.to_owned();
            for row in 0..CHUNKS[index] {
                text.push_str(if row == 0 { " (" } else { ", (" });
                for column in 1..=COLUMNS {
                    let comma = if column == 1 { "" } else { ", " };
                    let placeholder = Dialect::Sqlite.next_placeholder(row * COLUMNS + column);
                    _ = write!(text, "{comma}{placeholder}");
                }
                text.push(')');
            }
            _ = write!(text, " {}", self.tail);
            text.into()
        });
        text.clone()
    }
}

fn arguments<const COLUMNS: usize, R>(
    tx: &Tx,
    statement: &str,
    rows: &[R],
    bind: &impl Fn(&mut Arguments, &R),
) -> Arguments {
    let mut args = Arguments::of_rows(tx.dialect(), COLUMNS);
    for row in rows {
        bind(&mut args, row);
    }
    args.expect_count(rows.len() * COLUMNS, statement);
    args
}

impl<const COLUMNS: usize> fmt::Debug for BulkInsert<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkInsert").field("head", &self.head).field("tail", &self.tail).finish_non_exhaustive()
    }
}
