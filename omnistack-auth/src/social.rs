//! Signing in with a provider: Google, GitHub, Microsoft, or whoever speaks OpenID Connect.
//!
//! ```no_run
//! use omnistack_auth::{Auth, social::Provider};
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! let auth = Auth::accounts()
//!     .sign_in_with(Provider::google("client.apps.googleusercontent.com", "secret").link_verified_emails())
//!     .sign_in_with(Provider::oidc("acme", "https://id.acme.example", "client", "secret"));
//! App::from_env().with(auth).run().await
//! # }
//! ```
//!
//! It is the authorization code flow with PKCE (RFC 6749, 7636 and 9700; OpenID Connect Core 1.0, section 3.1): the browser goes
//! to the provider with a state, a nonce and the hash of a verifier, and keeps all three in a sealed cookie; it comes back
//! with a code, once, which the app exchanges, showing its secret and the verifier. What counts then is the ID token,
//! verified by the keys the provider publishes. The app keeps no token of a provider.
//!
//! That is one redirect, one request and one verification, so no client library is behind it: ID tokens go through the
//! verifier that tokens of [other issuers](crate::issuer) go through, with its keys, which are bound to their algorithms and
//! kept while the provider is away, and requests through the app's one client. A library would bring a second parser of
//! tokens and a second implementation of RSA.

mod flow;
mod github;
mod oidc;
mod return_to;
mod service;

pub(crate) use flow::COOKIE;
pub(crate) use return_to::is_path;
pub(crate) use service::{Back, Done, Social};

use std::fmt;

use omnistack_core::{ExposeSecret as _, clock::Clock, http::client::Client};
use reqwest::Url;
use secrecy::SecretString;
use uuid::Uuid;

use crate::issuer::{
    fetch::{self, Fetch},
    id_token::Speaker,
};
use github::GitHub;
use oidc::Oidc;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
const MICROSOFT: &str = "https://login.microsoftonline.com";
/// The tenant of personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Somebody users can sign in with, who knows the app as a client with an id and a secret.
///
/// The provider has to know where users come back to: `PUBLIC_URL/api/v1/public/auth/oauth/NAME/callback`.
///
/// ```
/// use omnistack_auth::{Auth, social::Provider};
///
/// let own = Provider::github_enterprise("https://git.example.com", "client", "secret").named("git").scope("read:org");
/// assert_eq!(own.name(), "git");
/// // Nobody but the company has accounts in its tenant, so the addresses there are its own.
/// let office = Provider::microsoft("01234567-89ab-4cde-8f01-23456789abcd", "client", "secret").trust_emails();
/// let auth = Auth::accounts().sign_in_with(own).sign_in_with(office.link_verified_emails());
/// ```
#[derive(Clone)]
#[must_use]
pub struct Provider {
    name: String,
    kind: Kind,
    client_id: String,
    client_secret: SecretString,
    scopes: Vec<String>,
    link: bool,
    trust_emails: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Oidc(String),
    Microsoft(String),
    /// Where it is, and where its API is.
    GitHub(String, String),
}

impl Provider {
    /// Google, as `google`.
    pub fn google(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        Self::oidc("google", "https://accounts.google.com", client_id, client_secret)
    }

    /// GitHub, as `github`. It has no ID tokens: the app asks it who the user is, and takes the primary address if it is
    /// verified.
    pub fn github(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        let kind = Kind::GitHub("https://github.com".into(), "https://api.github.com".into());
        Self::new("github", kind, ["read:user", "user:email"], client_id, client_secret)
    }

    /// A GitHub of one's own, as `github`, by its URL.
    pub fn github_enterprise(
        url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let site = url.into().trim_end_matches('/').to_owned();
        let api = format!("{site}/api/v3");
        Self { kind: Kind::GitHub(site, api), ..Self::github(client_id, client_secret) }
    }

    /// Microsoft, as `microsoft`: the id of a tenant, or `common`, `organizations` or `consumers`. It doesn't say that an
    /// address is verified, so users have none from it; [`trust_emails`](Self::trust_emails) is for a tenant of one's own.
    pub fn microsoft(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let kind = Kind::Microsoft(tenant.into());
        Self::new("microsoft", kind, ["openid", "email", "profile"], client_id, client_secret)
    }

    /// Any provider of OpenID Connect, by a name for the app's routes (`a-z`, `0-9`, `-`) and its issuer, or the URL of its
    /// OpenID configuration.
    pub fn oidc(
        name: impl Into<String>,
        discovery_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let kind = Kind::Oidc(discovery_url.into());
        Self::new(name, kind, ["openid", "email", "profile"], client_id, client_secret)
    }

    fn new<const N: usize>(
        name: impl Into<String>,
        kind: Kind,
        scopes: [&str; N],
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let (name, client_id, client_secret) = (name.into(), client_id.into(), client_secret.into());
        let scopes = scopes.map(str::to_owned).to_vec();
        Self { name, kind, client_id, client_secret, scopes, link: false, trust_emails: false }
    }

