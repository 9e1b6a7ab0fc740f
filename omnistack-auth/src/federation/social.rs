//! Social sign-in: users sign in with Google, GitHub, Microsoft or another provider of OpenID Connect.
//!
//! ```no_run
//! use omnistack_auth::{Auth, social::Provider};
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! let auth = Auth::built_in()
//!     .sign_in_with(Provider::google("client.apps.googleusercontent.com", "secret").link_verified_emails())
//!     .sign_in_with(Provider::oidc("acme", "https://id.acme.example", "client", "secret"));
//! App::from_env().with(auth).run().await
//! # }
//! ```
//!
//! It implements the authorization code flow with PKCE (RFC 6749, 7636 and 9700; OpenID Connect Core 1.0, section 3.1).
//! The app redirects the browser to the provider with a state, a nonce and the hash of a code verifier, and stores all
//! three in a sealed cookie. The provider redirects the browser back with a code, which the app exchanges with its
//! client secret and the verifier. The result is the ID token, verified by the provider's published keys. The app
//! stores no tokens of a provider.
//!
//! The flow is one redirect, one request and one verification, so no OAuth client library is used. ID tokens are
//! verified by the verifier of [external issuers](crate::federation::issuer), whose keys are bound to their algorithms
//! and cached during an outage of the provider; requests use the app's client for URLs in settings. A library would add
//! a second token parser and a second implementation of RSA.

mod authorization_state;
mod callback;
mod from_settings;
mod github;
mod oidc;
mod return_to;
mod sign_in;

pub(crate) use authorization_state::STATE_COOKIE;
pub(crate) use callback::{CallbackOutcome, CallbackQuery, Social};
pub(crate) use return_to::is_app_path;

use std::fmt;

use omnistack_core::{ExposeSecret as _, clock::Clock, http::client::Client};
use reqwest::Url;
use secrecy::SecretString;
use uuid::Uuid;

use crate::federation::issuer::{
    fetch::{self, Fetch},
    id_token::IssuerMatch,
};
use github::GitHub;
use oidc::Oidc;

const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const MICROSOFT_BASE_URL: &str = "https://login.microsoftonline.com";
/// The id of Microsoft's tenant for personal accounts.
const CONSUMERS_TENANT_ID: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// A provider that users can sign in with. The app is its client, with a client ID and a client secret.
///
/// The redirect URI to register with the provider is `PUBLIC_URL/api/v1/public/auth/oauth/NAME/callback`.
///
/// ```
/// use omnistack_auth::{Auth, social::Provider};
///
/// let own = Provider::github_enterprise("https://git.example.com", "client", "secret").with_name("git").scope("read:org");
/// assert_eq!(own.name(), "git");
/// // Only the company creates accounts in its own tenant, so the email addresses can be trusted.
/// let office = Provider::microsoft("01234567-89ab-4cde-8f01-23456789abcd", "client", "secret").trust_emails();
/// let auth = Auth::built_in().sign_in_with(own).sign_in_with(office.link_verified_emails());
/// ```
#[derive(Clone)]
#[must_use]
pub struct Provider {
    name: String,
    kind: ProviderKind,
    client_id: String,
    client_secret: SecretString,
    scopes: Vec<String>,
    link_verified_emails: bool,
    trust_emails: bool,
}

#[derive(Clone, Debug)]
enum ProviderKind {
    Oidc(String),
    Microsoft(String),
    /// The URL of the site and the URL of its API.
    GitHub(String, String),
}

impl Provider {
    /// Creates the provider for Google, named `google`.
    pub fn google(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        Self::oidc("google", "https://accounts.google.com", client_id, client_secret)
    }

    /// Creates the provider for GitHub, named `github`. GitHub has no ID tokens, so the app requests the user's profile
    /// from its API. The primary email address is used if it is verified.
    pub fn github(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        let kind = ProviderKind::GitHub("https://github.com".into(), "https://api.github.com".into());
        Self::new("github", kind, ["read:user", "user:email"], client_id, client_secret)
    }

    /// Creates the provider for a GitHub Enterprise Server at this URL, named `github`.
    pub fn github_enterprise(
        url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let site = url.into().trim_end_matches('/').to_owned();
        let api = format!("{site}/api/v3");
        Self { kind: ProviderKind::GitHub(site, api), ..Self::github(client_id, client_secret) }
    }

    /// Creates the provider for Microsoft, named `microsoft`. The tenant is an id, or `common`, `organizations` or
    /// `consumers`. Microsoft does not say whether an email address is verified, so users get none by default. For a
    /// tenant of your own company, set [`trust_emails`](Self::trust_emails).
    pub fn microsoft(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let kind = ProviderKind::Microsoft(tenant.into());
        Self::new("microsoft", kind, ["openid", "email", "profile"], client_id, client_secret)
    }

    /// Creates a provider of OpenID Connect, from a name for the app's routes (`a-z`, `0-9`, `-`; at most 32
    /// characters) and the provider's issuer URL, or the URL of its OpenID configuration.
    pub fn oidc(
        name: impl Into<String>,
        discovery_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let kind = ProviderKind::Oidc(discovery_url.into());
        Self::new(name, kind, ["openid", "email", "profile"], client_id, client_secret)
    }

    fn new<const N: usize>(
        name: impl Into<String>,
        kind: ProviderKind,
        scopes: [&str; N],
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        let (name, client_id, client_secret) = (name.into(), client_id.into(), client_secret.into());
        let scopes = scopes.map(str::to_owned).to_vec();
        Self { name, kind, client_id, client_secret, scopes, link_verified_emails: false, trust_emails: false }
    }

