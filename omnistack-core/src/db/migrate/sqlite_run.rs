//! Runs a migration on SQLite, which has no functions that create tables: `select omnistack_search(…)` is run here.

use sqlx::{
    AssertSqlSafe, Executor as _, SqliteConnection,
    migrate::{Migrate as _, MigrateError, Migration as Script},
};

use super::statement::{SearchIndex, statements};

/// Runs a migration in the transaction that the connection has begun, and adds it to the history.
pub(super) async fn apply(connection: &mut SqliteConnection, table: &str, script: &Script) -> Result<(), MigrateError> {
    let all = statements(script.sql.as_str());
    if all.iter().all(|statement| SearchIndex::of(&statement.tokens).is_none()) {
        connection.apply(table, script).await?;
        return Ok(());
    }
    for statement in all {
        let ran = match SearchIndex::of(&statement.tokens) {
            Some(index) => create(connection, &index).await,
            None => connection.execute(AssertSqlSafe(statement.text.to_owned())).await.map(drop),
        };
        ran.map_err(|error| MigrateError::ExecuteMigration(error, script.version))?;
    }
    connection.skip(table, script).await
}

/// Creates a search index and the triggers that update it, in place of an earlier one, and adds the rows of the table.
async fn create(connection: &mut SqliteConnection, index: &SearchIndex<'_>) -> sqlx::Result<()> {
    let has_tenant = "select count(*) from pragma_table_info($1) where name = 'tenant_id'";
    let (has_tenant,): (i64,) = sqlx::query_as(has_tenant).bind(index.table).fetch_one(&mut *connection).await?;
    let tenant = |row: &str| match has_tenant {
        0 => "null".to_owned(),
        _ => format!("substr(hex({row}.tenant_id), -3)"),
    };
    let words = |row: &str| {
        let columns: Vec<_> = index.columns.iter().map(|column| format!("{row}.{column}")).collect();
        format!("concat_ws(char(10), {})", columns.join(", "))
    };
    let (table, columns) = (index.table, index.columns.join(", "));
    let (tenant_before, words_before, tenant_now, words_now) = (tenant("it"), words("it"), tenant("new"), words("new"));
    let sql = format!(
        "drop trigger if exists {table}_search_insert;
        drop trigger if exists {table}_search_update;
        drop trigger if exists {table}_search_delete;
        drop table if exists {table}_search;
        drop table if exists {table}_search_ids;
        create table {table}_search_ids (number integer primary key, id blob not null unique) strict;
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
        end;"
    );
    connection.execute(AssertSqlSafe(sql)).await.map(drop)
}
