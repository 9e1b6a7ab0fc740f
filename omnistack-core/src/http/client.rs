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
//! # URLs that others enter
//!
//! A request to a URL that a user enters could reach the operator's own network, or the metadata service of a cloud,
//! which gives out credentials (server-side request forgery, SSRF). So there are three clients:
//!
//! - [`Client`] connects to all addresses. It is for infrastructure that the settings name, which often is in a private
//!   network: storage, mail and SMS providers, language models, vector databases, collectors of traces and metrics,
//!   Sentry.
//! - [`SettingsClient`] is for the other URLs in settings: webhooks of the operator, payment services, app stores, code
//!   hosts, and issuers and identity providers, whose documents name further URLs. It connects to public addresses, to
//!   the networks in `HTTP_CLIENT_ALLOWED_NETWORKS`, and outside production to this machine.
//! - [`GuardedClient`] is for URLs that users or tenants enter, such as those of their webhooks. It connects to public
//!   addresses only, and does not continue the trace: its requests have no `traceparent`, `tracestate` and `baggage`.
//!
//! Outside production, `WEBHOOKS_ALLOW_PRIVATE_ADDRESSES` permits all addresses to the last two. A request to another
//! address fails before a connection is opened; see [`is_refused`]. [`AddressGuard`] describes the public addresses. It
//! checks the addresses that the client then connects to, so a host name whose addresses change is no way around it.

mod guard;
mod lookup;
mod request;

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use reqwest::Url;

use crate::{BoxError, config::Environment};

use guard::GuardedResolver;
use lookup::Lookup;

pub use guard::{AddressGuard, is_refused};
pub use request::{Client, RequestBuilder};

/// Time for which a connection to a host that a user has chosen is kept open for the next request. Such hosts are many,
/// and each open connection takes a file descriptor of the process.
const USER_HOST_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

crate::settings! {
    /// Calls to providers.
    pub struct ClientSettings {
        /// Timeout for opening a connection to a provider, TLS included.
        pub connect_timeout: Duration = "HTTP_CLIENT_CONNECT_TIMEOUT", default "5s", range "1ms"..="10m";
        /// Timeout of a call to a provider, from the start to the last byte of the response, unless the code sets
        /// another.
        pub timeout: Duration = "HTTP_CLIENT_TIMEOUT", default "30s", range "1ms"..="1h";
        /// Networks, such as `10.1.0.0/16`, that URLs in settings may lead to although they are not public: those of
        /// `CONTACT_WEBHOOK_URL`, `ERRORS_ALERT_WEBHOOK`, identity providers, payment services, app stores and code
        /// hosts. They have no effect on URLs that users enter.
        pub allowed_networks: Vec<IpNet> = "HTTP_CLIENT_ALLOWED_NETWORKS";
        /// Whether URLs that users enter, such as those of webhooks, may lead to private addresses. Only outside
        /// production, to try webhooks with a receiver on the same machine.
        pub allow_private_addresses: bool = "WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", default "false";
    }
}

/// The author of the URLs that a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// The operator, in the app's settings or its code.
    Settings,
    /// Users and tenants.
    Users,
}

/// The app's client for URLs in settings, such as those of identity providers and payment services. It connects to
/// public addresses, to the networks in `HTTP_CLIENT_ALLOWED_NETWORKS`, and outside production to this machine.
#[derive(Clone, Debug)]
pub struct SettingsClient(pub Client);

/// The app's client for URLs that users or tenants enter, such as those of their webhooks. It connects to public
/// addresses only, by HTTP/1.1, and sends no trace context.
#[derive(Clone, Debug)]
pub struct GuardedClient(pub Client);

impl ClientSettings {
    /// Creates a client with these timeouts, which connects to all addresses.
    ///
    /// # Errors
    /// Fails if the certificates of the operating system can't be read.
    pub fn client(&self) -> Result<Client, BoxError> {
        Ok(self.builder().build()?.into())
    }

    /// Creates a client with these timeouts, which connects only to addresses that [`guard`](Self::guard) permits.
    ///
    /// # Errors
    /// Fails if the certificates of the operating system can't be read.
    pub fn guarded_client(&self, source: UrlSource, environment: Environment) -> Result<Client, BoxError> {
        self.guarded_client_with(self.guard(source, environment), source, lookup::system())
    }

    fn guarded_client_with(&self, guard: AddressGuard, source: UrlSource, lookup: Lookup) -> Result<Client, BoxError> {
        let resolver = GuardedResolver { guard: guard.clone(), source, lookup };
        let builder = self.builder().dns_resolver(resolver);
        let builder = match source {
            UrlSource::Settings => builder,
            // With HTTP/2, all requests to a host share a connection: a tenant whose receiver holds its requests open
            // would delay those of other tenants to the same host.
            UrlSource::Users => builder.http1_only().pool_idle_timeout(USER_HOST_IDLE_TIMEOUT),
        };
        Ok(Client::guarded(builder.build()?, guard, source))
    }

    /// Returns the addresses that URLs of this source may lead to.
    pub fn guard(&self, source: UrlSource, environment: Environment) -> AddressGuard {
        let mut allowed = Vec::new();
        if source == UrlSource::Settings {
            allowed.extend_from_slice(&self.allowed_networks);
            if !environment.is_production() {
                // Development uses services on the same machine.
                allowed.extend(guard::LOOPBACK);
            }
        }
        if self.allow_private_addresses && !environment.is_production() {
            allowed.extend(guard::ALL_ADDRESSES);
        }
        AddressGuard::new(allowed)
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that creates a client")]
    fn builder(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // Shorter than the idle timeout of load balancers, so that a call rarely uses a connection that is being
            // closed.
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Another crate of the app may enable these features of reqwest. Limits of bodies count the bytes that are
            // sent, and files are stored as they are sent.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .user_agent(concat!("omnistack/", env!("CARGO_PKG_VERSION")))
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            allowed_networks: Vec::new(),
            allow_private_addresses: false,
        }
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
