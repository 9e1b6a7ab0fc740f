//! Guides to the rollback of migrations: whether the previous build runs on the new schema, and the SQL that undoes it.

use std::fmt;

use super::statement::{Cursor, SqlToken, Statement, at_commas};

/// Start of a comment line in a migration with advice of its author for a rollback.
const AUTHOR_COMMENT: &str = "-- rollback:";
/// Objects that `drop KIND NAME` removes.
const DROPPED_BY_NAME: &[&str] =
    &["table", "index", "view", "function", "procedure", "type", "sequence", "schema", "extension"];

/// The guide to the rollback of one migration, made from its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollbackGuide {
    /// The changes that the previous build may not run with. If there are none, it runs on the new schema.
    pub breaking: Vec<String>,
    /// The data that is gone after the migration, which only a backup has.
    pub lost: Vec<String>,
    /// SQL that undoes the migration, in order, where it follows from the text.
    pub undo: Vec<String>,
    /// The statements that must be undone by hand.
    pub by_hand: Vec<String>,
    /// The advice of the author: the comment lines in the migration that begin with `-- rollback:`.
    pub advice: Vec<String>,
}

impl RollbackGuide {
    /// Creates the guide of a migration. `forget` is the SQL that removes it from the history.
    pub(super) fn new(sql: &str, statements: &[Statement<'_>], forget: String) -> Self {
        let advice = sql.lines().filter_map(|line| line.trim().strip_prefix(AUTHOR_COMMENT));
        let mut guide = Self { advice: advice.map(|line| line.trim().to_owned()).collect(), ..Self::default() };
        for statement in statements {
            guide.add(statement);
        }
        guide.undo.reverse();
        guide.undo.push(forget);
        guide
    }

    /// Returns whether the previous build runs on the new schema.
    pub fn keeps_previous_build(&self) -> bool {
        self.breaking.is_empty()
    }

    fn add(&mut self, statement: &Statement<'_>) {
        let mut at = Cursor::new(&statement.tokens);
        match at.word() {
            Some("create") => self.add_created(statement, at),
            Some("alter") if at.skip(&["table"]) => {
                at.skip(&["if", "exists"]);
                at.skip_any(&["only"]);
                let Some(table) = at.name() else { return self.by_hand(statement) };
                for action in at_commas(at.rest()) {
                    self.add_table_action(statement, &table, action);
                }
            }
            Some("drop") if at.rest().first().is_some_and(|token| token.is("table")) => self.lose(statement),
            Some("drop") if at.rest().first().is_some_and(|token| token.is("index")) => self.by_hand(statement),
            Some("drop") => {
                self.breaking.push(first_line(statement.text));
                self.by_hand(statement);
            }
            Some("delete" | "truncate" | "update" | "merge") => self.lost.push(first_line(statement.text)),
            Some("select") if statement.tokens.iter().any(|token| token.is("omnistack_protect")) => {
                // It ends with its table.
            }
            Some("insert") => self.by_hand(statement),
            Some("set" | "comment" | "analyze" | "begin" | "commit") => {}
            _ => self.by_hand(statement),
        }
    }

    fn add_created(&mut self, statement: &Statement<'_>, mut at: Cursor<'_, '_>) {
        at.skip_any(&["or", "temp", "temporary", "unlogged", "unique", "constraint", "materialized", "recursive"]);
        if at.skip(&["replace"]) {
            return self.by_hand(statement);
        }
        let Some(kind) = at.word() else { return self.by_hand(statement) };
        let concurrently = if at.skip(&["concurrently"]) { " concurrently" } else { "" };
        at.skip(&["if", "not", "exists"]);
        let is_nameless = at.rest().first().is_some_and(|token| token.is("on"));
        let name = if is_nameless { None } else { at.name() };
        match (kind, name) {
            (kind, Some(name)) if DROPPED_BY_NAME.contains(&kind) => {
                let kind = if statement.tokens.iter().take(3).any(|token| token.is("materialized")) {
                    "materialized view"
                } else {
                    kind
                };
                if kind == "index" && statement.tokens.iter().take(2).any(|token| token.is("unique")) {
                    // Rows that the previous build writes may be refused.
                    self.breaking.push(first_line(statement.text));
                }
                self.undo.push(format!("drop {kind}{concurrently} {name};"));
            }
            ("trigger" | "policy", Some(name)) => {
                let table = at.skip_past("on").then(|| at.name()).flatten();
                match table {
                    Some(table) => self.undo.push(format!("drop {kind} {name} on {table};")),
                    None => self.by_hand(statement),
                }
            }
            _ => self.by_hand(statement),
        }
    }

    fn add_table_action(&mut self, statement: &Statement<'_>, table: &str, action: &[SqlToken<'_>]) {
        let mut at = Cursor::new(action);
        match at.word() {
            Some("add") => {
                let is_constraint = at.skip(&["constraint"]);
                at.skip(&["column"]);
                at.skip(&["if", "not", "exists"]);
                let is_nameless =
                    at.rest().first().is_some_and(|token| token.is_one_of(&["check", "unique", "primary", "foreign"]));
                let name = if is_nameless { None } else { at.name() };
                let requires_value = at.rest().windows(2).any(|pair| pair[0].is("not") && pair[1].is("null"))
                    && !at.rest().iter().any(|token| token.is_one_of(&["default", "generated"]));
                if is_constraint || is_nameless || requires_value {
                    self.breaking.push(first_line(statement.text));
                }
                match name {
                    Some(name) if is_constraint => {
                        self.undo.push(format!("alter table {table} drop constraint {name};"));
                    }
                    Some(name) => self.undo.push(format!("alter table {table} drop column {name};")),
                    None => self.by_hand(statement),
                }
            }
            Some("drop") => {
                if at.skip(&["constraint"]) {
                    self.by_hand(statement);
                } else {
                    self.lose(statement);
                }
            }
            Some("rename") => {
                self.breaking.push(first_line(statement.text));
                let what = if at.skip(&["constraint"]) { " constraint" } else { " column" };
                at.skip(&["column"]);
                let renamed = if at.skip(&["to"]) {
                    at.name().map(|new| format!("alter table {new} rename to {};", last_part(table)))
                } else {
                    at.name().and_then(|old| {
                        let new = at.skip(&["to"]).then(|| at.name()).flatten()?;
                        Some(format!("alter table {table} rename{what} {new} to {old};"))
                    })
                };
                match renamed {
                    Some(sql) => self.undo.push(sql),
                    None => self.by_hand(statement),
                }
            }
            Some("alter") => {
                at.skip(&["column"]);
                let column = at.name().unwrap_or_default();
                if at.skip(&["set", "not", "null"]) {
                    self.breaking.push(first_line(statement.text));
                    self.undo.push(format!("alter table {table} alter column {column} drop not null;"));
                } else {
                    if at.rest().first().is_some_and(|token| token.is("type"))
                        || at.rest().get(1).is_some_and(|token| token.is("data"))
                    {
                        self.breaking.push(first_line(statement.text));
                    }
                    self.by_hand(statement);
                }
            }
            Some("validate") => {}
            _ => self.by_hand(statement),
        }
    }

