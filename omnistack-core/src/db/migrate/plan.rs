//! Plans of migrations: the SQL, what it locks, and how to roll it back.

use std::{collections::BTreeMap, fmt};

use sqlx::AssertSqlSafe;

use super::{
    Migration,
    locks::{LockTarget, StatementLock, TableLockMode, locks},
    postgres_locks::copied_table,
    rollback::{RollbackGuide, first_line},
    statement::{Cursor, Statement, statements},
};
use crate::db::{Db, Dialect, Error, ErrorKind};

/// The rows of a table by PostgreSQL's estimate, which is as old as the last `analyze`: it grows with the file since then.
/// By the size of the file alone if the table was never analyzed, or was empty then.
macro_rules! estimated_rows {
    () => {
        "case when c.reltuples < 0 or c.relpages = 0 then pg_relation_size(c.oid)::float8 / 100
            else c.reltuples::float8 / c.relpages * greatest(c.relpages,
                pg_relation_size(c.oid) / current_setting('block_size')::bigint) end"
    };
}

/// The rows of a table and its partitions.
const ESTIMATE_ROWS: &str = concat!(
    "select cast(coalesce(sum(",
    estimated_rows!(),
    "), 0) as bigint) from pg_class c where c.relkind in ('r', 'm')
        and (c.oid = to_regclass($1) or c.oid in (select relid from pg_partition_tree(to_regclass($1))))"
);

/// The rows of the largest table that is found without its schema.
const LARGEST_TABLE: &str = concat!(
    "select cast(coalesce(max(",
    estimated_rows!(),
    "), 0) as bigint) from pg_class c where c.relkind in ('r', 'm') and pg_table_is_visible(c.oid)
        and c.relnamespace <> 'pg_catalog'::regnamespace"
);

/// A migration as a run would carry it out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedMigration {
    /// The module it belongs to.
    pub module: &'static str,
    /// Name of the migration.
    pub name: &'static str,
    /// Whether all statements are in one transaction, so that the migration runs completely or not at all.
    pub in_transaction: bool,
    /// The statements, in order.
    pub statements: Vec<PlannedStatement>,
    /// The guide to its rollback.
    pub rollback: RollbackGuide,
}

/// A statement of a planned migration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedStatement {
    /// The SQL.
    pub sql: &'static str,
    /// The locks that it takes. Tables that the same migration creates are not among them.
    pub locks: Vec<TableLock>,
}

/// The lock of a table by a statement of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableLock {
    /// Name of the table, or `None` if the text does not say which one it is.
    pub table: Option<String>,
    /// About how many rows the table has; for an unknown table, those of the largest.
    pub rows: u64,
    /// The lock.
    pub mode: TableLockMode,
    /// Whether the lock is held while a whole table is read or written, and not for a moment.
    pub reads_whole_table: bool,
    /// Name of the table that is read or written meanwhile, if the lock was taken before for another purpose: it is held
    /// until the transaction ends. Then `rows` are those of that table.
    pub meanwhile: Option<String>,
}

impl PlannedMigration {
    /// Returns the locks for which requests of the app would wait long: those that are held while a table with at least
    /// this many rows is read or written.
    pub fn long_locks(&self, large_table: u64) -> impl Iterator<Item = (&PlannedStatement, &TableLock)> {
        let locks =
            self.statements.iter().flat_map(|statement| statement.locks.iter().map(move |lock| (statement, lock)));
        locks.filter(move |(_, lock)| lock.mode.blocks() && lock.reads_whole_table && lock.rows >= large_table)
    }

    /// Returns the full name, `MODULE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.module, self.name)
    }
}

impl fmt::Display for PlannedMigration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.in_transaction { "in one transaction" } else { "outside a transaction" };
        writeln!(f, "{}, {how}", self.full_name())?;
        for statement in &self.statements {
            for line in statement.sql.lines() {
                writeln!(f, "    {}", line.trim_end())?;
            }
            for lock in &statement.locks {
                writeln!(f, "      locks {lock}")?;
            }
        }
        write!(f, "{}", self.rollback)
    }
}

