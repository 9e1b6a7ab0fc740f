//! schemathesis: reads the OpenAPI document, invents requests good and bad, and holds every answer to it.

use std::process::Command;

use super::Setting;
use crate::{
    app::App,
    command,
    failure::{Failure, Result},
    folder::Temporary,
    http,
    report::Report,
};

/// Operations by which the caller ends their own session, account or team, or suspends it; tests of `omnistack-auth` cover
/// them. After one of them every other operation would return 401 or 403.
const EXCLUDED: &str = "^(signOut|endSession|deleteAccount|deleteTeam|leaveTeam|adminEndUserSessions|adminUpdateUser\
|adminSuspendTenant|adminDeleteTenant)(V2)?$";

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
                // A tenant made up by it would keep it out of nearly every handler.
                .args(["--header", &tenant(&app)?])
                // Two checks assume what isn't so: that a schema says all there is to know about what is accepted (a cursor
                // is any text, and only those we gave are good), and that what was deleted can't be restored.
                .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,use_after_free"])
                .args(["--exclude-operation-id-regex", EXCLUDED])
                .args(["--max-examples", "40", "--seed", "20250101"])
                .args(["--generation-database", "none", "--request-timeout", "10", "--no-color"]);
            command::run(&mut schemathesis).map_err(|failure| app.explain(&failure))
        })?;
    }
    Ok(())
}

/// The header line that names the caller's tenant.
fn tenant(app: &App) -> Result<String> {
    let me = http::request(app.port, "GET", "/api/v1/app/users/me", &[&app.authorization()], "")?.body;
    let tenant = me.split_once(r#""tenant_id":""#).and_then(|(_, rest)| rest.split_once('"'));
    let (tenant, _) = tenant.ok_or_else(|| Failure::new(format!("no tenant in {me}")))?;
    Ok(format!("X-Tenant-Id: {tenant}"))
}
