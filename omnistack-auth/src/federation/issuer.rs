//! Access tokens of external identity providers: a provider signs users in, and the app accepts its tokens.
//!
//! ```no_run
//! use omnistack_auth::{Auth, issuer::Issuer};
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! let auth = Auth::clerk("https://clerk.example.com", ["https://app.example.com"])
//!     .issuer(Issuer::auth0("example.eu.auth0.com", "https://api.example.com"));
//! App::from_env().with(auth).run().await
//! # }
//! ```
//!
//! A token is accepted if
//!
//! - its signature is that of a key of its issuer, with the algorithm of that key (RS256, ES256, EdDSA, or HS256 with a
//!   shared secret),
//! - it names issuer, subject and expiry, and is valid now by the app's clock, with a leeway of ten seconds,
//! - its audience or authorized party is this app, and
//! - it is an access token of a person, not an ID token and not the token of a program.
//!
//! The header parameters `jku`, `jwk` and `x5u` are ignored.
//!
//! The first token of a subject creates a [user](crate::model::User) with a personal tenant (provisioning). A subject
//! is identified together with its issuer. An existing account is never taken over by a token with its email address,
//! unless [`link_verified_emails`](Issuer::link_verified_emails) is set. With `AUTH_REGISTRATION=false`, the first token
//! of a subject is refused with 403 unless it is linked. Permissions come from the user's tenants in
//! the app, not from the token.

pub(crate) mod claims;
pub(crate) mod fetch;
mod from_settings;
pub(crate) mod id_token;
mod jwks;
mod key;
mod vendors;
pub(crate) mod verify;
pub(crate) mod webhook;

pub(crate) use claims::{Claims, MAX_TOKEN_BYTES, ParsedToken};

use std::fmt;

use omnistack_core::{
    ExposeSecret as _, clock::Clock, crypto::HmacKey, http::client::Client, module::MissingDependency,
    webhook::StandardSecret,
};
use reqwest::Url;
use secrecy::SecretString;

use fetch::Fetch;
use jwks::KeySet;
use vendors::Vendor;
use verify::{VerificationKeys, Verifier};
use webhook::WebhookProvider;

/// The minimum length of a shared secret that signs tokens, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// An identity provider whose tokens the app accepts, and the claims they must have.
///
/// ```
/// use omnistack_auth::issuer::Issuer;
///
/// let own_provider = Issuer::jwks("https://id.example.com").audience("https://api.example.com");
/// let keycloak = Issuer::keycloak("https://id.example.com/realms/acme", "web").link_verified_emails();
/// ```
#[derive(Clone)]
#[must_use]
pub struct Issuer {
    preset: Vendor,
    name: String,
    source: KeySource,
    audiences: Vec<String>,
    authorized_parties: Vec<String>,
    link_verified_emails: bool,
    trust_emails: bool,
    webhook_secrets: Vec<SecretString>,
}

/// The source of an issuer's keys.
#[derive(Clone)]
enum KeySource {
    /// The `jwks_uri` of the issuer's OpenID configuration.
    Discovered,
    Url(String),
    Shared(SecretString),
}

impl Issuer {
    /// Creates an issuer from its URL, exactly as its tokens name it in `iss`. Its keys are discovered through its
    /// OpenID configuration at `/.well-known/openid-configuration` below that URL. Tokens must be issued for one of the
    /// [audiences](Self::audience); by default, for `PUBLIC_URL`.
    pub fn jwks(issuer: impl Into<String>) -> Self {
        Self::new(Vendor::Standard, issuer, KeySource::Discovered)
    }

