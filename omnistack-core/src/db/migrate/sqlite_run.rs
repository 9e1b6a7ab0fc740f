//! Runs a migration on SQLite, which has no functions that create tables: `select omnistack_search(…)` is run here.

use sqlx::{
    AssertSqlSafe, Executor as _, SqliteConnection,
    migrate::{Migrate as _, MigrateError, Migration as Script},
};

use super::statement::{SearchIndex, Statement, statements};

/// Runs a migration in the transaction that the connection has begun, and adds it to the history.
pub(super) async fn apply(connection: &mut SqliteConnection, table: &str, script: &Script) -> Result<(), MigrateError> {
    let sql = script.sql.as_str();
    let indexed: Vec<_> = statements(sql).into_iter().filter(|statement| creates_index(statement)).collect();
    if indexed.is_empty() {
        connection.apply(table, script).await?;
        return Ok(());
    }
    let failed = |error| MigrateError::ExecuteMigration(error, script.version);
    // SQLite itself splits what is between.
    let mut done = 0;
    for statement in &indexed {
        let before = AssertSqlSafe(sql[done..statement.at].to_owned());
        connection.execute(before).await.map_err(failed)?;
        create(connection, statement).await.map_err(failed)?;
        done = statement.at + statement.text.len();
    }
    connection.execute(AssertSqlSafe(sql[done..].to_owned())).await.map_err(failed)?;
    connection.skip(table, script).await
}

fn creates_index(statement: &Statement<'_>) -> bool {
    matches!(&statement.tokens[..], [select, function, ..] if select.is("select") && function.is("omnistack_search"))
}

/// Creates a search index and the triggers that update it, in place of an earlier one, and adds the rows of the table.
async fn create(connection: &mut SqliteConnection, statement: &Statement<'_>) -> sqlx::Result<()> {
    let Some(SearchIndex { table, columns }) = SearchIndex::of(&statement.tokens) else {
        let message = format!(
            "`{}` is not understood; write `select omnistack_search('TABLE', 'COLUMN', …)` with names in lower case",
            statement.text
        );
        return Err(sqlx::Error::Configuration(message.into()));
    };
    let has_tenant = "select count(*) from pragma_table_info($1) where name = 'tenant_id'";
    let (has_tenant,): (i64,) = sqlx::query_as(has_tenant).bind(table).fetch_one(&mut *connection).await?;
    let tenant = |row: &str| match has_tenant {
        0 => "null".to_owned(),
        _ => format!("substr(hex({row}.tenant_id), -3)"),
    };
    let words = |row: &str| {
        let columns: Vec<_> = columns.iter().map(|column| format!("{row}.{column}")).collect();
        format!("concat_ws(char(10), {})", columns.join(", "))
    };
    // Only a table that is such an index is replaced.
    let earlier = "select count(*) from sqlite_schema where name = $1 and sql like 'create virtual table%using fts5(%'";
    let earlier = sqlx::query_as(earlier).bind(format!("{table}_search"));
    let (earlier,): (i64,) = earlier.fetch_one(&mut *connection).await?;
    if earlier > 0 {
        let remove = format!(
            "drop trigger if exists {table}_search_insert;
            drop trigger if exists {table}_search_update;
            drop trigger if exists {table}_search_delete;
            drop table {table}_search;
            drop table {table}_search_ids;"
        );
        connection.execute(AssertSqlSafe(remove)).await?;
    }
    let (tenant_before, words_before, tenant_now, words_now) = (tenant("it"), words("it"), tenant("new"), words("new"));
    let sql = format!(
        "create table {table}_search_ids (number integer primary key, id blob not null unique) strict;
        create virtual table {table}_search using fts5(
            tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
        insert into {table}_search_ids (id) select id from {table};
        insert into {table}_search (rowid, tenant, words) select ids.number, {tenant_before}, {words_before}
            from {table}_search_ids as ids join {table} as it on it.id = ids.id;
        create trigger {table}_search_insert after insert on {table} begin
            insert into {table}_search_ids (id) values (new.id);
            insert into {table}_search (rowid, tenant, words) select number, {tenant_now}, {words_now}
                from {table}_search_ids where id = new.id;
        end;
        create trigger {table}_search_update after update of {columns} on {table} begin
            insert or replace into {table}_search (rowid, tenant, words) select number, {tenant_now}, {words_now}
                from {table}_search_ids where id = new.id;
        end;
        create trigger {table}_search_delete after delete on {table} begin
            delete from {table}_search where rowid = (select number from {table}_search_ids where id = old.id);
            delete from {table}_search_ids where id = old.id;
        end;",
        columns = columns.join(", ")
    );
    connection.execute(AssertSqlSafe(sql)).await.map(drop)
}
