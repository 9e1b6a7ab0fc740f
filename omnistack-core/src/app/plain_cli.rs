//! The command line without the feature `cli`: the name of a command, without options.

use super::{AppBuilder, commands};
use crate::RunError;

/// Runs the command that the first argument names, or `serve` without one.
pub(super) async fn run(builder: AppBuilder) -> crate::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let _logging = builder.install_log();
    let app = builder.build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["serve"] => commands::serve(app).await,
        ["worker"] => commands::worker(app).await,
        ["migrate"] => commands::migrate(&app, false).await,
        ["migrate", "--list"] => commands::migrate(&app, true).await,
        ["openapi"] => commands::openapi(&app, None),
        ["openapi", "--part", part] => commands::openapi(&app, Some(part)),
        ["routes"] => commands::routes(&app),
        ["config"] => commands::config(&app, false),
        ["config", "--reference"] => commands::config(&app, true),
        ["doctor"] => commands::doctor(&app).await,
        other => {
            let text = other.join(" ");
            Err(RunError::new(format!(
                "this program has no command `{text}`: build it with the feature `cli` for all commands"
            )))
        }
    }
}
