//! The HTTP client for calls to providers. The whole app shares one, which is created only here.
//!
//! Modules use the app's [`Client`], which keeps connections to each host open for later calls:
//!
//! ```no_run
//! use omnistack_core::module::{Module, Registry};
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
//! The client follows no redirects, so that a request and its secrets are sent only to the URL that the code names; a
//! redirect is returned like any other response. The client uses no proxy, stores no cookies, and trusts the
//! certificates that the operating system trusts.
//!
//! It is for hosts that the app's operator configures. A host that a *user* enters, such as the URL of a webhook, may
//! be in the operator's own network; this client does not check that.

mod request;

use std::{net::IpAddr, time::Duration};

use reqwest::Url;

use crate::BoxError;

pub use request::{Client, RequestBuilder};

crate::settings! {
    /// Calls to providers.
    pub struct ClientSettings {
        /// Timeout for opening a connection to a provider, TLS included.
        pub connect_timeout: Duration = "HTTP_CLIENT_CONNECT_TIMEOUT", default "5s", range "1ms"..="10m";
        /// Timeout of a call to a provider, from the start to the last byte of the response, unless the code sets
        /// another.
        pub timeout: Duration = "HTTP_CLIENT_TIMEOUT", default "30s", range "1ms"..="1h";
    }
}

impl ClientSettings {
    /// Creates a client with these timeouts.
    ///
    /// # Errors
    /// Fails if the certificates of the operating system can't be read.
    #[expect(clippy::disallowed_methods, reason = "the only place that creates a client")]
    pub fn client(&self) -> Result<Client, BoxError> {
        let builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // Shorter than the idle timeout of load balancers, so that a call rarely uses a connection that is being
            // closed.
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("omnistack/", env!("CARGO_PKG_VERSION")));
        Ok(Client(builder.build()?))
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), timeout: Duration::from_secs(30) }
    }
}

/// Parses the base URL of a service: `https`, or `http` for this machine, without credentials, query or fragment.
///
/// # Errors
/// Fails with a description if the URL is invalid.
pub fn base_url(text: &str) -> Result<Url, BoxError> {
    let url: Url = text.parse()?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        _ => return Err("expected https://…, or http://… for this machine".into()),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without credentials, query and fragment".into());
    }
    Ok(url)
}
