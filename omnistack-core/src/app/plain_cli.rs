//! The command line without the feature `cli`: the name of a command, with the options that production needs.

use super::{App, AppBuilder, commands, migrations};
use crate::{RunError, db::MigrateOptions};

/// Runs the command that the first argument names, or `serve` without one.
pub(super) async fn run(builder: AppBuilder) -> crate::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let _logging = builder.install_log();
    let app = builder.build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["serve"] => commands::serve(app).await,
        ["worker"] => commands::worker(app).await,
        ["migrate", "--list"] => migrations::list(&app).await,
        ["migrate", allowed @ ..] => migrations::run(&app, &migrate_options(&app, allowed)?).await,
        ["openapi"] => commands::openapi(&app, None),
        ["openapi", "--part", part] => commands::openapi(&app, Some(part)),
        ["routes"] => commands::routes(&app),
        ["config"] => commands::config(&app, false),
        ["config", "--reference"] => commands::config(&app, true),
        ["doctor"] => commands::doctor(&app).await,
        other => Err(unknown(&other.join(" "))),
    }
}

/// Returns the options of `migrate`, which are `--allow-lock MODULE/NAME` any number of times.
fn migrate_options(app: &App, arguments: &[&str]) -> crate::Result<MigrateOptions> {
    let mut options = MigrateOptions::new().refuse_long_locks(app.db_settings.large_table);
    for pair in arguments.chunks(2) {
        match pair {
            ["--allow-lock", migration] => options = options.allow_lock(*migration),
            other => return Err(unknown(&format!("migrate {}", other.join(" ")))),
        }
    }
    Ok(options)
}

fn unknown(command: &str) -> RunError {
    RunError::new(format!("this program has no command `{command}`: build it with the feature `cli` for all commands"))
}
