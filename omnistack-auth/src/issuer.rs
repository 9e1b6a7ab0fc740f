//! Tokens from elsewhere: an identity provider signs users in, and the app believes its tokens.
//!
//! ```no_run
//! use omnistack_auth::{Auth, issuer::Issuer};
//! use omnistack_core::app::App;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! let auth = Auth::clerk("https://clerk.example.com", ["https://app.example.com"])
//!     .and(Issuer::auth0("example.eu.auth0.com", "https://api.example.com"));
//! App::from_env().with(auth).run().await
//! # }
//! ```
//!
//! A token is good when its signature is that of a key of its issuer, by the algorithm that key is for (RS256, ES256,
//! EdDSA, or HS256 with a shared secret); when it names issuer, subject and expiry, and is good now by the app's clock, give or
//! take ten seconds; when it is meant for this app; and when it is an access token of a person. What else is in its header
//! (`jku`, `jwk`, `x5u`) is not even read.
//!
//! Whoever comes with a good token for the first time becomes a [user](crate::model::User) with a tenant of their own. A
//! subject is only known together with its issuer, and nobody gets an account that is there already by naming its
//! address, unless [`link_verified_emails`](Issuer::link_verified_emails) says so. Rights are the app's: what the user is in
//! their tenants, not what a token says.

mod claims;
pub(crate) mod fetch;
pub(crate) mod id_token;
mod jwks;
mod key;
mod preset;
pub(crate) mod profile;
pub(crate) mod sync;
pub(crate) mod verify;
pub(crate) mod webhook;

pub(crate) use claims::{Claims, LONGEST, Presented};

use std::fmt;

use omnistack_core::{ExposeSecret as _, app::Missing, clock::Clock, crypto::HmacKey, http::client::Client};
use reqwest::Url;
use secrecy::SecretString;

use fetch::Fetch;
use jwks::KeySet;
use preset::Preset;
use verify::{Keys, Verifier};

/// The shortest secret tokens are signed with, in bytes (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

/// Somebody whose tokens the app believes, and what these have to say.
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
    preset: Preset,
    name: String,
    source: Source,
    audiences: Vec<String>,
    parties: Vec<String>,
    link: bool,
    trust_emails: bool,
    webhook_secrets: Vec<SecretString>,
}

/// Where the keys come from.
#[derive(Clone)]
enum Source {
    /// From where its OpenID configuration says.
    Discovered,
    At(String),
    Shared(SecretString),
}

impl Issuer {
    /// An issuer by its URL, exactly as its tokens name it in `iss`. Its keys are found by its OpenID configuration, at
    /// `/.well-known/openid-configuration` below it. Tokens have to be for [an audience](Self::audience): `PUBLIC_URL`,
    /// unless said otherwise.
    pub fn jwks(issuer: impl Into<String>) -> Self {
        Self::new(Preset::Plain, issuer, Source::Discovered)
    }

