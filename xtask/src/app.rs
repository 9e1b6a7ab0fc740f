//! An app built with OmniStack, running for as long as something speaks to it.

use std::path::Path;

use crate::{
    failure::{Failure, Result},
    folder::Temporary,
    host,
    http::{self, Response},
    supervise::{Recipe, Supervised},
};

/// A running app in a temporary folder, stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct App {
    /// Where it listens, on the loopback address.
    pub(crate) port: u16,
    /// The bearer token of its development identity.
    pub(crate) token: String,
    process: Supervised,
}

impl App {
    /// Starts it on a free port, on a database of its own kind of choice (SQLite) or on the one given, and waits
    /// until it answers `GET /health`.
    pub(crate) fn start(binary: &Path, database_url: Option<&str>) -> Result<Self> {
        let port = host::free_port()?;
        let token = host::random_hex()?;
        let mut recipe = Recipe::new(binary, Temporary::create("app")?, "TERM");
        recipe
            .command
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("DEV_TOKEN", &token)
            .env("HTTP_RATE_LIMIT", "off")
            .env("LOG_LEVEL", "warn");
        // What the developer's own shell sets is for another app.
        for name in ["APP_ENV", "DATABASE_URL", "REDIS_URL"] {
            recipe.command.env_remove(name);
        }
        recipe.command.envs(database_url.map(|url| ("DATABASE_URL", url)));
        let process = recipe.start()?;
        process.wait_for("the app", || match http::request(port, "GET", "/health", &[], "")? {
            Response { status: 200, .. } => Ok(()),
            Response { status, body } => Err(Failure::new(format!("GET /health: {status} {body}"))),
        })?;
        Ok(Self { port, token, process })
    }

    /// The header line that signs a caller in.
    pub(crate) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// Adds the end of the app's log to a failure that came up while speaking to it.
    pub(crate) fn explain(&self, failure: &Failure) -> Failure {
        Failure::new(format!("{failure}\n\nThe app's log ends:\n{}", self.process.log_tail()))
    }
}
