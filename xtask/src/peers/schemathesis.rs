//! schemathesis: reads the OpenAPI document, invents requests good and bad, and holds every answer to it.

use std::process::Command;

use super::Setting;
use crate::{app::App, command, failure::Result, folder::Temporary, report::Report};

/// Operations by which the caller ends their own session; tests of `omnistack-auth` speak to them.
const ENDS_THE_SESSION: &str = "^(signOut|endSession|deleteAccount|adminEndUserSessions|adminUpdateUser)(V2)?$";

/// Runs every check against every other operation of `examples/saas`, on each database.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    let databases = [("SQLite", vec![]), ("PostgreSQL", vec![("DATABASE_URL", setting.servers.postgres.url.as_str())])];
    for (database, settings) in databases {
        report.step(&format!("schemathesis on {database}"), || {
            let app = App::start(setting.app, &settings)?;
            // It leaves files where it runs.
            let folder = Temporary::create("schemathesis")?;
            let mut schemathesis = Command::new(setting.programs.join("schemathesis"));
            schemathesis
                .current_dir(folder.path())
                .arg("run")
                .arg(format!("http://127.0.0.1:{}/openapi.json", app.port))
                .args(["--header", &app.authorization()])
                // Two checks assume what isn't so: that a schema says all there is to know about what is accepted (a cursor
                // is any text, and only those we gave are good), and that what was deleted can't be restored.
                .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,use_after_free"])
                // With its session over, it would only be told to sign in.
                .args(["--exclude-operation-id-regex", ENDS_THE_SESSION])
                .args(["--max-examples", "80", "--seed", "20250101"])
                .args(["--generation-database", "none", "--request-timeout", "10", "--no-color"]);
            command::run(&mut schemathesis).map_err(|failure| app.explain(&failure))
        })?;
    }
    Ok(())
}