    /// By another name in the app's routes.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Asks the user for this as well. The app itself makes no use of it.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Lets who comes for the first time have the account that is there with their address, if both the provider and the
    /// app have verified it. From then on, whoever controls the address at this provider controls the account, but for a
    /// second factor it has here.
    pub fn link_verified_emails(mut self) -> Self {
        self.link = true;
        self
    }

    /// Every address this provider names is verified, though it doesn't say so. Not for one where anybody can have a
    /// tenant of their own.
    pub fn trust_emails(mut self) -> Self {
        self.trust_emails = true;
        self
    }

    /// Its name in the app's routes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Nothing is wrong with it.
    ///
    /// # Errors
    /// What is, and what to do about it.
    pub(crate) fn check(&self) -> Result<Checked, (String, String)> {
        let name = &self.name;
        let problem = |what: &str, fix: &str| (format!("signs in with `{name}`, {what}"), fix.to_owned());
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(problem("which is no name", "name it with up to 32 of a-z, 0-9 and `-`"));
        }
        if self.client_id.is_empty() || self.client_secret.expose_secret().is_empty() {
            return Err(problem("without a client id or its secret", "register the app with the provider"));
        }
        if self.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(problem("with a scope that is none", "give each scope by itself"));
        }
        let https = |error: String| problem(&error, "give it an https URL");
        let at = match &self.kind {
            Kind::Oidc(url) => {
                let issuer = url.strip_suffix(WELL_KNOWN).unwrap_or(url);
                let base = issuer.trim_end_matches('/');
                let discovery = fetch::source(&format!("{base}{WELL_KNOWN}")).map_err(https)?;
                let mut speakers = vec![Speaker::One(issuer.to_owned())];
                if issuer.len() < url.len() {
                    // The URL of the configuration doesn't tell whether the issuer ends with a slash.
                    speakers.push(Speaker::One(format!("{base}/")));
                }
                At::Discovery(discovery, speakers)
            }
            Kind::Microsoft(tenant) => {
                let tenant = if tenant == "consumers" { CONSUMERS } else { tenant };
                let any = matches!(tenant, "common" | "organizations");
                if !any && Uuid::try_parse(tenant).is_err() {
                    let fix = "give its id, as the Azure portal shows it, or `common`";
                    return Err(problem("with a tenant that is none", fix));
                }
                if any && self.trust_emails {
                    let fix = "remove `trust_emails`, or name the tenant";
                    return Err(problem("whose tenants write addresses as they like", fix));
                }
                let (before, after) = (format!("{MICROSOFT}/"), "/v2.0".to_owned());
                let speaker = if any {
                    Speaker::AnyTenant(before, after)
                } else {
                    Speaker::One(format!("{before}{tenant}{after}"))
                };
                let discovery = format!("{MICROSOFT}/{tenant}/v2.0{WELL_KNOWN}");
                At::Discovery(fetch::source(&discovery).map_err(https)?, vec![speaker])
            }
            Kind::GitHub(site, api) => {
                fetch::source(site).and_then(|_| fetch::source(api)).map_err(https)?;
                At::GitHub(site.clone(), api.clone())
            }
        };
        Ok(Checked { provider: self.clone(), at })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A provider nothing is wrong with.
#[derive(Clone)]
pub(crate) struct Checked {
    provider: Provider,
    at: At,
}

#[derive(Clone)]
enum At {
    /// Where its configuration is, and what it may call itself.
    Discovery(Url, Vec<Speaker>),
    GitHub(String, String),
}

impl Checked {
    pub(crate) fn name(&self) -> &str {
        &self.provider.name
    }

    fn connect(self, client: &Client, clock: &Clock) -> Connected {
        let Provider { name, client_id, client_secret, scopes, link, trust_emails, .. } = self.provider;
        let fetch = Fetch(client.clone());
        let party = Party { client_id, client_secret, scopes: scopes.join(" ") };
        let protocol = match self.at {
            At::Discovery(at, speakers) => {
                Protocol::Oidc(Box::new(Oidc::new(party, at, speakers, trust_emails, fetch, clock.clone())))
            }
            At::GitHub(site, api) => Protocol::GitHub(GitHub { party, site, api, client: client.clone() }),
        };
        Connected { name, link, protocol }
    }
}

/// What the app is to a provider.
struct Party {
    client_id: String,
    client_secret: SecretString,
    /// Separated by spaces.
    scopes: String,
}

/// A provider, ready to be asked.
struct Connected {
    name: String,
    link: bool,
    protocol: Protocol,
}

enum Protocol {
    Oidc(Box<Oidc>),
    GitHub(GitHub),
}

impl Connected {
    /// Whether an issuer is this provider.
    fn owns(&self, issuer: &str) -> bool {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.owns(issuer),
            Protocol::GitHub(github) => github.site == issuer,
        }
    }
}
