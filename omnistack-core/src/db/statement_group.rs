//! Groups of statements that run in one round trip.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use sqlx::AssertSqlSafe;

use super::{Arguments, Dialect, Error, Tx};

/// Statements of a transaction that do not depend on each other. On PostgreSQL they are combined into one statement,
/// which takes one round trip; on SQLite they run one after another.
///
/// On PostgreSQL, no statement sees the changes of the others, and their order is not defined. So no two statements may
/// change the same row. The SQL must contain no `$` except in placeholders, and must return no rows.
///
/// ```
/// use omnistack_core::db::{Db, Error, StatementGroup};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let db = Db::memory()?;
/// db.query("create table planets (name text primary key, moons bigint not null)").execute().await?;
/// db.query("create table visits (planet text not null)").execute().await?;
/// let mut tx = db.begin().await?;
/// let mut group = StatementGroup::new(tx.dialect());
/// let planet = group.add("insert into planets (name, moons) values ($1, $2)");
/// planet.push("Mars");
/// planet.push(2_i64);
/// group.add("insert into visits (planet) values ($1)").push("Mars");
/// group.execute(&mut tx).await?;
/// # tx.commit().await
/// # }
/// ```
pub struct StatementGroup {
    dialect: Dialect,
    /// The SQL of each statement, and the number of values before its own. On SQLite this number is 0.
    statements: Vec<(Cow<'static, str>, usize)>,
    /// One list of values for all statements on PostgreSQL, and one for each statement on SQLite.
    values: Vec<Arguments>,
}

impl StatementGroup {
    /// Creates a group without statements, for a transaction of this dialect.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, statements: Vec::new(), values: Vec::new() }
    }

    /// Adds a statement. Add its values to the returned list, in the order of its placeholders `$1`, `$2` and so on.
    pub fn add(&mut self, sql: impl Into<Cow<'static, str>>) -> &mut Arguments {
        if self.values.is_empty() || self.dialect == Dialect::Sqlite {
            self.values.push(Arguments::new(self.dialect));
        }
        let last = self.values.len() - 1;
        let values = &mut self.values[last];
        self.statements.push((sql.into(), values.len()));
        values
    }

    /// Runs the statements.
    ///
    /// # Errors
    /// The errors of the database; [`ErrorKind::Other`](super::ErrorKind::Other) if the number of values differs from
    /// that of the placeholders.
    pub async fn execute(self, tx: &mut Tx) -> Result<(), Error> {
        if self.dialect == Dialect::Sqlite {
            for ((sql, _), values) in self.statements.into_iter().zip(self.values) {
                tx.query(AssertSqlSafe(sql.into_owned())).args(values).execute().await?;
            }
            return Ok(());
        }
        let Some(values) = self.values.into_iter().next() else { return Ok(()) };
        tx.query(AssertSqlSafe(combined(&self.statements))).args(values).execute().await.map(drop)
    }
}

/// Returns the SQL of one statement that runs all statements.
fn combined(statements: &[(Cow<'static, str>, usize)]) -> String {
    let mut text = String::new();
    let Some(((last, values_before), others)) = statements.split_last() else { return text };
    for (index, (sql, values_before)) in others.iter().enumerate() {
        let separator = if index == 0 { "with" } else { "," };
        _ = write!(text, "{separator} part{index} as (");
        push_renumbered(&mut text, sql, *values_before);
        text.push_str(") ");
    }
    push_renumbered(&mut text, last, *values_before);
    text
}

/// Appends a statement, with placeholders whose numbers begin after `values_before`.
fn push_renumbered(text: &mut String, sql: &str, values_before: usize) {
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = part.strip_suffix(rest).and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
        _ = write!(text, "${}{rest}", number + values_before);
    }
}

impl fmt::Debug for StatementGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementGroup").field("statements", &self.statements).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_follow_those_of_earlier_statements() {
        let statements = |all: &[(&'static str, usize)]| {
            combined(&all.iter().map(|(sql, before)| (Cow::Borrowed(*sql), *before)).collect::<Vec<_>>())
        };
        assert_eq!(statements(&[]), "");
        assert_eq!(statements(&[("update a set b = $1 where c = $2", 0)]), "update a set b = $1 where c = $2");
        let three =
            [("update a set b = $2 where c = $1", 0), ("delete from d", 2), ("insert into e values ($1, $10)", 2)];
        assert_eq!(
            statements(&three),
            "with part0 as (update a set b = $2 where c = $1) , part1 as (delete from d) insert into e values ($3, $12)"
        );
    }
}
