//! Running and listing migrations, for the command line with and without the feature `cli`.

use super::{App, output::print_line};
use crate::{RunError, db::MigrateOptions};

/// Runs pending migrations, also those of tenant databases.
pub(super) async fn run(app: &App, options: &MigrateOptions) -> crate::Result<()> {
    let ran = app.migrate_with(options).await?;
    for (module, name) in &ran {
        print_line(format_args!("applied  {module:<16} {name}"))?;
    }
    if ran.is_empty() {
        print_line(format_args!("nothing to do: the database is up to date"))?;
    }
    run_in_tenant_databases(app, options).await
}

/// Migrates all tenant databases one after another, and reports failures at the end.
async fn run_in_tenant_databases(app: &App, options: &MigrateOptions) -> crate::Result<()> {
    let Some(databases) = app.db.tenant_databases() else { return Ok(()) };
    let all = databases.all().await?;
    let mut failed = Vec::new();
    for (index, tenant) in all.iter().enumerate() {
        let place = format!("[{}/{}]", index + 1, all.len());
        match databases.migrate_with(*tenant, options).await {
            Ok(0) => print_line(format_args!("{place} tenant {tenant}: up to date"))?,
            Ok(ran) => print_line(format_args!("{place} tenant {tenant}: applied {ran}"))?,
            Err(error) => {
                print_line(format_args!("{place} tenant {tenant}: FAILED"))?;
                failed.push(format!("tenant {tenant}: {error}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let text =
        format!("{} of {} tenant databases were not migrated:\n  {}", failed.len(), all.len(), failed.join("\n  "));
    Err(RunError::new(text))
}

/// Prints all migrations, and which of them have run.
pub(super) async fn list(app: &App) -> crate::Result<()> {
    for state in app.migration_states().await? {
        let word = if state.applied { "applied" } else { "missing" };
        print_line(format_args!("{word:<8} {:<16} {}", state.module, state.name))?;
    }
    list_tenant_databases(app).await
}

/// Prints how many migrations each tenant database has and lacks.
async fn list_tenant_databases(app: &App) -> crate::Result<()> {
    let Some(databases) = app.db.tenant_databases() else { return Ok(()) };
    for tenant in databases.all().await? {
        match databases.migration_states(tenant).await {
            Ok(states) => {
                let missing = states.iter().filter(|state| !state.applied).count();
                let applied = states.len() - missing;
                let state = if missing == 0 { "applied" } else { "missing" };
                print_line(format_args!("{state:<8} tenant {tenant}: {applied} applied, {missing} missing"))?;
            }
            Err(error) => print_line(format_args!("failed   tenant {tenant}: {error}"))?,
        }
    }
    Ok(())
}