    /// An issuer that signs with a secret it shares with the app (HS256), of at least 32 bytes. Whoever verifies with it
    /// can sign with it too: keys that are published are better.
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::new(Preset::Plain, issuer, Source::Shared(secret.into()))
    }

    /// Clerk, by its frontend API (`https://clerk.example.com`), for sessions that begin on these origins (`azp`). Its session
    /// tokens have no audience; one that has comes from a template for somebody else, and is refused.
    pub fn clerk(frontend_api: impl Into<String>, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let frontend_api = frontend_api.into();
        let keys = format!("{}/.well-known/jwks.json", frontend_api.trim_end_matches('/'));
        Self::new(Preset::Clerk, frontend_api.trim_end_matches('/'), Source::At(keys)).authorized_parties(origins)
    }

    /// Supabase, by the URL of the project (`https://REF.supabase.co`), for users who are signed in: its keys for
    /// visitors and for services are refused. Projects that still sign with a secret give it [here](Self::secret).
    pub fn supabase(project: impl Into<String>) -> Self {
        let issuer = format!("{}/auth/v1", project.into().trim_end_matches('/'));
        let keys = format!("{issuer}/.well-known/jwks.json");
        Self::new(Preset::Supabase, issuer, Source::At(keys)).audience("authenticated")
    }

    /// Auth0, by the domain of the tenant (`example.eu.auth0.com`), for the API with this identifier.
    pub fn auth0(domain: impl Into<String>, audience: impl Into<String>) -> Self {
        let domain = domain.into();
        let base = if domain.contains("://") { domain } else { format!("https://{domain}") };
        // The issuer ends with a slash.
        let issuer = format!("{}/", base.trim_end_matches('/'));
        let keys = format!("{issuer}.well-known/jwks.json");
        Self::new(Preset::Auth0, issuer, Source::At(keys)).audience(audience)
    }

    /// Keycloak, by the URL of the realm (`https://id.example.com/realms/acme`), for tokens that were given to this client
    /// (`azp`). Its audiences are looked at only if some are [named](Self::audience).
    pub fn keycloak(realm: impl Into<String>, client: impl Into<String>) -> Self {
        let realm = realm.into();
        let issuer = realm.trim_end_matches('/');
        let keys = format!("{issuer}/protocol/openid-connect/certs");
        Self::new(Preset::Keycloak, issuer, Source::At(keys)).authorized_parties([client.into()])
    }

    fn new(preset: Preset, name: impl Into<String>, source: Source) -> Self {
        Self {
            preset,
            name: name.into(),
            source,
            audiences: Vec::new(),
            parties: Vec::new(),
            link: false,
            trust_emails: false,
            webhook_secrets: Vec::new(),
        }
    }

    /// The keys are here, whatever the issuer's configuration says.
    pub fn keys_at(mut self, url: impl Into<String>) -> Self {
        self.source = Source::At(url.into());
        self
    }

    /// Tokens are signed with this secret (HS256), as older projects of Supabase do.
    pub fn secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.source = Source::Shared(secret.into());
        self
    }

    /// Tokens for this audience are good (`aud`); with several, those for any of them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Only tokens that were given to one of these are good (`azp`).
    pub fn authorized_parties(mut self, parties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.parties.extend(parties.into_iter().map(Into::into));
        self
    }

    /// Lets who comes for the first time have the account that is there with their address, if both the issuer and the
    /// app have verified it. From then on, whoever controls the address at this issuer controls the account, and passes
    /// by whatever second factor it has here: for issuers you trust with that.
    pub fn link_verified_emails(mut self) -> Self {
        self.link = true;
        self
    }

    /// Every address this issuer names is verified, though its tokens don't say so. Without, the app keeps only addresses
    /// with `email_verified`.
    pub fn trust_emails(mut self) -> Self {
        self.trust_emails = true;
        self
    }

    /// Takes webhooks of Clerk or Supabase that are signed with this secret (`whsec_…`), at
    /// `POST /api/v1/public/auth/webhooks/clerk` or `…/supabase`. Several, while one replaces the other.
    pub fn webhook_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.webhook_secrets.push(secret.into());
        self
    }

    /// Where its webhooks arrive, below `/auth/webhooks`.
    pub(crate) fn webhook_path(&self) -> Option<&'static str> {
        let path = match self.preset {
            Preset::Clerk => "/clerk",
            Preset::Supabase => "/supabase",
            _ => return None,
        };
        (!self.webhook_secrets.is_empty()).then_some(path)
    }

    /// Whether its keys have to be fetched.
    pub(crate) fn publishes(&self) -> bool {
        !matches!(self.source, Source::Shared(_))
    }

    /// What its tokens are verified with, by the app of this name.
    ///
    /// # Errors
    /// What is wrong with it, and what to do about it.
    pub(crate) fn check(&self, own: &str) -> Result<Checked, (String, String)> {
        let name = &self.name;
        let problem = |what: &str, fix: &str| Err((format!("trusts the issuer `{name}`, {what}"), fix.to_owned()));
        if name.is_empty() {
            return problem("which is nobody", "give it exactly as its tokens have it in `iss`");
        }
        if name == own {
            return problem("which is the app itself", "remove it: the app's own tokens are good already");
        }
        let keys = match &self.source {
            Source::Shared(secret) if secret.expose_secret().len() < SHORTEST_SECRET => {
                return problem("with a secret of less than 32 bytes", "make one: `openssl rand -base64 48`");
            }
            Source::Shared(secret) => match HmacKey::new(secret.expose_secret()) {
                Ok(key) => Signed::Shared(key),
                Err(error) => return problem(&error.to_string(), "give it a secret"),
            },
            Source::Discovered | Source::At(_) => {
                let at = match &self.source {
                    Source::At(url) => fetch::source(url).map(Some),
                    _ => fetch::source(name).map(|_| None),
                };
                match at {
                    Ok(at) => Signed::Published(at),
                    Err(error) => return problem(&error, "give it an https URL"),
                }
            }
        };
        if self.preset == Preset::Clerk && self.parties.is_empty() {
            return problem("without the origins its sessions begin on", "name them: `https://app.example.com`");
        }
        let mut webhook_keys = Vec::new();
        for secret in &self.webhook_secrets {
            match webhook::key(secret) {
                Some(_) if self.webhook_path().is_none() => {
                    return problem("which sends no webhooks the app knows", "remove `webhook_secret`");
                }
                Some(key) => webhook_keys.push(key),
                None => return problem("with a webhook secret that is none", "copy it whole: `whsec_…`"),
            }
        }
        let mut audiences = self.audiences.clone();
        if audiences.is_empty() && self.preset == Preset::Plain {
            audiences.push(own.to_owned());
        }
        Ok(Checked { issuer: self.clone(), keys, audiences, webhook_keys })
    }
}

/// An issuer nothing is wrong with.
#[derive(Clone)]
pub(crate) struct Checked {
    issuer: Issuer,
    keys: Signed,
    audiences: Vec<String>,
    webhook_keys: Vec<HmacKey>,
}

/// How it signs.
#[derive(Clone)]
enum Signed {
    Shared(HmacKey),
    /// Its public keys are here, or where its configuration says.
    Published(Option<Url>),
}

impl Checked {
    pub(crate) fn name(&self) -> &str {
        &self.issuer.name
    }

    /// What verifies its tokens. Keys that are published are fetched with the app's client.
    pub(crate) fn verifier(
        self,
        clock: &Clock,
        client: impl FnOnce() -> Result<Client, Missing>,
    ) -> Result<Verifier, Missing> {
        let Issuer { preset, name, parties, link, trust_emails, .. } = self.issuer;
        let keys = match self.keys {
            Signed::Shared(key) => Keys::Shared(key),
            Signed::Published(at) => Keys::Published(KeySet::new(name.clone(), at, Fetch(client()?), clock.clone())),
        };
        let (audiences, webhook_keys) = (self.audiences, self.webhook_keys);
        Ok(Verifier { issuer: name, preset, keys, audiences, parties, link, trust_emails, webhook_keys })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("preset", &self.preset).finish_non_exhaustive()
    }
}
