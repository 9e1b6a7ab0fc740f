//! SQL lists that read a bounded number of rows.

use std::{fmt, time::Duration};

use sqlx::AssertSqlSafe;

use super::{Search, search::short_name};
use crate::{
    db::{self, Arguments, Dialect, Record, Tx},
    http::{Error, MAX_COUNTED_ROWS, NumberedPage},
};

/// Longest duration of a statement of a list with a search.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Most rows that are read in the order of the list to find a text before the search index is used. A common text
/// is found among these rows, and the index would return too many rows to sort. A list that has no more rows is always
/// searched without the index.
const MAX_PROBED_ROWS: u32 = 2_000;
/// The same for a numbered page. If one row in three matches, all rows that are counted are among these.
const MAX_PROBED_ROWS_OF_PAGE: u32 = 3 * MAX_COUNTED_ROWS;

type Conditions<'a> = Box<dyn Fn(&mut Arguments) -> Result<Vec<String>, Error> + Send + Sync + 'a>;

/// An SQL list that reads a bounded number of rows however many the table has, if there is an index on the
/// columns of its conditions and order, and an index for its [`Search`]. [`Crud`](super::Crud) uses it for its
/// lists.
///
/// The table must have a column `id`. The SQL parts must come from the program; values from callers go into
/// [`Arguments`].
#[must_use]
pub struct SqlList<'a> {
    table: &'a str,
    order: &'a str,
    conditions: Conditions<'a>,
    search: Option<Search<'a>>,
}

impl<'a> SqlList<'a> {
    /// Creates a list of the rows of a table that meet the conditions, in an order such as
    /// `created_at desc, id desc`. The function `conditions` is called once for each statement.
    pub fn new(
        table: &'a str,
        order: &'a str,
        conditions: impl Fn(&mut Arguments) -> Result<Vec<String>, Error> + Send + Sync + 'a,
    ) -> Self {
        Self { table, order, conditions: Box::new(conditions), search: None }
    }

    /// Limits the list to rows that contain a text.
    pub fn search(mut self, search: Option<Search<'a>>) -> Self {
        self.search = search;
        self
    }

    /// Returns the first rows of the list, at most `limit`.
    ///
    /// # Errors
    /// 503 `SEARCH_TIMEOUT` if a search takes more than three seconds; the errors of the database.
    pub async fn first<T: Record>(&self, tx: &mut Tx, columns: &str, limit: u32) -> Result<Vec<T>, Error> {
        let (source, _) = self.source(tx, MAX_PROBED_ROWS, limit).await?;
        self.rows(tx, source, columns, limit, 0).await
    }

    /// Returns a page by its number, counted from 1, and the total number of rows, counted up to
    /// [`MAX_COUNTED_ROWS`].
    ///
    /// # Errors
    /// 503 `SEARCH_TIMEOUT` if a search takes more than three seconds; the errors of the database.
    pub async fn page<T: Record>(
        &self,
        tx: &mut Tx,
        columns: &str,
        page: u32,
        page_size: u32,
    ) -> Result<NumberedPage<T>, Error> {
        let most = MAX_COUNTED_ROWS + 1;
        let (source, found) = self.source(tx, MAX_PROBED_ROWS_OF_PAGE, most).await?;
        let counted = match found {
            Some(found) => found,
            None => self.count(tx, source, most).await?,
        };
        let items = self.rows(tx, source, columns, page_size, (page - 1).saturating_mul(page_size)).await?;
        Ok(NumberedPage::new(items, page, page_size, counted.unsigned_abs()))
    }

