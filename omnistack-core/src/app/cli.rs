//! The command line of every app.

use clap::{Arg, ArgAction, Command};

use super::{AppBuilder, commands};

mod audit;
#[cfg(feature = "backup")]
mod backup;
mod health;
mod jobs;
mod maintenance;
mod migrate;
mod seed;
mod webhooks;

pub(super) async fn run(builder: AppBuilder) -> crate::Result<()> {
    let (title, version) = builder.title();
    let command = command(title.to_owned(), version.to_owned());
    let matches = command.get_matches();
    if let Some(("health", matches)) = matches.subcommand() {
        return health::run(builder.config(), matches).await;
    }
    let _logging = builder.install_log();
    let app = builder.build()?;
    match matches.subcommand() {
        Some(("migrate", matches)) => migrate::run(&app, matches).await,
        Some(("worker", _)) => commands::worker(app).await,
        Some(("openapi", matches)) => commands::openapi(&app, matches.get_one::<String>("part").map(String::as_str)),
        Some(("routes", _)) => commands::routes(&app),
        Some(("config", matches)) => commands::config(&app, matches.get_flag("reference")),
        Some(("audit", matches)) => audit::run(&app, matches).await,
        Some(("jobs", matches)) => jobs::run(&app, matches).await,
        Some(("webhooks", matches)) => webhooks::run(&app, matches).await,
        #[cfg(feature = "backup")]
        Some(("backup", matches)) => backup::create(&app, matches).await,
        #[cfg(feature = "backup")]
        Some(("restore", matches)) => backup::restore(&app, matches).await,
        Some(("maintenance", matches)) => maintenance::run(&app, matches).await,
        Some(("seed", matches)) => seed::run(&app, matches).await,
        Some(("doctor", _)) => commands::doctor(&app).await,
        _ => commands::serve(app).await,
    }
}

fn command(title: String, version: String) -> Command {
    let command = Command::new(title)
        .version(version)
        .about("Without a command, `serve` runs. Settings are read from .env, omnistack.toml and the environment.")
        .subcommand(Command::new("serve").about("Serves HTTP and runs background work (the default)"))
        .subcommand(Command::new("worker").about("Runs jobs and other background work, without HTTP"))
        .subcommand(migrate::command())
        .subcommand(
            Command::new("openapi").about("Prints the OpenAPI document (OpenAPI 3.1, JSON)").arg(
                Arg::new("part")
                    .long("part")
                    .help("Prints only a part: `v1` is a version, `app.v1` the routes of an access level"),
            ),
        )
        .subcommand(Command::new("routes").about("Lists every route: method, path, access level, permission, module"))
        .subcommand(
            Command::new("config").about("Lists every setting with its value and source; secrets are hidden").arg(
                Arg::new("reference")
                    .long("reference")
                    .action(ArgAction::SetTrue)
                    .help("Prints the settings reference as Markdown"),
            ),
        )
        .subcommand(health::command())
        .subcommand(audit::command())
        .subcommand(jobs::command())
        .subcommand(webhooks::command())
        .subcommand(maintenance::command())
        .subcommand(seed::command())
        .subcommand(Command::new("doctor").about("Checks settings, database, Redis and disk, and prints what to fix"));
    #[cfg(feature = "backup")]
    let command = command.subcommand(backup::backup_command()).subcommand(backup::restore_command());
    command
}
