//! Prometheus and Alertmanager: their own checks of the files in `deploy/observability`, and a Prometheus that reads a
//! running app and evaluates the expressions of the boards and rules.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::PeerContext;
use crate::{
    app::App,
    apt,
    clock::{self, Stopwatch},
    command,
    failure::{Context, Failure, Result},
    files::files_in,
    folder::TempFolder,
    host,
    http::{self, Response},
    report::Report,
    supervise::{SupervisedCommand, SupervisedProcess},
};

/// The programs of both packages that the checks run.
const PROGRAMS: [&str; 3] = ["prometheus", "promtool", "amtool"];
/// The packages of Debian and Ubuntu with the programs.
const PACKAGES: &[&str] = &["prometheus", "prometheus-alertmanager"];
/// The containers that `prometheus.yml` names.
const CONTAINERS: [&str; 4] = ["alertmanager", "blackbox-exporter", "node-exporter", "jaeger"];
/// The time between two rounds of requests. Prometheus reads the app several times in between.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_secs(3);
/// The number of rounds of requests.
const ROUNDS: u32 = 3;

/// Checks the files, starts `examples/saas` and Prometheus, and asks Prometheus for every expression.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("install Prometheus and Alertmanager", install)?;
    let python = setting.programs.join("python");
    report.step("promtool, amtool and the table of metrics on deploy/observability", || check_files(&python))?;
    report.step("Prometheus reads saas", || check_running_app(setting.app, &python))
}

/// Installs the missing programs. Fails if they can't be installed.
fn install() -> Result {
    let missing = || PROGRAMS.iter().any(|name| host::find_program(name).is_none());
    if missing() {
        eprintln!("Prometheus or Alertmanager is not installed.");
        if !apt::install(PACKAGES)? || missing() {
            return Err(Failure::new(format!(
                "one of {} is missing: install them with the system's packages (on Debian and Ubuntu: `apt-get install \
                 {}`)",
                PROGRAMS.join(", "),
                PACKAGES.join(" "),
            )));
        }
    }
    Ok(())
}

fn check_files(python: &Path) -> Result {
    let folder = TempFolder::create("prometheus")?;
    let deploy = host::root().join("deploy/observability");
    let config = copy_of_config(&folder, "token")?;
    command::run(Command::new("promtool").args(["check", "config"]).arg(config.join("prometheus.yml")))?;
    command::run(Command::new("promtool").args(["test", "rules"]).args(files_in(&config.join("tests"))?))?;
    command::run(Command::new("amtool").arg("check-config").arg(deploy.join("alertmanager/alertmanager.yml")))?;
    command::run(boards(python).arg("files").arg(host::root()).arg(folder.path()))?;
    command::run(Command::new("promtool").args(["check", "rules"]).arg(folder.path().join("expressions.yml")))
}

fn check_running_app(binary: &Path, python: &Path) -> Result {
    let token = host::random_hex()?;
    let app = App::start(binary, &[("METRICS_TOKEN", token.as_str())])?;
    let (prometheus, port) = start(&app, &token)?;
    let watch = Stopwatch::start();
    for round in 1..=ROUNDS {
        send_requests(&app)?;
        clock::wait_until(watch, PAUSE_BETWEEN_ROUNDS * round);
    }
    let url = format!("http://127.0.0.1:{port}");
    command::run(boards(python).arg("live").arg(host::root()).arg(url)).map_err(|failure| {
        Failure::new(format!("{failure}\n\nThe end of Prometheus's log:\n{}", prometheus.log_tail()))
    })?;
    let folder = TempFolder::create("exposition")?;
    let exposition = folder.path().join("metrics.txt");
    fs::write(&exposition, metrics(&app, &token)?).context("writing the metrics")?;
    let input = File::open(&exposition).context("reading the metrics")?;
    command::run(boards(python).args(["lint", "promtool"]).stdin(Stdio::from(input)))
}

