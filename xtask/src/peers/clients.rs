//! Client generators for the OpenAPI document: openapi-python-client, openapi-typescript with openapi-fetch, and
//! @hey-api/openapi-ts; the calls of a page in the chapter "Frontends"; and Redocly's linter.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{PeerContext, node};
use crate::{
    app::App,
    command,
    failure::{Context, Failure, Result},
    host,
    http::{self, Response},
    report::Report,
};

/// Lints the OpenAPI document of `examples/saas`, generates each client from it, and runs each client against the app.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let packages = report.step_with_note("install generators of TypeScript clients", || {
        node::install_packages(&node::CLIENTS).map(|folder| (folder.clone(), folder.display().to_string()))
    })?;
    let app = App::start(setting.app, &[])?;
    let folder = workspace(&packages)?;
    fs::write(folder.join("openapi.json"), openapi_document(&app)?).context("writing the OpenAPI document")?;
    let tool = |name: &str| {
        let mut tool = Command::new(packages.join("node_modules/.bin").join(name));
        tool.current_dir(&folder);
        tool
    };
    report.step("Redocly's linter", || {
        command::run(tool("redocly").args(["lint", "openapi.json"]).env("REDOCLY_TELEMETRY", "off"))
    })?;
    report.step("clients of openapi-typescript and @hey-api/openapi-ts", || {
        command::run(tool("openapi-typescript").args(["openapi.json", "--output", "openapi.d.ts"]))?;
        command::run(tool("openapi-ts").arg("--silent"))?;
        command::run(&mut tool("tsc"))?;
        for script in ["openapi-fetch.js", "hey-api.js", "frontend-test.js"] {
            run_client(&app, Command::new("node").current_dir(&folder).arg(Path::new("built").join(script)))?;
        }
        Ok(())
    })?;
    report.step("client of openapi-python-client", || {
        let mut generator = Command::new(setting.programs.join("openapi-python-client"));
        generator.args(["generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none"]);
        generator.args(["--config", "openapi-python-client.yaml"]);
        // The generator formats its output with `ruff`, which it finds on the PATH.
        let path = host::env_var("PATH").unwrap_or_default();
        generator.env("PATH", format!("{}:{path}", setting.programs.display()));
        command::run(generator.arg("--fail-on-warning").current_dir(&folder))?;
        run_client(&app, Command::new(setting.programs.join("python")).current_dir(&folder).arg("client.py"))
    })
}

/// Creates a folder with only the scripts, beside the packages, where Node finds them.
fn workspace(packages: &Path) -> Result<PathBuf> {
    let folder = packages.join("workspace");
    if folder.exists() {
        fs::remove_dir_all(&folder).context(format_args!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).context(format_args!("creating {}", folder.display()))?;
    for name in [
        "client.py",
        "frontend-test.ts",
        "frontend.ts",
        "hey-api.ts",
        "openapi-fetch.ts",
        "openapi-python-client.yaml",
        "openapi-ts.config.mjs",
        "redocly.yaml",
        "tsconfig.json",
    ] {
        let from = host::root().join("xtask/peers/clients").join(name);
        fs::copy(&from, folder.join(name)).context(format_args!("copying {}", from.display()))?;
    }
    Ok(folder)
}

fn openapi_document(app: &App) -> Result<String> {
    match http::request(app.port, "GET", "/openapi.json", &[], "")? {
        Response { status: 200, body } => Ok(body),
        Response { status, body } => Err(Failure::new(format!("GET /openapi.json: {status} {body}"))),
    }
}

/// Runs a script that signs in as the app's first operator.
fn run_client(app: &App, script: &mut Command) -> Result {
    let (email, password) = &app.operator;
    script
        .env("CLIENT_URL", format!("http://127.0.0.1:{}", app.port))
        .env("CLIENT_EMAIL", email)
        .env("CLIENT_PASSWORD", password);
    command::run(script).map_err(|failure| app.with_log(&failure))
}
