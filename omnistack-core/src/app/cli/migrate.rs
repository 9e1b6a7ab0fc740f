//! The command `migrate`.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    app::{App, migrations, output::print_line},
    db::MigrateOptions,
};

/// Returns the command and its arguments.
pub(super) fn command() -> Command {
    Command::new("migrate")
        .about("Runs pending migrations")
        .arg(flag("list", "Lists pending and applied migrations without running them"))
        .arg(flag(
            "plan",
            "Prints the SQL of pending migrations, what they lock and how to roll them back; runs nothing",
        ))
        .arg(
            option("explain", "Prints the same of one migration, whether or not it has run; runs nothing")
                .conflicts_with_all(["to", "allow-lock"]),
        )
        .arg(option("to", "Ends with this migration; the modules after its own wait"))
        .arg(
            option("allow-lock", "Runs this migration although requests wait while it locks a large table")
                .action(ArgAction::Append),
        )
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    let others: Vec<_> = ["list", "plan", "explain"].into_iter().filter(|other| *other != name).collect();
    Arg::new(name).long(name).action(ArgAction::SetTrue).conflicts_with_all(others).help(help)
}

fn option(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("MODULE/NAME").help(help)
}

/// Runs, plans or lists migrations.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let mut options = MigrateOptions::new();
    if let Some(to) = matches.get_one::<String>("to") {
        options = options.to(to);
    }
    for allowed in matches.get_many::<String>("allow-lock").into_iter().flatten() {
        options = options.allow_lock(allowed);
    }
    if matches.get_flag("list") {
        migrations::list(app).await
    } else if matches.get_flag("plan") {
        plan(app, &options).await
    } else if let Some(migration) = matches.get_one::<String>("explain") {
        app.prepare_database().await?;
        let planned = app.db.explain_migration(&app.migrations, migration).await?;
        print_line(format_args!("{}", planned.to_string().trim_end()))
    } else {
        migrations::run(app, &options.refuse_long_locks(app.db_settings.large_table)).await
    }
}

async fn plan(app: &App, options: &MigrateOptions) -> crate::Result<()> {
    let planned = app.plan_migrations(options).await?;
    for migration in &planned {
        print_line(format_args!("{migration}"))?;
        let long_locks = migration.long_locks(app.db_settings.large_table);
        let tables: BTreeSet<_> = long_locks.map(|(_, lock)| lock.table.as_deref().unwrap_or("its table")).collect();
        if !tables.is_empty() {
            let tables = tables.into_iter().collect::<Vec<_>>().join(", ");
            print_line(format_args!("  REFUSED without `--allow-lock {}`: {tables}\n", migration.full_name()))?;
        }
    }
    match planned.len() {
        0 => print_line(format_args!("nothing to do: the database is up to date")),
        1 => print_line(format_args!("1 migration would run")),
        count => print_line(format_args!("{count} migrations would run")),
    }
}