/// Starts Prometheus with the shipped configuration, on a free port, and waits until it is ready.
fn start(app: &App, token: &str) -> Result<(SupervisedProcess, u16)> {
    let folder = TempFolder::create("prometheus")?;
    let config = copy_of_config(&folder, token)?;
    write(&config.join("targets/app.yml"), &format!("- targets: [\"127.0.0.1:{}\"]\n", app.port))?;
    let port = host::free_port()?;
    let file = config.join("prometheus.yml");
    let text = fs::read_to_string(&file).context(format_args!("reading {}", file.display()))?;
    // The intervals of a check that takes seconds.
    let mut text =
        text.replace("_interval: 15s", "_interval: 1s").replace("localhost:9090", &format!("localhost:{port}"));
    // The other containers of the stack are not here, and no name is looked up.
    for container in CONTAINERS {
        text = text.replace(&format!("{container}:"), "127.0.0.1:");
    }
    write(&file, &text)?;

    let data = folder.path().join("data");
    let mut recipe = SupervisedCommand::new("prometheus", folder, "TERM");
    recipe
        .command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = recipe.start()?;
    process.wait_for("Prometheus", || match http::request(port, "GET", "/-/ready", &[], "")? {
        Response { status: 200, .. } => Ok(()),
        Response { status, body } => Err(Failure::new(format!("GET /-/ready: {status} {body}"))),
    })?;
    Ok((process, port))
}

/// Sends requests that succeed and that fail, and one that enqueues jobs.
fn send_requests(app: &App) -> Result {
    let authorization = app.authorization();
    let (email, _) = &app.operator;
    let reset = format!(r#"{{"email":"{email}"}}"#);
    for (method, path, headers, body, expected) in [
        ("GET", "/api/v1/app/users/me", vec![authorization.as_str()], "", 200),
        ("GET", "/api/v1/app/users/me", vec![], "", 401),
        ("GET", "/no-such-route", vec![], "", 404),
        ("POST", "/api/v1/public/auth/forgot-password", vec![], reset.as_str(), 202),
    ] {
        let Response { status, body } = http::request(app.port, method, path, &headers, body)?;
        if status != expected {
            return Err(app.with_log(&Failure::new(format!("{method} {path}: {status} {body}"))));
        }
    }
    Ok(())
}

/// Returns the app's metrics. Fails unless the route requires the token.
fn metrics(app: &App, token: &str) -> Result<String> {
    let Response { status, .. } = http::request(app.port, "GET", "/metrics", &[], "")?;
    if status != 401 {
        return Err(Failure::new(format!("GET /metrics without a token: {status}")));
    }
    match http::request(app.port, "GET", "/metrics", &[&format!("Authorization: Bearer {token}")], "")? {
        Response { status: 200, body } => Ok(body),
        Response { status, body } => Err(Failure::new(format!("GET /metrics: {status} {body}"))),
    }
}

/// Copies the configuration of Prometheus into the folder, with this token, and returns the copy's path.
fn copy_of_config(folder: &TempFolder, token: &str) -> Result<PathBuf> {
    let (from, to) = (host::root().join("deploy/observability/prometheus"), folder.path().join("prometheus"));
    for part in ["", "rules", "targets", "tests"] {
        let (from, to) = (from.join(part), to.join(part));
        fs::create_dir_all(&to).context(format_args!("creating {}", to.display()))?;
        for file in files_in(&from)? {
            let copy = to.join(file.file_name().unwrap_or_default());
            fs::copy(&file, &copy).context(format_args!("copying {}", file.display()))?;
        }
    }
    write(&to.join("metrics_token"), token)?;
    Ok(to)
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).context(format_args!("writing {}", path.display()))
}

/// Returns the command of the script that reads boards and rules.
fn boards(python: &Path) -> Command {
    let mut script = Command::new(python);
    script.arg(host::root().join("xtask/peers/boards.py"));
    script
}
