//! Registration of tables and their migrations.

use super::Registry;
use crate::{
    db::{Migrations, migration_version},
    module::DeclaredTable,
};

impl Registry {
    /// Adds the module's migrations: `registry.migrations(migrations!["0001_projects"])`.
    pub fn migrations(&mut self, migrations: Migrations) -> &mut Self {
        self.shared_migrations(self.module, migrations)
    }

    /// Adds the migrations of tables that several modules use, with the history `history` instead of the module's own.
    /// If several modules add them, they run once.
    pub fn shared_migrations(&mut self, history: &'static str, migrations: Migrations) -> &mut Self {
        if let Some((_, known)) = self.migrations.iter().find(|(name, _)| *name == history) {
            if *known != migrations {
                self.report_problem(
                    format!("the migration history `{history}` exists already"),
                    "list all migrations of a module in one call, or rename the module",
                );
            }
            return self;
        }
        let mut last = 0;
        for migration in migrations {
            let version = migration_version(migration.name);
            if version <= last {
                self.report_problem(
                    format!("migration `{}` must have a number larger than {last}", migration.name),
                    "begin each migration's name with a number larger than the previous one: `0002_archive`",
                );
            }
            last = last.max(version);
        }
        self.migrations.push((history, migrations));
        self
    }

    /// Declares tables whose rows belong to the tenant in their column `tenant_id`. When a tenant is permanently
    /// deleted, a job of core deletes the tenant's rows in these tables, in batches, rows that refer to others first.
    /// With tenant databases the tenant's database is dropped instead. Tables of resources that belong to tenants are
    /// declared by the mount of [`crud::routes`](crate::crud::routes).
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.tenant_tables(["invoices", "invoice_lines"]);
    /// # }
    /// ```
    ///
    /// On SQLite the tables must not be `without rowid`.
    pub fn tenant_tables(&mut self, tables: impl IntoIterator<Item = &'static str>) -> &mut Self {
        let declare = |name| DeclaredTable { name, has_tenant: true, is_resource: false, purge_after: None };
        self.tables.extend(tables.into_iter().map(declare));
        self
    }

    /// Declares tables with a column `tenant_id` that have no policy of row-level security on purpose, such as a table
    /// that only operators read. The command `doctor` and the test kit report every other one on PostgreSQL.
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.unprotected_tables(["imports"]);
    /// # }
    /// ```
    pub fn unprotected_tables(&mut self, tables: impl IntoIterator<Item = &'static str>) -> &mut Self {
        self.unprotected.extend(tables);
        self
    }

    /// Takes the tables that modules have declared.
    pub(crate) fn take_tables(&mut self) -> Vec<DeclaredTable> {
        let tables = std::mem::take(&mut self.tables);
        let in_schemas = tables.iter().filter(|table| table.has_tenant && table.name.contains('.'));
        self.tables_in_schemas.extend(in_schemas.map(|table| table.name));
        tables
    }
}