    /// Creates an issuer that signs with a secret it shares with the app (HS256), of at least 32 bytes. Every party
    /// that can verify such tokens can also sign them, so prefer an issuer with published keys.
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::new(Vendor::Standard, issuer, KeySource::Shared(secret.into()))
    }

    /// Creates an issuer for Clerk, from its frontend API (`https://clerk.example.com`) and the origins its sessions
    /// begin on (`azp`). Clerk's session tokens have no audience; a token with one comes from a template for another
    /// app and is refused.
    pub fn clerk(frontend_api: impl Into<String>, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let frontend_api = frontend_api.into();
        let keys = format!("{}/.well-known/jwks.json", frontend_api.trim_end_matches('/'));
        Self::new(Vendor::Clerk, frontend_api.trim_end_matches('/'), KeySource::Url(keys)).authorized_parties(origins)
    }

    /// Creates an issuer for Supabase, from the URL of the project (`https://REF.supabase.co`). Only tokens of
    /// signed-in users are accepted, not the project's `anon` and `service_role` keys. For projects that still sign
    /// with a secret, set [`secret`](Self::secret).
    pub fn supabase(project: impl Into<String>) -> Self {
        let issuer = format!("{}/auth/v1", project.into().trim_end_matches('/'));
        let keys = format!("{issuer}/.well-known/jwks.json");
        Self::new(Vendor::Supabase, issuer, KeySource::Url(keys)).audience("authenticated")
    }

    /// Creates an issuer for Auth0, from the domain of the tenant (`example.eu.auth0.com`) and the identifier of the
    /// API.
    pub fn auth0(domain: impl Into<String>, audience: impl Into<String>) -> Self {
        let domain = domain.into();
        let base = if domain.contains("://") { domain } else { format!("https://{domain}") };
        // Auth0's issuer ends with a slash.
        let issuer = format!("{}/", base.trim_end_matches('/'));
        let keys = format!("{issuer}.well-known/jwks.json");
        Self::new(Vendor::Auth0, issuer, KeySource::Url(keys)).audience(audience)
    }

    /// Creates an issuer for Keycloak, from the URL of the realm (`https://id.example.com/realms/acme`) and the client
    /// its tokens are issued to (`azp`). The audience is checked only if one is [set](Self::audience).
    pub fn keycloak(realm: impl Into<String>, client: impl Into<String>) -> Self {
        let realm = realm.into();
        let issuer = realm.trim_end_matches('/');
        let keys = format!("{issuer}/protocol/openid-connect/certs");
        Self::new(Vendor::Keycloak, issuer, KeySource::Url(keys)).authorized_parties([client.into()])
    }

    fn new(preset: Vendor, name: impl Into<String>, source: KeySource) -> Self {
        Self {
            preset,
            name: name.into(),
            source,
            audiences: Vec::new(),
            authorized_parties: Vec::new(),
            link_verified_emails: false,
            trust_emails: false,
            webhook_secrets: Vec::new(),
        }
    }

    /// Sets the URL of the key set, instead of the one in the issuer's configuration.
    pub fn keys_at(mut self, url: impl Into<String>) -> Self {
        self.source = KeySource::Url(url.into());
        self
    }

    /// Sets the secret that signs the tokens (HS256), as older projects of Supabase do.
    pub fn secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.source = KeySource::Shared(secret.into());
        self
    }

    /// Adds an audience (`aud`) to accept. With several, a token must name at least one of them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Adds authorized parties (`azp`). With any set, tokens issued to other parties are refused.
    pub fn authorized_parties(mut self, parties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.authorized_parties.extend(parties.into_iter().map(Into::into));
        self
    }

    /// Links the first token of a subject to the existing account with the same email address, if both the issuer and
    /// the app have verified the address, and the account has no other subject of this issuer. From then on, the person
    /// who controls the address at this issuer controls the account, and bypasses its second factor in this app. Set it only for issuers that you trust with that.
    pub fn link_verified_emails(mut self) -> Self {
        self.link_verified_emails = true;
        self
    }

    /// Treats every email address of this issuer as verified, although its tokens don't say so. By default, only
    /// addresses with `email_verified` are stored.
    pub fn trust_emails(mut self) -> Self {
        self.trust_emails = true;
        self
    }

    /// Adds a secret that signs webhooks of Clerk or Supabase (`whsec_…`). They are received at `POST
    /// /api/v1/public/auth/webhooks/clerk` or `…/supabase`. Set several while one replaces another.
    pub fn webhook_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.webhook_secrets.push(secret.into());
        self
    }

    /// Returns the provider that sends its webhooks, or `None` if it has no secret or sends no supported webhooks.
    pub(crate) fn webhook_provider(&self) -> Option<WebhookProvider> {
        let provider = match self.preset {
            Vendor::Clerk => WebhookProvider::Clerk,
            Vendor::Supabase => WebhookProvider::Supabase,
            _ => return None,
        };
        (!self.webhook_secrets.is_empty()).then_some(provider)
    }

    /// Returns whether the issuer's keys must be fetched.
    pub(crate) fn has_published_keys(&self) -> bool {
        !matches!(self.source, KeySource::Shared(_))
    }

    /// Validates the issuer, for an app whose own issuer is `own`.
    ///
    /// # Errors
    /// Returns the problem, and how to fix it.
    pub(crate) fn validate(&self, own: &str) -> Result<ValidatedIssuer, (String, String)> {
        let name = &self.name;
        let problem = |what: &str, fix: &str| Err((format!("trusts the issuer `{name}`, {what}"), fix.to_owned()));
        if name.is_empty() {
            return problem("whose name is empty", "set the name exactly as its tokens have it in `iss`");
        }
        if name == own {
            return problem("which is the app itself", "remove it: the app accepts its own tokens already");
        }
        let keys = match &self.source {
            KeySource::Shared(secret) if secret.expose_secret().len() < MIN_SECRET_BYTES => {
                return problem("with a secret of less than 32 bytes", "create one with `openssl rand -base64 48`");
            }
            KeySource::Shared(secret) => match HmacKey::new(secret.expose_secret()) {
                Ok(key) => IssuerKeys::Shared(key),
                Err(error) => return problem(&error.to_string(), "set a secret"),
            },
            KeySource::Discovered | KeySource::Url(_) => {
                let at = match &self.source {
                    KeySource::Url(url) => fetch::parse_source_url(url).map(Some),
                    _ => fetch::parse_source_url(name).map(|_| None),
                };
                match at {
                    Ok(at) => IssuerKeys::Published(at),
                    Err(error) => return problem(&error, "set an https URL"),
                }
            }
        };
        if self.preset == Vendor::Clerk && self.authorized_parties.is_empty() {
            return problem("without the origins of its sessions", "set them, such as `https://app.example.com`");
        }
        let mut webhook_secrets = Vec::new();
        for secret in &self.webhook_secrets {
            match StandardSecret::try_from(secret) {
                Ok(_) if self.webhook_provider().is_none() => {
                    return problem("which sends no webhooks that the app supports", "remove `webhook_secret`");
                }
                Ok(secret) => webhook_secrets.push(secret),
                Err(_) => return problem("with an invalid webhook secret", "copy the whole secret: `whsec_…`"),
            }
        }
        let mut audiences = self.audiences.clone();
        if audiences.is_empty() && self.preset == Vendor::Standard {
            audiences.push(own.to_owned());
        }
        Ok(ValidatedIssuer { issuer: self.clone(), keys, audiences, webhook_secrets })
    }
}