impl fmt::Display for TableLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, known) = match &self.table {
            Some(table) => (table.as_str(), ""),
            None => ("an unknown table", "the largest has "),
        };
        if let Some(other) = &self.meanwhile {
            let (rows, mode) = (self.rows, self.mode);
            return write!(
                f,
                "{table}: {}, while {other} (about {rows} rows) is read or written; {}",
                mode.name(),
                mode.effect()
            );
        }
        let time = if self.reads_whole_table { "while the whole table is read or written" } else { "for a moment" };
        let (rows, mode) = (self.rows, self.mode);
        write!(f, "{table} ({known}about {rows} rows): {}, {time}; {}", mode.name(), mode.effect())
    }
}

/// Adds the locks of earlier statements, and of other parts of the same one, which are held while this statement reads or
/// writes a whole table.
fn add_held(locks: &mut Vec<TableLock>, held: &[TableLock], table: &str, rows: u64) {
    for lock in held {
        let is_told = locks
            .iter()
            .any(|own| own.reads_whole_table && own.table == lock.table && own.mode == lock.mode && own.rows >= rows);
        if !is_told {
            let meanwhile = Some(table.to_owned());
            locks.push(TableLock { rows, reads_whole_table: true, meanwhile, ..lock.clone() });
        }
    }
}

/// Returns the line of a refusal for a lock.
pub(super) fn refusal(planned: &PlannedMigration, statement: &PlannedStatement, lock: &TableLock) -> String {
    format!("{}: `{}` locks {lock}", planned.full_name(), first_line(statement.sql))
}

impl Db {
    /// Plans a migration. Only reads.
    pub(super) async fn plan_migration(
        &self,
        module: &'static str,
        migration: &Migration,
    ) -> Result<PlannedMigration, Error> {
        let dialect = self.dialect();
        let sql = match dialect {
            Dialect::Postgres => migration.postgres,
            Dialect::Sqlite => migration.sqlite,
        };
        let script = statements(sql);
        let in_transaction = !super::is_outside_transaction(sql, dialect);
        let mut planned = Vec::new();
        // The old names of tables that the migration has renamed, and the locks of tables that it holds.
        let (mut old_names, mut held) = (BTreeMap::new(), Vec::new());
        for statement in &script {
            let mut resolved: Vec<TableLock> = Vec::new();
            for lock in locks(statement, dialect) {
                if let Some(lock) = self.resolve(lock, &old_names).await?
                    && !resolved.contains(&lock)
                {
                    resolved.push(lock);
                }
            }
            if let Some((old, new)) = Cursor::new(&statement.tokens).renamed_table() {
                let old = old_names.remove(&old).unwrap_or(old);
                old_names.insert(new, old);
            }
            if dialect == Dialect::Postgres && in_transaction {
                held.extend(resolved.iter().filter(|lock| lock.mode.blocks_table()).cloned());
                if let Some((table, rows)) = self.longest_work(statement, &resolved).await? {
                    add_held(&mut resolved, &held, &table, rows);
                }
            }
            planned.push(PlannedStatement { sql: statement.text, locks: resolved });
        }
        let version = super::version(migration.name);
        let forget = format!("delete from {} where version = {version};", self.history_table(module));
        Ok(PlannedMigration {
            module,
            name: migration.name,
            in_transaction,
            statements: planned,
            rollback: RollbackGuide::new(sql, &script, forget),
        })
    }

    /// Returns the table that a statement reads or writes whole, and its rows: the largest if there are several.
    async fn longest_work(
        &self,
        statement: &Statement<'_>,
        locks: &[TableLock],
    ) -> Result<Option<(String, u64)>, Error> {
        let name = |lock: &TableLock| lock.table.clone().unwrap_or_else(|| "an unknown table".into());
        let scanned = locks.iter().filter(|lock| lock.reads_whole_table).map(|lock| (name(lock), lock.rows));
        let scanned = scanned.max_by_key(|(_, rows)| *rows);
        let Some(copied) = copied_table(&statement.tokens) else { return Ok(scanned) };
        let copied = self.table_rows(&copied).await?.map(|rows| (copied, rows));
        Ok(scanned.into_iter().chain(copied).max_by_key(|(_, rows)| *rows))
    }

