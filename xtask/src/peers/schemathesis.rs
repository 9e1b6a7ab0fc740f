//! schemathesis: generates valid and invalid requests from the OpenAPI document and checks every response against it.

use std::process::Command;

use super::Setting;
use crate::{app::App, command, failure::Result, folder::Temporary, report::Report};

/// A regular expression of the operations that end the caller's own session. The tests of `omnistack-auth` cover them.
const ENDS_THE_SESSION: &str = "^(signOut|endSession|deleteAccount|adminEndUserSessions|adminUpdateUser)(V2)?$";

/// Runs every check on all other operations of `examples/saas`, on each database.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    let databases = [("SQLite", None), ("PostgreSQL", Some(setting.servers.postgres.url.as_str()))];
    for (database, url) in databases {
        report.step(&format!("schemathesis on {database}"), || {
            let app = App::start(setting.app, url)?;
            // schemathesis writes files into its working directory.
            let folder = Temporary::create("schemathesis")?;
            let mut schemathesis = Command::new(setting.programs.join("schemathesis"));
            schemathesis
                .current_dir(folder.path())
                .arg("run")
                .arg(format!("http://127.0.0.1:{}/openapi.json", app.port))
                .args(["--header", &app.authorization()])
                // Two checks don't apply. One assumes that every value that matches the schema is accepted, but only
                // cursors from a response are. The other assumes that deleted resources can't be restored.
                .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,use_after_free"])
                // Once the session has ended, all requests would be rejected.
                .args(["--exclude-operation-id-regex", ENDS_THE_SESSION])
                .args(["--max-examples", "80", "--seed", "20250101"])
                .args(["--generation-database", "none", "--request-timeout", "10", "--no-color"]);
            command::run(&mut schemathesis).map_err(|failure| app.explain(&failure))
        })?;
    }
    Ok(())
}