/// A validated issuer.
#[derive(Clone)]
pub(crate) struct ValidatedIssuer {
    issuer: Issuer,
    keys: IssuerKeys,
    audiences: Vec<String>,
    webhook_secrets: Vec<StandardSecret>,
}

/// The key material of an issuer.
#[derive(Clone)]
enum IssuerKeys {
    Shared(HmacKey),
    /// Published keys, at this URL or at the one in the issuer's configuration.
    Published(Option<Url>),
}

impl ValidatedIssuer {
    pub(crate) fn name(&self) -> &str {
        &self.issuer.name
    }

    /// Creates the verifier of its tokens. Fails if published keys are needed and the app has no HTTP client.
    pub(crate) fn verifier(
        self,
        clock: &Clock,
        client: impl FnOnce() -> Result<Client, MissingDependency>,
    ) -> Result<Verifier, MissingDependency> {
        let Issuer { preset, name, authorized_parties: parties, link_verified_emails: link, trust_emails, .. } =
            self.issuer;
        let keys = match self.keys {
            IssuerKeys::Shared(key) => VerificationKeys::Shared(key),
            IssuerKeys::Published(at) => {
                VerificationKeys::Published(KeySet::new(name.clone(), at, Fetch(client()?), clock.clone()))
            }
        };
        let (audiences, webhook_secrets) = (self.audiences, self.webhook_secrets);
        Ok(Verifier {
            issuer: name,
            preset,
            keys,
            audiences,
            authorized_parties: parties,
            link_verified_emails: link,
            trust_emails,
            webhook_secrets,
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("preset", &self.preset).finish_non_exhaustive()
    }
}