    /// Sets the provider's name in the app's routes.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Requests another scope from the user. The app itself does not use it.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Links the first sign-in of a user to the existing account with the same email address, if both the provider and
    /// the app have verified the address, and the account has no other identity of this provider. From then on, the
    /// person who controls the address at this provider controls the account, except that a second factor of the account is still required.
    pub fn link_verified_emails(mut self) -> Self {
        self.link_verified_emails = true;
        self
    }

    /// Treats every email address of this provider as verified, although the provider doesn't say so. Don't set it for
    /// a provider where the public can create tenants.
    pub fn trust_emails(mut self) -> Self {
        self.trust_emails = true;
        self
    }

    /// Returns the provider's name in the app's routes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Validates the provider.
    ///
    /// # Errors
    /// Returns the problem, and how to fix it.
    pub(crate) fn validate(&self) -> Result<ValidatedProvider, (String, String)> {
        let name = &self.name;
        let problem = |what: &str, fix: &str| (format!("signs in with `{name}`, {what}"), fix.to_owned());
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(problem("whose name is invalid", "use 1 to 32 characters of a-z, 0-9 and `-`"));
        }
        if self.client_id.is_empty() || self.client_secret.expose_secret().is_empty() {
            return Err(problem("without a client ID or secret", "register the app with the provider and set both"));
        }
        if self.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(problem("with an invalid scope", "add each scope with a call of its own, without spaces"));
        }
        let https = |error: String| problem(&error, "set an https URL");
        let at = match &self.kind {
            ProviderKind::Oidc(url) => {
                let issuer = url.strip_suffix(DISCOVERY_PATH).unwrap_or(url);
                let base = issuer.trim_end_matches('/');
                let discovery = fetch::parse_source_url(&format!("{base}{DISCOVERY_PATH}")).map_err(https)?;
                let mut speakers = vec![IssuerMatch::Exact(issuer.to_owned())];
                if issuer.len() < url.len() {
                    // The URL of the configuration does not say whether the issuer ends with a slash.
                    speakers.push(IssuerMatch::Exact(format!("{base}/")));
                }
                ProviderEndpoints::Discovery(discovery, speakers)
            }
            ProviderKind::Microsoft(tenant) => {
                let tenant = if tenant == "consumers" { CONSUMERS_TENANT_ID } else { tenant };
                let any = matches!(tenant, "common" | "organizations");
                if !any && Uuid::try_parse(tenant).is_err() {
                    let fix = "set the tenant's id, as the Azure portal shows it, or `common`";
                    return Err(problem("with an invalid tenant", fix));
                }
                if any && self.trust_emails {
                    let fix = "remove `trust_emails`, or name the tenant";
                    return Err(problem("whose tenants can set unverified email addresses", fix));
                }
                let (before, after) = (format!("{MICROSOFT_BASE_URL}/"), "/v2.0".to_owned());
                let speaker = if any {
                    IssuerMatch::AnyTenant(before, after)
                } else {
                    IssuerMatch::Exact(format!("{before}{tenant}{after}"))
                };
                let discovery = format!("{MICROSOFT_BASE_URL}/{tenant}/v2.0{DISCOVERY_PATH}");
                ProviderEndpoints::Discovery(fetch::parse_source_url(&discovery).map_err(https)?, vec![speaker])
            }
            ProviderKind::GitHub(site, api) => {
                fetch::parse_source_url(site).and_then(|_| fetch::parse_source_url(api)).map_err(https)?;
                ProviderEndpoints::GitHub(site.clone(), api.clone())
            }
        };
        Ok(ValidatedProvider { provider: self.clone(), at })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A validated provider.
#[derive(Clone)]
pub(crate) struct ValidatedProvider {
    provider: Provider,
    at: ProviderEndpoints,
}

#[derive(Clone)]
enum ProviderEndpoints {
    /// The URL of the OpenID configuration, and the issuers it may name.
    Discovery(Url, Vec<IssuerMatch>),
    GitHub(String, String),
}

impl ValidatedProvider {
    pub(crate) fn name(&self) -> &str {
        &self.provider.name
    }

    fn connect(self, client: &Client, clock: &Clock) -> ProviderClient {
        let Provider { name, client_id, client_secret, scopes, link_verified_emails: link, trust_emails, .. } =
            self.provider;
        let fetch = Fetch(client.clone());
        let party = OAuthClient { client_id, client_secret, scopes: scopes.join(" ") };
        let protocol = match self.at {
            ProviderEndpoints::Discovery(at, speakers) => {
                Protocol::Oidc(Box::new(Oidc::new(party, at, speakers, trust_emails, fetch, clock.clone())))
            }
            ProviderEndpoints::GitHub(site, api) => {
                Protocol::GitHub(GitHub { oauth_client: party, site, api, client: client.clone() })
            }
        };
        ProviderClient { name, link, protocol }
    }
}

/// The app's registration as a client of a provider.
struct OAuthClient {
    client_id: String,
    client_secret: SecretString,
    /// The scopes, separated by spaces.
    scopes: String,
}

/// A provider with its protocol client.
struct ProviderClient {
    name: String,
    link: bool,
    protocol: Protocol,
}

enum Protocol {
    Oidc(Box<Oidc>),
    GitHub(GitHub),
}

impl ProviderClient {
    /// Returns whether an issuer is this provider.
    fn is_issuer(&self, issuer: &str) -> bool {
        match &self.protocol {
            Protocol::Oidc(oidc) => oidc.is_issuer(issuer),
            Protocol::GitHub(github) => github.site == issuer,
        }
    }
}
