//! The locks of PostgreSQL's statements (manual, chapter "Explicit Locking", and the page of each statement).

use super::{
    locks::{LockTarget, StatementLock, TableLockMode as Mode, names},
    statement::{Cursor, SqlToken, at_commas},
};

/// Functions after which the default of a new column is the same for every row, so that the table is not rewritten;
/// and types with a length.
const STABLE_BEFORE_PARENTHESIS: &[&str] =
    &["now", "statement_timestamp", "transaction_timestamp", "varchar", "char", "numeric", "decimal", "bit"];
/// Functions that lock no table.
const FUNCTIONS_WITHOUT_LOCKS: &[&str] = &["setval", "set_config", "pg_sleep", "cast"];

pub(super) fn locks(tokens: &[SqlToken<'_>]) -> Vec<StatementLock> {
    let mut at = Cursor::new(tokens);
    match at.word() {
        Some("create") => create(at),
        Some("alter") => alter(at),
        Some("drop") => drop_objects(at),
        Some("update") => changed_rows(at),
        Some("delete") => {
            at.skip(&["from"]);
            changed_rows(at)
        }
        Some("merge") => {
            at.skip(&["into"]);
            changed_rows(at)
        }
        Some("truncate") => {
            at.skip(&["table"]);
            moments(&names(at.rest()), Mode::AccessExclusive)
        }
        Some("with") => {
            let changes = ["update", "delete", "merge"].into_iter().filter_map(|change| past(at, change));
            let changed = changes.flat_map(|mut change| {
                change.skip_any(&["from", "into"]);
                changed_rows(change)
            });
            changed.collect()
        }
        Some("select") => select(tokens),
        Some("lock") => {
            at.skip(&["table"]);
            names(at.rest()).iter().map(|table| StatementLock::scan(table, Mode::AccessExclusive)).collect()
        }
        Some("reindex" | "refresh" | "cluster") => {
            let concurrently = tokens.iter().any(|token| token.is("concurrently"));
            vec![StatementLock::any(if concurrently { Mode::ShareUpdateExclusive } else { Mode::AccessExclusive })]
        }
        Some("vacuum") if tokens.iter().any(|token| token.is("full")) => {
            vec![StatementLock::any(Mode::AccessExclusive)]
        }
        Some(
            "insert" | "set" | "reset" | "comment" | "grant" | "revoke" | "analyze" | "vacuum" | "security" | "notify"
            | "begin" | "commit" | "values",
        ) => Vec::new(),
        _ => vec![StatementLock::any(Mode::AccessExclusive)],
    }
}

/// Returns the table whose rows a statement copies into another one. It locks neither of them so that requests wait, but
/// takes as long as the table is large.
pub(super) fn copied_table(tokens: &[SqlToken<'_>]) -> Option<String> {
    let is_copy = match tokens.first() {
        Some(SqlToken::Word(verb)) if verb == "create" => {
            tokens.iter().take(4).any(|token| token.is_one_of(&["table", "materialized"]))
        }
        Some(first) => first.is_one_of(&["insert", "with"]),
        None => false,
    };
    let mut from = past(past(Cursor::new(tokens), "select").filter(|_| is_copy)?, "from")?;
    from.skip_any(&["only"]);
    from.name()
}

fn past<'t, 'a>(mut at: Cursor<'t, 'a>, word: &str) -> Option<Cursor<'t, 'a>> {
    at.skip_past(word).then_some(at)
}

fn moments(tables: &[String], mode: Mode) -> Vec<StatementLock> {
    tables.iter().map(|table| StatementLock::moment(table, mode)).collect()
}

fn changed_rows(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    at.skip_any(&["only"]);
    at.name().map(|table| StatementLock::scan(table, Mode::Rows)).into_iter().collect()
}

/// Returns the lock on the table after `on`, which only changes the catalog.
fn moment_on(at: Cursor<'_, '_>, mode: Mode) -> Vec<StatementLock> {
    let table = past(at, "on").and_then(|mut at| at.name());
    table.map(|table| StatementLock::moment(table, mode)).into_iter().collect()
}

/// Returns the locks on the tables that foreign keys refer to.
fn references(tokens: &[SqlToken<'_>]) -> Vec<StatementLock> {
    let mut at = Cursor::new(tokens);
    let mut all = Vec::new();
    while at.skip_past("references") {
        all.extend(at.name().map(|table| StatementLock::moment(table, Mode::ShareRowExclusive)));
    }
    all
}

fn create(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    at.skip_any(&["or", "replace", "temp", "temporary", "unlogged", "unique", "constraint", "event"]);
    match at.word() {
        Some("table") => {
            let parent = past(at, "partition").filter(|at| at.rest().first().is_some_and(|token| token.is("of")));
            let parent = parent.and_then(|mut at| {
                at.skip(&["of"]);
                at.name()
            });
            let mut all = references(at.rest());
            all.extend(parent.map(|table| StatementLock::moment(table, Mode::AccessExclusive)));
            all
        }
        Some("index") => {
            let concurrently = at.skip(&["concurrently"]);
            let mode = if concurrently { Mode::ShareUpdateExclusive } else { Mode::Share };
            let table = past(at, "on").and_then(|mut at| {
                at.skip_any(&["only"]);
                at.name()
            });
            vec![table.map_or_else(|| StatementLock::any(mode), |table| StatementLock::scan(table, mode))]
        }
        Some("trigger") => moment_on(at, Mode::ShareRowExclusive),
        Some("policy") => moment_on(at, Mode::AccessExclusive),
        Some("rule") => {
            let table = past(at, "to").and_then(|mut at| at.name());
            table.map(|table| StatementLock::moment(table, Mode::AccessExclusive)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn drop_objects(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    match at.word() {
        Some("table") => {
            at.skip(&["if", "exists"]);
            moments(&names(at.rest()), Mode::AccessExclusive)
        }
        Some("index") => {
            let concurrently = at.skip(&["concurrently"]);
            at.skip(&["if", "exists"]);
            let mode = if concurrently { Mode::ShareUpdateExclusive } else { Mode::AccessExclusive };
            let of_index = |index| StatementLock { target: LockTarget::TableOfIndex(index), mode, scans: false };
            names(at.rest()).into_iter().map(of_index).collect()
        }
        Some("trigger" | "policy" | "rule") => moment_on(at, Mode::AccessExclusive),
        // Drops the tables in it.
        Some("schema" | "owned") => vec![StatementLock::any(Mode::AccessExclusive)],
        _ => Vec::new(),
    }
}

fn alter(mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    match at.word() {
        Some("table") => {
            at.skip(&["if", "exists"]);
            at.skip_any(&["only"]);
            let Some(table) = at.name() else { return vec![StatementLock::any(Mode::AccessExclusive)] };
            at_commas(at.rest()).into_iter().flat_map(|action| alter_table(&table, action)).collect()
        }
        Some("index") => {
            at.skip(&["if", "exists"]);
            let of_index = |index| StatementLock {
                target: LockTarget::TableOfIndex(index),
                mode: Mode::ShareUpdateExclusive,
                scans: false,
            };
            at.name().map(of_index).into_iter().collect()
        }
        Some("policy" | "trigger") => moment_on(at, Mode::AccessExclusive),
        // A constraint of a domain is checked in every table that has it.
        Some("domain") => vec![StatementLock::any(Mode::ShareUpdateExclusive)],
        _ => Vec::new(),
    }
}

/// Returns the locks of one action of `alter table`.
fn alter_table(table: &str, action: &[SqlToken<'_>]) -> Vec<StatementLock> {
    let mut at = Cursor::new(action);
    let moment = |mode| vec![StatementLock::moment(table, mode)];
    let scan = |mode| vec![StatementLock::scan(table, mode)];
    match at.word() {
        Some("add") => add(table, at),
        Some("validate") => scan(Mode::ShareUpdateExclusive),
        Some("alter") => {
            at.skip(&["column"]);
            _ = at.name();
            let rewrites: [&[&str]; 4] =
                [&["type"], &["set", "data", "type"], &["set", "not", "null"], &["set", "expression"]];
            if rewrites.iter().any(|words| at.skip(words)) {
                scan(Mode::AccessExclusive)
            } else if at.skip(&["set", "statistics"]) {
                moment(Mode::ShareUpdateExclusive)
            } else {
                moment(Mode::AccessExclusive)
            }
        }
        Some("set") => match at.word() {
            Some("logged" | "unlogged" | "tablespace" | "access" | "with") => scan(Mode::AccessExclusive),
            Some(_) => moment(Mode::AccessExclusive),
            // Storage parameters, in parentheses.
            None => moment(Mode::ShareUpdateExclusive),
        },
        Some("attach") => {
            at.skip(&["partition"]);
            let partition = at.name().map(|partition| StatementLock::scan(partition, Mode::AccessExclusive));
            moment(Mode::ShareUpdateExclusive).into_iter().chain(partition).collect()
        }
        Some("detach") if action.iter().any(|token| token.is("concurrently")) => moment(Mode::ShareUpdateExclusive),
        Some("enable" | "disable") if action.iter().any(|token| token.is("trigger")) => moment(Mode::ShareRowExclusive),
        Some(
            "detach" | "enable" | "disable" | "drop" | "rename" | "owner" | "force" | "no" | "reset" | "inherit"
            | "replica" | "of" | "not" | "cluster",
        ) => moment(Mode::AccessExclusive),
        _ => scan(Mode::AccessExclusive),
    }
}

/// Returns the locks of `alter table … add`.
fn add(table: &str, mut at: Cursor<'_, '_>) -> Vec<StatementLock> {
    let named = at.skip(&["constraint"]);
    if named {
        _ = at.name();
    }
    let is_constraint =
        at.rest().first().is_some_and(|token| token.is_one_of(&["check", "unique", "primary", "foreign", "exclude"]));
    if named || is_constraint {
        return add_constraint(table, at.rest());
    }
    at.skip(&["column"]);
    at.skip(&["if", "not", "exists"]);
    _ = at.name();
    let definition = at.rest();
    let has = |words: &[&str]| definition.iter().any(|token| token.is_one_of(words));
    let scans = has(&["references", "check", "unique", "primary", "generated"])
        || has(&["serial", "bigserial", "smallserial"])
        || past(at, "default").is_some_and(|at| !is_constant(at.rest()));
    let own = StatementLock { target: LockTarget::Table(table.into()), mode: Mode::AccessExclusive, scans };
    std::iter::once(own).chain(references(definition)).collect()
}

/// Returns whether a default is one value for all rows.
fn is_constant(expression: &[SqlToken<'_>]) -> bool {
    let stable = |before: Option<&SqlToken<'_>>| before.is_some_and(|token| token.is_one_of(STABLE_BEFORE_PARENTHESIS));
    (0..expression.len())
        .filter(|at| expression[*at].is_symbol('('))
        .all(|at| stable(at.checked_sub(1).and_then(|before| expression.get(before))))
}

fn add_constraint(table: &str, constraint: &[SqlToken<'_>]) -> Vec<StatementLock> {
    let has = |words: [&str; 2]| constraint.windows(2).any(|pair| pair[0].is(words[0]) && pair[1].is(words[1]));
    let is = |word| constraint.first().is_some_and(|token| token.is(word));
    let (mode, scans) = if is("foreign") {
        (Mode::ShareRowExclusive, !has(["not", "valid"]))
    } else if is("unique") {
        (Mode::AccessExclusive, !has(["using", "index"]))
    } else {
        (Mode::AccessExclusive, !has(["not", "valid"]))
    };
    let own = StatementLock { target: LockTarget::Table(table.into()), mode, scans };
    std::iter::once(own).chain(references(constraint)).collect()
}

/// Returns the locks of a `select`, which locks tables by the functions that it calls.
fn select(tokens: &[SqlToken<'_>]) -> Vec<StatementLock> {
    let mut all = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let SqlToken::Word(function) = &pair[0] else { continue };
        if !pair[1].is_symbol('(') || FUNCTIONS_WITHOUT_LOCKS.contains(&function.as_str()) {
            continue;
        }
        let table = match tokens.get(at + 2) {
            Some(SqlToken::Text(table)) => Some(*table),
            _ => None,
        };
        all.extend(match (function.as_str(), table) {
            ("omnistack_protect", Some(table)) => vec![StatementLock::moment(table, Mode::AccessExclusive)],
            // Creates a trigger, which stops writes, and copies the words of all rows to the index.
            ("omnistack_search", Some(table)) => vec![StatementLock::scan(table, Mode::ShareRowExclusive)],
            _ => vec![StatementLock::any(Mode::AccessExclusive)],
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::migrate::statement::statements;

    /// Returns the locks as lines such as `projects SHARE scan`.
    fn locked(sql: &str) -> Vec<String> {
        let found = statements(sql).iter().flat_map(|statement| locks(&statement.tokens)).collect::<Vec<_>>();
        let line = |lock: &StatementLock| {
            let target = match &lock.target {
                LockTarget::Table(table) => table.clone(),
                LockTarget::TableOfIndex(index) => format!("of {index}"),
                LockTarget::Any => "any".into(),
            };
            format!("{target} {} {}", lock.mode.name(), if lock.scans { "scan" } else { "moment" })
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn statements_are_judged_by_their_text() {
        const NONE: &[&str] = &[];
        const CASES: &[(&str, &[&str])] = &[
            ("create table t (n bigint)", NONE),
            ("create table if not exists t (u uuid references users (id))", &["users SHARE ROW EXCLUSIVE moment"]),
            ("create table p1 partition of p for values in (1)", &["p ACCESS EXCLUSIVE moment"]),
            ("create unique index t_n on t (n)", &["t SHARE scan"]),
            ("create index on only \"T\" (n)", &["\"T\" SHARE scan"]),
            ("create index concurrently if not exists t_n on t (n)", &["t SHARE UPDATE EXCLUSIVE scan"]),
            ("drop index t_n", &["of t_n ACCESS EXCLUSIVE moment"]),
            ("drop index concurrently if exists t_n", &["of t_n SHARE UPDATE EXCLUSIVE moment"]),
            ("drop table if exists a, b cascade", &["a ACCESS EXCLUSIVE moment", "b ACCESS EXCLUSIVE moment"]),
            ("alter table t add column n bigint", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add n bigint not null default 0", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add column d text default '{}'::varchar(9)", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add column at timestamptz default now()", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add column id uuid default gen_random_uuid()", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t add column id bigserial", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t add column n bigint generated always as (m) stored", &["t ACCESS EXCLUSIVE scan"]),
            (
                "alter table t add column u uuid references users",
                &["t ACCESS EXCLUSIVE scan", "users SHARE ROW EXCLUSIVE moment"],
            ),
            ("alter table t alter column n type numeric(10, 2)", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t alter n set not null", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t alter n drop not null", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add constraint c check (n > 0)", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t add constraint c check (n > 0) not valid", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t validate constraint c", &["t SHARE UPDATE EXCLUSIVE scan"]),
            (
                "alter table only t add constraint c foreign key (u) references users (id) not valid",
                &["t SHARE ROW EXCLUSIVE moment", "users SHARE ROW EXCLUSIVE moment"],
            ),
            ("alter table t add constraint c unique using index i", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t add unique (n)", &["t ACCESS EXCLUSIVE scan"]),
            (
                "alter table t drop column a, add column b bigint",
                &["t ACCESS EXCLUSIVE moment", "t ACCESS EXCLUSIVE moment"],
            ),
            ("alter table t rename to u", &["t ACCESS EXCLUSIVE moment"]),
            ("alter table t set (fillfactor = 70)", &["t SHARE UPDATE EXCLUSIVE moment"]),
            ("alter table t set unlogged", &["t ACCESS EXCLUSIVE scan"]),
            ("alter table t something new", &["t ACCESS EXCLUSIVE scan"]),
            ("update t set n = 1", &["t ROW EXCLUSIVE scan"]),
            (
                "with old as (select id from t) delete from t where id in (select id from old)",
                &["t ROW EXCLUSIVE scan"],
            ),
            (
                "with a as (delete from t returning id) update u set n = 1 from a",
                &["u ROW EXCLUSIVE scan", "t ROW EXCLUSIVE scan"],
            ),
            ("alter table t alter column n set expression as (m + 1)", &["t ACCESS EXCLUSIVE scan"]),
            ("drop schema old cascade", &["any ACCESS EXCLUSIVE scan"]),
            ("insert into t select * from u", NONE),
            ("truncate table t", &["t ACCESS EXCLUSIVE moment"]),
            (
                "create trigger keep before update of n on t for each row execute function f()",
                &["t SHARE ROW EXCLUSIVE moment"],
            ),
            ("create policy p on t using (true)", &["t ACCESS EXCLUSIVE moment"]),
            ("create function f() returns bigint language sql return 1", NONE),
            ("select omnistack_protect('t'); select setval('s', 1); select 1", &["t ACCESS EXCLUSIVE moment"]),
            ("select omnistack_search('t', 'name')", &["t SHARE ROW EXCLUSIVE scan"]),
            ("select my_function()", &["any ACCESS EXCLUSIVE scan"]),
            ("do $$ begin update t set n = 1; end $$", &["any ACCESS EXCLUSIVE scan"]),
            ("reindex table t", &["any ACCESS EXCLUSIVE scan"]),
        ];
        for (sql, expected) in CASES {
            assert_eq!(locked(sql), *expected, "{sql}");
        }
    }

    #[test]
    fn copies_are_found() {
        for (sql, table) in [
            ("insert into t select * from u", Some("u")),
            ("insert into t (n) values (1)", None),
            ("create table t as select n from only public.u", Some("public.u")),
            ("create materialized view v as select n from u", Some("u")),
            ("create view v as select n from u", None),
            ("with a as (select n from u) insert into t select n from a", Some("u")),
            ("update t set n = (select n from u)", None),
        ] {
            assert_eq!(copied_table(&statements(sql)[0].tokens).as_deref(), table, "{sql}");
        }
    }
}
