//! Tables of tenants that row-level security does not protect.

use super::{Db, Dialect, Error};

/// A table on PostgreSQL with a column `tenant_id`, without an enabled and forced policy of row-level security.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnprotectedTable {
    /// Name of the table, as SQL writes it.
    pub name: String,
    /// The SQL that protects the table, for a migration.
    pub fix: String,
}

impl UnprotectedTable {
    fn new(name: String, is_enabled: bool, is_forced: bool, has_policy: bool) -> Self {
        let mut fix = Vec::new();
        if has_policy {
            if !is_enabled {
                fix.push(format!("alter table {name} enable row level security;"));
            }
            if !is_forced {
                fix.push(format!("alter table {name} force row level security;"));
            }
        } else {
            fix.push(format!("select omnistack_protect('{name}');"));
        }
        Self { fix: fix.join(" "), name }
    }
}

/// Returns the tables with a column `tenant_id` that row-level security does not protect, except the `exempt` ones, in
/// the order of their names. With `DATABASE_SCHEMA`, only tables in it count: those in `public` are of other programs.
/// Tables of other schemas count if they are `declared` with their schema.
/// Returns none on SQLite, and with tenant databases, where the separate databases isolate tenants.
pub(crate) async fn unprotected_tables(
    db: &Db,
    declared: &[&str],
    exempt: &[&str],
) -> Result<Vec<UnprotectedTable>, Error> {
    if db.dialect() != Dialect::Postgres || db.tenant_databases().is_some() {
        return Ok(Vec::new());
    }
    let sql = "select it.oid::regclass::text,
             case when pg_table_is_visible(it.oid) then it.relname::text else '' end,
             it.relnamespace::regnamespace::text || '.' || it.relname, it.relrowsecurity, it.relforcerowsecurity,
             exists (select from pg_policy where polrelid = it.oid) as has_policy
         from pg_class it
         join pg_attribute col on col.attrelid = it.oid and col.attname = 'tenant_id' and not col.attisdropped
         where it.relkind in ('r', 'p') and not it.relispartition
           and (it.relnamespace <> 'pg_catalog'::regnamespace and pg_table_is_visible(it.oid)
                   and (cast($1 as text) is null or it.relnamespace = to_regnamespace(quote_ident($1)))
               or it.oid in (select to_regclass(name) from string_to_table($2, ',') as name))
           and not (it.relrowsecurity and it.relforcerowsecurity
               and exists (select from pg_policy where polrelid = it.oid))
         order by 1";
    let rows: Vec<(String, String, String, bool, bool, bool)> =
        db.query(sql).bind(db.schema().map(str::to_owned)).bind(declared.join(",")).fetch_all().await?;
    let rows = rows
        .into_iter()
        .filter(|(_, short, long, ..)| !exempt.contains(&short.as_str()) && !exempt.contains(&long.as_str()));
    let tables = rows.map(|(name, _, _, is_enabled, is_forced, has_policy)| {
        UnprotectedTable::new(name, is_enabled, is_forced, has_policy)
    });
    Ok(tables.collect())
}