    /// Returns where to find the first `enough` rows, and their number if it is known. They are among the first
    /// `probed` rows of the list if `enough` of these contain the text, or if the list has at most [`MAX_PROBED_ROWS`]
    /// rows.
    async fn source(&self, tx: &mut Tx, probed: u32, enough: u32) -> Result<(RowSource, Option<i64>), Error> {
        let Some(search) = &self.search else { return Ok((RowSource::Table, None)) };
        tx.set_statement_timeout(SEARCH_TIMEOUT).await?;
        if tx.dialect() == Dialect::Postgres {
            // A plan for any tenant expects few rows, and sorts all of them.
            tx.query("set local plan_cache_mode = force_custom_plan").execute().await?;
        }
        let first = RowSource::First(probed);
        let mut args = Arguments::new(tx.dialect());
        let matches = self.select(tx, first, "1", &mut args)?;
        let conditions = filter(&(self.conditions)(&mut args)?);
        let Self { table, order, .. } = self;
        // The list is short if it has no row after `MAX_PROBED_ROWS` others. That row is looked up only if too few rows
        // contain the text, and in the order of the list, so that the same index bounds the rows that are read.
        let sql = format!(
            "select found, case when found >= {enough} then true else not exists \
             (select 1 from {table}{conditions} order by {order} limit 1 offset {MAX_PROBED_ROWS}) end \
             from (select count(*) as found from ({matches} limit {enough}) as matches) as probe"
        );
        let (found, suffices): (i64, bool) =
            self.map_timeout(tx.query(AssertSqlSafe(sql)).args(args).fetch_one().await)?;
        Ok(if suffices {
            (first, Some(found))
        } else if search.is_indexed() {
            (RowSource::SearchIndex, None)
        } else {
            (RowSource::Table, None)
        })
    }

    /// Returns the number of rows, counted up to `most`.
    async fn count(&self, tx: &mut Tx, source: RowSource, most: u32) -> Result<i64, Error> {
        let mut args = Arguments::new(tx.dialect());
        let counted = self.select(tx, source, "1", &mut args)?;
        let sql = format!("select count(*) from ({counted} limit {most}) as counted");
        let (counted,) = self.map_timeout(tx.query(AssertSqlSafe(sql)).args(args).fetch_one().await)?;
        Ok(counted)
    }

    async fn rows<T: Record>(
        &self,
        tx: &mut Tx,
        source: RowSource,
        columns: &str,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<T>, Error> {
        let mut args = Arguments::new(tx.dialect());
        let Self { table, order, .. } = self;
        // Rows before the offset are read from the index alone, if it has all columns of the conditions.
        let passes_over = offset > 0;
        let select = self.select(tx, source, if passes_over { "id" } else { columns }, &mut args)?;
        // The limit is part of the text: a planner that doesn't know it expects a tenth of all rows.
        let mut sql = format!("{select} order by {order} limit {limit}");
        if passes_over {
            let offset = args.push(i64::from(offset));
            sql = format!("select {columns} from {table} where id in ({sql} offset ${offset}) order by {order}");
        }
        self.map_timeout(tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await)
    }

    fn select(&self, tx: &Tx, source: RowSource, columns: &str, args: &mut Arguments) -> Result<String, Error> {
        let Self { table, order, search, .. } = self;
        let (mut from, mut conditions) = ((*table).to_owned(), (self.conditions)(args)?);
        if let RowSource::First(probed) = source {
            // A planner that expects few matches would sort the whole list before it looks at the first rows.
            let (filter, alias) = (filter(&conditions), short_name(table));
            from = format!("(select * from {table}{filter} order by {order} limit {probed}) as {alias}");
            conditions.clear();
        }
        if let Some(search) = search {
            conditions.push(search.contains(tx.dialect(), args));
            if matches!(source, RowSource::SearchIndex) {
                search.narrow(tx.dialect(), &mut from, &mut conditions, args);
            }
        }
        Ok(format!("select {columns} from {from}{}", filter(&conditions)))
    }

    /// Converts a database error. A timeout of a search becomes 503 `SEARCH_TIMEOUT`.
    fn map_timeout<T>(&self, answer: Result<T, db::Error>) -> Result<T, Error> {
        answer.map_err(|error| match error.kind() {
            db::ErrorKind::Timeout if self.search.is_some() => {
                let message = "the search took too long; search for more characters or add a filter";
                Error::unavailable("SEARCH_TIMEOUT", message).with_source(error)
            }
            _ => error.into(),
        })
    }
}

/// The source of the rows of a list.
#[derive(Clone, Copy)]
enum RowSource {
    /// All rows of the table, by an index for the order.
    Table,
    /// At most so many first rows of the list without the search.
    First(u32),
    /// Rows that the search index returns.
    SearchIndex,
}

fn filter(conditions: &[String]) -> String {
    if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) }
}

impl fmt::Debug for SqlList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, order, search, .. } = self;
        f.debug_struct("Listing")
            .field("table", table)
            .field("order", order)
            .field("search", search)
            .finish_non_exhaustive()
    }
}
