//! [`App`], a running OmniStack app for checks over HTTP.

use std::path::Path;

use crate::{
    failure::{Failure, Result},
    folder::TempFolder,
    host,
    http::{self, Response},
    supervise::{SupervisedCommand, SupervisedProcess},
};

/// A running app with accounts, in a temporary folder. Dropping it stops the app.
#[derive(Debug)]
pub(crate) struct App {
    /// The port the app listens on, on 127.0.0.1.
    pub(crate) port: u16,
    /// The email address and password of the first operator.
    pub(crate) operator: (String, String),
    /// An access token of the first operator.
    token: String,
    process: SupervisedProcess,
}

impl App {
    /// Starts the app on a free port with these settings and waits until it answers `GET /health`. Its database, which is
    /// SQLite unless `DATABASE_URL` is set, must have no operator yet.
    pub(crate) fn start(binary: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let (process, port) = serve(binary, settings)?;
        let owner = initial_operator(&process)?;
        let token = sign_in(port, &owner)?;
        Ok(Self { port, operator: owner, token, process })
    }

    /// Returns the app's process.
    pub(crate) fn process(&self) -> &SupervisedProcess {
        &self.process
    }

    /// Returns an access token of the first operator.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Returns the `Authorization` header line of the first operator.
    pub(crate) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// Returns the failure with the end of the app's log appended.
    pub(crate) fn with_log(&self, failure: &Failure) -> Failure {
        Failure::new(format!("{failure}\n\nThe end of the app's log:\n{}", self.process.log_tail()))
    }
}

/// Starts a process that runs jobs and serves nothing.
pub(crate) fn work(binary: &Path, settings: &[(&str, &str)]) -> Result<SupervisedProcess> {
    let mut recipe = recipe(binary, settings)?;
    recipe.command.arg("worker");
    recipe.start()
}

/// Starts a replica on a free port and waits until it answers `GET /health`.
pub(crate) fn serve(binary: &Path, settings: &[(&str, &str)]) -> Result<(SupervisedProcess, u16)> {
    let port = host::free_port()?;
    let mut recipe = recipe(binary, settings)?;
    recipe.command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
    // Browsers send cookies only to the app's own address.
    if settings.iter().all(|(name, _)| *name != "PUBLIC_URL") {
        recipe.command.env("PUBLIC_URL", format!("http://127.0.0.1:{port}"));
    }
    let process = recipe.start()?;
    process.wait_for("the app", || match http::request(port, "GET", "/health", &[], "")? {
        Response { status: 200, .. } => Ok(()),
        Response { status, body } => Err(Failure::new(format!("GET /health: {status} {body}"))),
    })?;
    Ok((process, port))
}

fn recipe(binary: &Path, settings: &[(&str, &str)]) -> Result<SupervisedCommand> {
    let mut recipe = SupervisedCommand::new(binary, TempFolder::create("app")?, "TERM");
    // Ignore the settings of the developer's shell, which are for another app.
    for name in ["APP_ENV", "DATABASE_URL", "REDIS_URL"] {
        recipe.command.env_remove(name);
    }
    // Longer than the longest check.
    recipe.command.envs([("AUTH_ACCESS_TOKEN", "6h"), ("HTTP_RATE_LIMIT", "off"), ("LOG_LEVEL", "warn")]);
    recipe.command.envs(settings.iter().copied());
    Ok(recipe)
}

/// Reads the email address and password of the first operator, which the app prints when it creates the account.
/// Fails if the app prints none within 30 seconds.
fn initial_operator(process: &SupervisedProcess) -> Result<(String, String)> {
    process.wait_for("the app's first operator", || {
        let log = process.log_tail();
        let line = log.lines().find_map(|line| line.trim().strip_prefix("sign in as")?.split_once(", password "));
        let (email, rest) =
            line.ok_or_else(|| Failure::new("the app printed no password: the database already has an operator"))?;
        let password = rest.split(' ').next().unwrap_or_default();
        Ok((email.trim().to_owned(), password.to_owned()))
    })
}

fn sign_in(port: u16, (email, password): &(String, String)) -> Result<String> {
    let body = format!(r#"{{"email":"{email}","password":"{password}"}}"#);
    let Response { status, body } = http::request(port, "POST", "/api/v1/public/auth/login", &[], &body)?;
    let token = body.split_once(r#""access_token":""#).and_then(|(_, rest)| rest.split_once('"'));
    let (token, _) = token.ok_or_else(|| Failure::new(format!("the first operator can't sign in: {status} {body}")))?;
    Ok(token.to_owned())
}
