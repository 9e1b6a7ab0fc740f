//! The client for calls to others: one for the whole app, and the only place that makes one.
//!
//! Whoever calls out takes the app's [`Client`], which keeps connections to each host for the next call:
//!
//! ```no_run
//! use omnistack_core::app::{Module, Registry};
//! use omnistack_core::http::client::Client;
//!
//! struct Weather;
//!
//! impl Module for Weather {
//!     fn name(&self) -> &'static str {
//!         "weather"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.require::<Client>(); // and `ctx.get::<Client>()` where it is used
//!     }
//! }
//! ```
//!
//! It follows no redirects, so that a request and its secrets go where the code says and nowhere else; a redirect is an answer
//! like any other. It uses no proxy, keeps no cookies, and trusts the certificates the system trusts.
//!
//! It is for hosts the app's operator chose. A host that a *user* chose, such as the URL of a webhook, may be one of the
//! operator's own network; this client does not look.

use std::{net::IpAddr, time::Duration};

use reqwest::Url;

use crate::app::{BoxError, Registry};

pub use reqwest::Client;

crate::section! {
    /// Calls to others.
    pub struct ClientSettings {
        /// How long opening a connection may take, its TLS included.
        pub connect_timeout: Duration = "HTTP_CLIENT_CONNECT_TIMEOUT", default "5s", range "1ms"..="10m";
        /// How long a call may take, from its beginning to the last byte of its answer, unless its caller says otherwise.
        pub timeout: Duration = "HTTP_CLIENT_TIMEOUT", default "30s", range "1ms"..="1h";
    }
}

impl ClientSettings {
    /// A client with these limits.
    ///
    /// # Errors
    /// The system's certificates can't be read.
    #[expect(clippy::disallowed_methods, reason = "the one place that makes one")]
    pub fn client(&self) -> Result<Client, BoxError> {
        let builder = Client::builder()
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // Shorter than what balancers allow, so that a call rarely meets a connection that is being closed.
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("omnistack/", env!("CARGO_PKG_VERSION")));
        Ok(builder.build()?)
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), timeout: Duration::from_secs(30) }
    }
}

/// The base URL of a service: `https`, or `http` on this machine, without credentials in it, query or fragment.
///
/// # Errors
/// It is none, and what is wrong with it.
pub fn base_url(text: &str) -> Result<Url, BoxError> {
    let url: Url = text.parse()?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        _ => return Err("expected https://…; http only to this machine".into()),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without credentials, query and fragment".into());
    }
    Ok(url)
}

/// With a module that requires a [`Client`]: the app's.
pub(crate) fn register(registry: &mut Registry) {
    // Read for its problems, and for the list of settings.
    if registry.config::<ClientSettings>().is_some() && registry.requires::<Client>() {
        _ = shared(registry);
    }
}

/// The app's client, made once it is asked for; `None` after noting what is wrong.
pub(crate) fn shared(registry: &mut Registry) -> Option<Client> {
    if let Ok(client) = registry.ctx.get::<Client>() {
        return Some(client);
    }
    match registry.config::<ClientSettings>()?.client() {
        Ok(client) => {
            registry.ctx.insert(client.clone());
            Some(client)
        }
        Err(error) => {
            let fix = "install the system's certificates (`ca-certificates`)";
            registry.problem(format!("no client for calls to others: {error}"), fix);
            None
        }
    }
}
