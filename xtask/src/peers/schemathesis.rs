//! schemathesis: generates valid and invalid requests from the OpenAPI document and checks every response against it.

use std::{fs, process::Command};

use super::PeerContext;
use crate::{
    app::App,
    command,
    failure::{Failure, Result},
    folder::TempFolder,
    http,
    report::Report,
};

/// Operations by which the caller ends their own session, account or team, or suspends it; tests of `omnistack-auth` cover
/// them. After one of them every other operation would return 401 or 403.
const EXCLUDED: &str = "^(signOut|endSession|deleteAccount|deleteTeam|leaveTeam|adminEndUserSessions|adminUpdateUser\
|adminSuspendTenant|adminDeleteTenant)(V2)?$";

/// Runs every check on all other operations of `examples/saas`, on each database.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let postgres = vec![("DATABASE_URL", setting.servers.postgres.url.as_str())];
    // The handlers are the same on both databases, so most generated requests go to one of them, and so do all that
    // try the bounds of the schemas.
    for (database, settings, phases, examples) in [
        ("SQLite", vec![], "examples,fuzzing,stateful", "5"),
        ("PostgreSQL", postgres, "examples,coverage,fuzzing,stateful", "10"),
    ] {
        report.step(&format!("schemathesis on {database}"), || {
            let app = App::start(setting.app, &settings)?;
            // schemathesis writes files into its working directory.
            let folder = TempFolder::create("schemathesis")?;
            fs::write(folder.path().join("schemathesis.toml"), CONFIG)
                .map_err(|error| Failure::new(format!("can't write schemathesis.toml: {error}")))?;
            let mut schemathesis = Command::new(setting.programs.join("schemathesis"));
            schemathesis
                .current_dir(folder.path())
                .arg("run")
                .arg(format!("http://127.0.0.1:{}/openapi.json", app.port))
                .args(["--header", &app.authorization()])
                // With a tenant that schemathesis generates, nearly every request would be rejected before its handler.
                .args(["--header", &tenant(&app)?])
                // Two checks don't apply. One assumes that every value that matches the schema is accepted, but only
                // cursors from a response are. The other assumes that deleted resources can't be restored.
                .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,use_after_free"])
                .args(["--exclude-operation-id-regex", EXCLUDED])
                .args(["--phases", phases, "--max-examples", examples, "--seed", "20250101"])
                .args(["--generation-database", "none", "--request-timeout", "10", "--no-color"]);
            command::run(&mut schemathesis).map_err(|failure| app.with_log(&failure))
        })?;
    }
    Ok(())
}

/// Statuses of a response to an invalid request: schemathesis's own, 402, since limits of plans are checked first, and
/// 413, since a body that breaks the limits of its schema may be larger than its route accepts.
const CONFIG: &str = r#"
[checks.negative_data_rejection]
expected-statuses = [400, 401, 402, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"#;

/// Returns the header line with the operator's tenant.
fn tenant(app: &App) -> Result<String> {
    let me = http::request(app.port, "GET", "/api/v1/app/users/me", &[&app.authorization()], "")?.body;
    let tenant = me.split_once(r#""tenant_id":""#).and_then(|(_, rest)| rest.split_once('"'));
    let (tenant, _) = tenant.ok_or_else(|| Failure::new(format!("no tenant in {me}")))?;
    Ok(format!("X-Tenant-Id: {tenant}"))
}
