//! The app's HTTP clients.

use super::Registry;
use crate::{
    BoxError,
    config::Environment,
    http::client::{Client, ClientSettings, GuardedClient, SettingsClient, UrlSource},
};

impl Registry {
    /// Returns the app's HTTP client, and creates it at the first call. Returns `None` after reporting a problem if it
    /// can't be created. A module that needs the client only while it runs calls `registry.require::<Client>()` and
    /// reads it from the [`Context`](super::Context).
    ///
    /// It connects to all addresses, so it is for infrastructure that the settings name. See
    /// [`http::client`](crate::http::client) for the choice between the clients.
    pub fn http_client(&mut self) -> Option<Client> {
        self.find_or_create_client(|settings, _| settings.client())
    }

    /// Returns the app's HTTP client for URLs in settings, such as those of webhooks, identity providers and payment
    /// services, like [`http_client`](Self::http_client). It connects to public addresses, to the networks in
    /// `HTTP_CLIENT_ALLOWED_NETWORKS`, and outside production to this machine. A module that needs it only while it
    /// runs calls `registry.require::<SettingsClient>()`.
    pub fn settings_client(&mut self) -> Option<Client> {
        let client = self.find_or_create_client(|settings, environment| {
            settings.guarded_client(UrlSource::Settings, environment).map(SettingsClient)
        });
        client.map(|SettingsClient(client)| client)
    }

    /// Returns the app's HTTP client for URLs that users or tenants enter, like [`http_client`](Self::http_client). It
    /// connects to public addresses only, or outside production to all with `WEBHOOKS_ALLOW_PRIVATE_ADDRESSES`. A
    /// module that needs it only while it runs calls `registry.require::<GuardedClient>()`.
    pub fn guarded_client(&mut self) -> Option<Client> {
        let client = self.find_or_create_client(|settings, environment| {
            settings.guarded_client(UrlSource::Users, environment).map(GuardedClient)
        });
        client.map(|GuardedClient(client)| client)
    }

    /// Returns the app's client of type `T`. Creates it if there is none; reports a problem and returns `None` if that
    /// fails.
    fn find_or_create_client<T: Clone + Send + Sync + 'static>(
        &mut self,
        create: impl FnOnce(&ClientSettings, Environment) -> Result<T, BoxError>,
    ) -> Option<T> {
        if let Some(client) = self.provided::<T>() {
            return Some(client);
        }
        match create(&self.config()?, self.environment()) {
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