    /// Returns a lock with its table and the rows of that table, or `None` if there is no such table yet.
    async fn resolve(
        &self,
        lock: StatementLock,
        old_names: &BTreeMap<String, String>,
    ) -> Result<Option<TableLock>, Error> {
        let (table, rows) = match lock.target {
            LockTarget::Table(table) => match (self.table_rows(&table).await?, old_names.get(&table)) {
                (Some(rows), _) => (Some(table), rows),
                (None, Some(old)) => match self.table_rows(old).await? {
                    Some(rows) => (Some(old.clone()), rows),
                    None => return Ok(None),
                },
                (None, None) => return Ok(None),
            },
            LockTarget::TableOfIndex(index) => match self.table_of_index(&index).await? {
                Some(table) => {
                    let rows = self.table_rows(&table).await?.unwrap_or(0);
                    (Some(table), rows)
                }
                None => return Ok(None),
            },
            LockTarget::Any => (None, self.largest_table().await?),
        };
        Ok(Some(TableLock { table, rows, mode: lock.mode, reads_whole_table: lock.scans, meanwhile: None }))
    }

    /// Returns about how many rows a table has, or `None` if it does not exist.
    async fn table_rows(&self, table: &str) -> Result<Option<u64>, Error> {
        let rows = match self.dialect() {
            Dialect::Postgres => {
                let exists = self.query("select cast(1 as bigint) where to_regclass($1) is not null").bind(table);
                if exists.fetch_optional::<(i64,)>().await?.is_none() {
                    return Ok(None);
                }
                self.query(ESTIMATE_ROWS).bind(table).fetch_one::<(i64,)>().await?
            }
            // The largest row id is read from one page. The name is part of a migration, not input.
            Dialect::Sqlite => {
                // A name that needs quotes has them, unless it is a keyword.
                let is_quoted = table.contains('"');
                let table = if is_quoted { table.to_owned() } else { format!("\"{}\"", table.replace('.', "\".\"")) };
                let by_id = AssertSqlSafe(format!("select cast(coalesce(max(rowid), 0) as integer) from {table}"));
                let counted = AssertSqlSafe(format!("select count(*) from {table}"));
                match self.query(by_id).fetch_one::<(i64,)>().await {
                    Err(error) if error.kind() == ErrorKind::Schema => {
                        // The table does not exist, or has no row ids.
                        match self.query(counted).fetch_one::<(i64,)>().await {
                            Err(error) if error.kind() == ErrorKind::Schema => return Ok(None),
                            counted => counted?,
                        }
                    }
                    rows => rows?,
                }
            }
        };
        Ok(Some(u64::try_from(rows.0).unwrap_or(0)))
    }

    async fn table_of_index(&self, index: &str) -> Result<Option<String>, Error> {
        let row: Option<(String,)> = match self.dialect() {
            Dialect::Postgres => {
                let sql = "select indrelid::regclass::text from pg_index where indexrelid = to_regclass($1)";
                self.query(sql).bind(index).fetch_optional().await?
            }
            Dialect::Sqlite => {
                let sql = "select tbl_name from sqlite_master where type = 'index' and name = $1";
                self.query(sql).bind(index.trim_matches('"')).fetch_optional().await?
            }
        };
        Ok(row.map(|(table,)| table))
    }

    async fn largest_table(&self) -> Result<u64, Error> {
        match self.dialect() {
            Dialect::Postgres => {
                let (rows,): (i64,) = self.query(LARGEST_TABLE).fetch_one().await?;
                Ok(u64::try_from(rows).unwrap_or(0))
            }
            Dialect::Sqlite => {
                let tables = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'";
                let tables: Vec<(String,)> = self.query(tables).fetch_all().await?;
                let mut largest = 0;
                for (table,) in tables {
                    let quoted = format!("\"{}\"", table.replace('"', "\"\""));
                    largest = largest.max(self.table_rows(&quoted).await?.unwrap_or(0));
                }
                Ok(largest)
            }
        }
    }
}
