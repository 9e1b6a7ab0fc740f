//! `cargo xtask template`: checks that an app generated from `templates/saas` builds, serves requests and is short.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    app::App,
    command,
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host,
    http::{self, Response},
    report::Report,
    tools::Tool,
};

/// The limit of lines of Rust in a generated app, without blank lines and comments. Fixes in library code reach users
/// by `cargo update`, while generated code must be fixed by hand.
const MAX_LINES: usize = 149;

/// Generates an app, counts its lines, builds it, starts it and sends it requests. Fails at the first step that fails.
pub(crate) fn run() -> Result {
    let mut report = Report::default();
    let outcome = steps(&mut report);
    report.print();
    outcome
}

fn steps(report: &mut Report) -> Result {
    // Outside the repository, because the new app is not part of its workspace.
    let folder = TempFolder::create("template")?;
    let app = folder.path().join("acme");
    report.step("generate from templates/saas", || generate(folder.path()))?;
    report.step_with_note("count its lines of Rust", || {
        let lines = count_lines(&app.join("src"))?;
        if lines > MAX_LINES {
            return Err(Failure::new(format!(
                "the template has {lines} lines of Rust, more than the limit of {MAX_LINES}"
            )));
        }
        Ok(((), format!("{lines} lines")))
    })?;
    report.step("build it", || build(&app))?;
    report.step("send it requests", || {
        let app = App::start(&host::target().join("debug/acme"), &[])?;
        send_requests(&app).map_err(|failure| app.with_log(&failure))
    })
}

fn generate(destination: &Path) -> Result {
    // By default, the template depends on the published version.
    let checkout = format!("omnistack_dependency=path = \"{}\"", host::root().join("omnistack").display());
    let mut generate = Tool::GENERATE.command()?;
    generate.args(["generate", "--path", "templates/saas", "--name", "acme", "--vcs", "none"]);
    generate.args(["--silent", "--define", &checkout, "--destination"]).arg(destination);
    // Sets the author, which cargo-generate would otherwise ask git for.
    command::run(generate.env("CARGO_NAME", "acme"))
}

fn build(app: &Path) -> Result {
    // With the versions, settings and target folder of this workspace, only the app itself is compiled.
    let lock = (host::root().join("Cargo.lock"), app.join("Cargo.lock"));
    fs::copy(&lock.0, &lock.1).context("copying Cargo.lock")?;
    let cargo = |arguments: &[&str]| {
        let mut cargo = command::cargo();
        cargo.args(arguments).current_dir(app).env("CARGO_TARGET_DIR", host::target());
        // The variable is unset for a user, and with another value all dependencies would be compiled again.
        let debug = host::env_var("CARGO_PROFILE_DEV_DEBUG").unwrap_or_else(|| "line-tables-only".to_owned());
        command::run(cargo.env("CARGO_PROFILE_DEV_DEBUG", debug))
    };
    // Removes the app built by the previous run, which had another path.
    cargo(&["clean", "--quiet", "--package", "acme"])?;
    cargo(&["build"])
}

/// Sends the requests that the template's README shows. Fails if a response is not as expected.
fn send_requests(app: &App) -> Result {
    const PROJECTS: &str = "/api/v1/app/projects";
    let signed_in = app.authorization();
    let ask = |method, path, headers: &[&str], body, status, contains: &str| {
        let answer: Response = http::request(app.port, method, path, headers, body)?;
        if answer.status == status && answer.body.contains(contains) {
            eprintln!("{method} {path}: {status}");
            return Ok(());
        }
        let expected = format!("{method} {path}: expected {status} with `{contains}`");
        Err(Failure::new(format!("{expected}, got {} {}", answer.status, answer.body)))
    };
    ask("GET", "/health", &[], "", 200, "")?;
    ask("GET", "/openapi.json", &[], "", 200, PROJECTS)?;
    ask("GET", PROJECTS, &[], "", 401, "\"error\"")?;
    ask("POST", PROJECTS, &[&signed_in], r#"{"name":"Northwind"}"#, 201, "Northwind")?;
    ask("GET", PROJECTS, &[&signed_in], "", 200, "Northwind")
}

/// Returns the number of lines of Rust in a folder, without blank lines and comments.
fn count_lines(folder: &Path) -> Result<usize> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut lines = 0;
    for entry in entries.context(format_args!("reading {}", folder.display()))? {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            lines += count_lines(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).context(format_args!("reading {}", path.display()))?;
            lines += text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        }
    }
    Ok(lines)
}
