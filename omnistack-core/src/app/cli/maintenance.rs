//! The command `maintenance`.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use crate::{
    RunError,
    app::{App, output::print_line},
    audit::{AuditEntry, AuditLog},
    config::SettingValue as _,
    maintenance::MaintenanceMode,
};

/// Returns the subcommands and their arguments.
pub(super) fn command() -> Command {
    Command::new("maintenance")
        .about("Refuses requests with 503, except those of operators, to health checks and to sign in")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("on")
                .about("Starts maintenance, or changes its end and message")
                .arg(
                    Arg::new("for").long("for").value_name("DURATION").default_value("10m").help(
                        "The time that it is expected to take, for `Retry-After`; it lasts until `maintenance off`",
                    ),
                )
                .arg(
                    Arg::new("message")
                        .long("message")
                        .default_value("the app is under maintenance; try again later")
                        .help("The message of the error that callers get"),
                ),
        )
        .subcommand(Command::new("off").about("Ends maintenance"))
        .subcommand(Command::new("status").about("Shows whether there is maintenance"))
}

/// Runs the selected subcommand.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let mode: MaintenanceMode = app.context().get().map_err(|missing| RunError::new(missing.to_string()))?;
    let audit: AuditLog = app.context().get().map_err(|missing| RunError::new(missing.to_string()))?;
    let db = app.db().app_database();
    match matches.subcommand() {
        Some(("on", matches)) => {
            let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
            let expected = Duration::parse(&text("for")).map_err(|wrong| RunError::new(format!("--for: {wrong}")))?;
            let message = text("message");
            let mut tx = db.begin().await?;
            mode.start_in(&mut tx, expected, &message).await?;
            let details = json!({ "expected_seconds": expected.as_secs(), "message": message });
            audit.record_in(&mut tx, AuditEntry::new("maintenance.started").details(details)).await?;
            tx.commit().await?;
            print_line(format_args!("on       all replicas refuse requests within a second, except those of operators"))
        }
        Some(("off", _)) => {
            let mut tx = db.begin().await?;
            if !mode.end_in(&mut tx).await? {
                return print_line(format_args!("off      there was no maintenance"));
            }
            audit.record_in(&mut tx, AuditEntry::new("maintenance.ended")).await?;
            tx.commit().await?;
            print_line(format_args!("off      all replicas serve requests within a second"))
        }
        _ => match mode.refresh().await? {
            None => print_line(format_args!("off")),
            Some(period) => print_line(format_args!(
                "on       since {}, expected until {}: {}",
                period.started_at, period.expected_end, period.message
            )),
        },
    }
}
