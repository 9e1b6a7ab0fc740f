//! The command `audit verify`.

use clap::{Arg, ArgMatches, Command};

use crate::{
    RunError,
    app::{App, output::print_line},
    audit::{AuditChain, AuditStore},
};

/// Returns the subcommands and their arguments.
pub(super) fn command() -> Command {
    Command::new("audit")
        .about("Verifies the audit log")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("verify").about("Checks that no audit entry was changed or removed; fails if one was").arg(
                Arg::new("tenant")
                    .long("tenant")
                    .help("Verifies only the chain of this tenant id, or of the app with `app`"),
            ),
        )
}

/// Runs the selected subcommand.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let store: AuditStore = app.context().get().map_err(|missing| RunError::new(missing.to_string()))?;
    let Some(("verify", matches)) = matches.subcommand() else { return Ok(()) };
    let failed = |error: crate::audit::Error| RunError::new(error.to_string());
    let chains = match matches.get_one::<String>("tenant").map(String::as_str) {
        None => store.chains().await.map_err(failed)?,
        Some("app") => vec![AuditChain::App],
        Some(id) => {
            vec![AuditChain::Tenant(
                id.parse()
                    .map_err(|_| RunError::new(format!("`{id}` is not a tenant id: use a tenant id, or `app`")))?,
            )]
        }
    };
    let mut broken = 0;
    for chain in chains {
        let state = store.chain_state(chain).await.map_err(failed)?;
        match (state.entries, state.head, state.problem) {
            (Some(entries), Some(head), None) => {
                print_line(format_args!("intact   {chain}: {entries} entries, head {head}"))?;
            }
            (.., problem) => {
                broken += 1;
                print_line(format_args!("BROKEN   {chain}: {}", problem.unwrap_or_default()))?;
            }
        }
    }
    if broken == 0 {
        return Ok(());
    }
    Err(RunError::new(format!("{broken} audit chain{} broken", if broken == 1 { " is" } else { "s are" })))
}
