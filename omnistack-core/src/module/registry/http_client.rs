//! The app's HTTP client.

use super::Registry;
use crate::http::client::{Client, ClientSettings};

impl Registry {
    /// Returns the app's HTTP client, and creates it at the first call. Returns `None` after reporting a problem if it
    /// can't be created. A module that needs the client only while it runs calls `registry.require::<Client>()` and
    /// reads it from the [`Context`](super::Context).
    pub fn http_client(&mut self) -> Option<Client> {
        if let Some(client) = self.provided() {
            return Some(client);
        }
        match self.config::<ClientSettings>()?.client() {
            Ok(client) => {
                self.ctx.insert(client.clone());
                Some(client)
            }
            Err(error) => {
                let fix = "install the certificates of the operating system (`ca-certificates`)";
                self.report_problem(format!("the HTTP client can't be created: {error}"), fix);
                None
            }
        }
    }
}
