//! The command `seed`.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    RunError,
    app::{App, output::print_line},
    seed::Seeds,
};

/// Returns the command and its arguments.
pub(super) fn command() -> Command {
    Command::new("seed")
        .about("Migrates the database and creates the rows that modules provide for development")
        .arg(Arg::new("name").action(ArgAction::Append).help("Runs only the seeds with these names, in this order"))
}

/// Runs the seeds. Fails in production: seeds have known names and no passwords of their own.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    if app.environment().is_production() {
        return Err(RunError::new(
            "seeds are for development, and APP_ENV is `production`: use a database for development, and unset APP_ENV",
        ));
    }
    let seeds: Seeds = app.context().get().map_err(|missing| RunError::new(missing.to_string()))?;
    let chosen: Vec<String> = matches.get_many::<String>("name").into_iter().flatten().cloned().collect();
    let names = if chosen.is_empty() { seeds.names().into_iter().map(str::to_owned).collect() } else { chosen };
    app.migrate().await?;
    app.start().await?;
    for name in &names {
        seeds.run(name).await?;
        print_line(format_args!("seeded   {name}"))?;
    }
    if names.is_empty() {
        print_line(format_args!("nothing to do: no module has a seed (`registry.seed(…)`)"))?;
    }
    app.stop().await;
    Ok(())
}