    fn lose(&mut self, statement: &Statement<'_>) {
        self.breaking.push(first_line(statement.text));
        self.lost.push(first_line(statement.text));
    }

    fn by_hand(&mut self, statement: &Statement<'_>) {
        let line = first_line(statement.text);
        if self.by_hand.last() != Some(&line) {
            self.by_hand.push(line);
        }
    }
}

impl fmt::Display for RollbackGuide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keeps_previous_build() {
            writeln!(
                f,
                "  rollback: the previous build runs on this schema; to go back, deploy it and keep the schema"
            )?;
        } else {
            writeln!(f, "  rollback: the previous build may fail on this schema, because of:")?;
            lines(f, &self.breaking)?;
        }
        if !self.advice.is_empty() {
            writeln!(f, "  advice of the author:")?;
            lines(f, &self.advice)?;
        }
        if !self.lost.is_empty() {
            writeln!(f, "  data that the migration deletes; afterwards only a backup has it:")?;
            lines(f, &self.lost)?;
        }
        if !self.by_hand.is_empty() {
            writeln!(f, "  statements to undo by hand:")?;
            lines(f, &self.by_hand)?;
        }
        writeln!(f, "  SQL that undoes the migration, in one transaction; undo later migrations first:")?;
        lines(f, &self.undo)
    }
}

fn lines(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
}

/// Returns the first line of a statement, with `…` if there are more.
pub(super) fn first_line(text: &str) -> String {
    match text.split_once('\n') {
        Some((line, _)) => format!("{} …", line.trim_end()),
        None => text.to_owned(),
    }
}

/// Returns a table's name without its schema.
fn last_part(table: &str) -> &str {
    if table.ends_with('"') { table } else { table.rsplit('.').next().unwrap_or(table) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::migrate::statement::statements;

    fn guide(sql: &str) -> RollbackGuide {
        let mut guide = RollbackGuide::new(sql, &statements(sql), "forget".into());
        assert_eq!(guide.undo.pop().as_deref(), Some("forget"), "{sql}");
        guide
    }

    #[test]
    fn what_only_adds_keeps_the_previous_build_and_is_undone_in_reverse() {
        let found = guide(
            "create table t (n bigint); create index t_n on t (n); alter table u add column a text, add b bigint default 0;",
        );
        assert!(found.keeps_previous_build() && found.lost.is_empty() && found.by_hand.is_empty(), "{found:?}");
        assert_eq!(
            found.undo,
            ["alter table u drop column b;", "alter table u drop column a;", "drop index t_n;", "drop table t;"]
        );
    }

    #[test]
    fn what_takes_away_is_told() {
        let found = guide("-- rollback: Restore the backup.\nalter table t drop column a;\nupdate t set n = 1;");
        assert_eq!(found.breaking, ["alter table t drop column a"]);
        assert_eq!(found.lost, ["alter table t drop column a", "update t set n = 1"]);
        assert_eq!(found.advice, ["Restore the backup."]);
        assert!(found.undo.is_empty(), "{found:?}");

        for (sql, undo) in [
            ("alter table t rename to u", "alter table u rename to t;"),
            ("alter table t rename a to b", "alter table t rename column b to a;"),
            ("alter table t alter a set not null", "alter table t alter column a drop not null;"),
            ("alter table t add constraint c check (a > 0)", "alter table t drop constraint c;"),
            ("create unique index concurrently if not exists t_a on t (a)", "drop index concurrently t_a;"),
        ] {
            let found = guide(sql);
            assert_eq!(found.breaking, [sql]);
            assert_eq!(found.undo, [undo], "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_derived_is_undone_by_hand() {
        for sql in ["insert into t values (1)", "do $$ begin end $$", "alter table t alter a type bigint"] {
            assert_eq!(guide(sql).by_hand, [sql]);
        }
    }
}
