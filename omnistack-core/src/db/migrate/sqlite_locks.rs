//! The locks of SQLite's statements: each that writes takes the write lock of the whole database until its transaction
//! ends. They differ in how long they take.

use super::{
    locks::{LockTarget, StatementLock, TableLockMode::Database, names},
    statement::{Cursor, SearchIndex, SqlToken},
};

pub(super) fn locks(tokens: &[SqlToken<'_>]) -> Vec<StatementLock> {
    if let Some(index) = SearchIndex::of(tokens) {
        return vec![StatementLock::scan(index.table, Database)];
    }
    let mut at = Cursor::new(tokens);
    match at.word() {
        Some("create") => create(at),
        Some("alter") => {
            at.skip(&["table"]);
            let Some(table) = at.name() else { return vec![StatementLock::any(Database)] };
            // A new column with a check, and the removal of one, read or write all rows.
            let is_moment = match at.word() {
                Some("rename") => true,
                Some("add") => !at.rest().iter().any(|token| token.is_one_of(&["check", "generated"])),
                _ => false,
            };
            vec![StatementLock { target: LockTarget::Table(table), mode: Database, scans: !is_moment }]
        }
        Some("drop") => match at.word() {
            Some("table") => {
                at.skip(&["if", "exists"]);
                names(at.rest()).iter().map(|table| StatementLock::scan(table, Database)).collect()
            }
            Some("index") => {
                at.skip(&["if", "exists"]);
                let of_index =
                    |index| StatementLock { target: LockTarget::TableOfIndex(index), mode: Database, scans: true };
                at.name().map(of_index).into_iter().collect()
            }
            _ => Vec::new(),
        },
        Some("update") => changed(at),
        Some("delete") => {
            at.skip(&["from"]);
            changed(at)
        }
        Some("insert" | "replace") => copied(at),
        Some("pragma" | "select" | "values" | "analyze" | "savepoint" | "release") => Vec::new(),
        _ => vec![StatementLock::any(Database)],
    }
}

fn create(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    at.skip_any(&["temp", "temporary", "unique", "virtual"]);
    match at.word() {
        Some("index") => {
            let table = at.skip_past("on").then(|| at.name()).flatten();
            vec![table.map_or_else(|| StatementLock::any(Database), |table| StatementLock::scan(table, Database))]
        }
        Some("table") => copied(at),
        _ => Vec::new(),
    }
}

fn changed(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    at.name().map(|table| StatementLock::scan(table, Database)).into_iter().collect()
}

/// Returns the lock of a statement that copies the rows of the table after `from`, if there is one.
fn copied(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    let table = (at.skip_past("select") && at.skip_past("from")).then(|| at.name()).flatten();
    table.map(|table| StatementLock::scan(table, Database)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::migrate::statement::statements;

    #[test]
    fn statements_are_judged_by_their_text() {
        for (sql, table, scans) in [
            ("create table t (n integer) strict", None, false),
            ("create table t as select * from u", Some("u"), true),
            ("create unique index t_n on t (n)", Some("t"), true),
            ("alter table t add column n integer", Some("t"), false),
            ("alter table t add column n integer check (n > 0)", Some("t"), true),
            ("alter table t rename to u", Some("t"), false),
            ("alter table t drop column n", Some("t"), true),
            ("drop table t", Some("t"), true),
            ("insert into t values (1)", None, false),
            ("insert into new_t select n from t", Some("t"), true),
            ("update t set n = 1", Some("t"), true),
            ("delete from t where n = 1", Some("t"), true),
            ("select omnistack_search('t', 'name')", Some("t"), true),
            ("create trigger keep after insert on t begin select 1; end", None, false),
        ] {
            let all = statements(sql);
            let found = locks(&all[0].tokens);
            let target = table.map(|table| LockTarget::Table(table.to_owned()));
            assert_eq!(found.first().map(|lock| &lock.target), target.as_ref(), "{sql}");
            assert_eq!(found.first().is_some_and(|lock| lock.scans), scans, "{sql}");
        }
    }
}
