//! Sign-in with OpenID Connect providers.
//!
//! A provider's configuration is fetched once for all concurrent requests, used for an hour, and used for up to a day
//! while the provider can't be reached.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{ExposeSecret as _, clock::Clock};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    Party,
    flow::Flow,
    service::{away, code_refused, garbled, misconfigured},
};
use crate::{
    Error,
    account::elsewhere::Person,
    issuer::{
        fetch::{self, Fetch},
        id_token::{IdTokens, Speaker},
    },
};

/// The age up to which a configuration is used without a fetch.
const MAX_FRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// The age up to which a configuration is used while it can't be fetched.
const MAX_USABLE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The minimum time between two fetches after one has failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Oidc {
    party: Party,
    at: Url,
    speakers: Vec<Speaker>,
    trust_emails: bool,
    fetch: Fetch,
    clock: Clock,
    known: RwLock<Option<Arc<Known>>>,
    /// Held during a fetch, so that only one runs at a time. It contains the time of the last failure.
    flight: Mutex<Option<Duration>>,
}

/// The provider's configuration. Times are those of the monotonic clock.
struct Known {
    authorization: Url,
    token: Url,
    /// Whether the client secret is sent in the body instead of the `Authorization` header.
    by_post: bool,
    /// Whether the provider names itself in the authorization response (RFC 9207).
    tells_issuer: bool,
    id_tokens: IdTokens,
    fetched: Duration,
}

/// The provider's metadata (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct Answer {
    id_token: String,
}

impl Oidc {
    pub(super) fn new(
        party: Party,
        at: Url,
        speakers: Vec<Speaker>,
        trust_emails: bool,
        fetch: Fetch,
        clock: Clock,
    ) -> Self {
        let (known, flight) = (RwLock::default(), Mutex::default());
        Self { party, at, speakers, trust_emails, fetch, clock, known, flight }
    }

    pub(super) fn owns(&self, issuer: &str) -> bool {
        self.speakers.iter().any(|speaker| speaker.is(issuer))
    }

    /// Returns the URL to redirect the browser to.
    pub(super) async fn authorization(&self, flow: &Flow, callback: &str) -> Result<Url, Error> {
        let mut url = self.known().await?.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.party.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", &self.party.scopes)
            .append_pair("state", &flow.state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Returns whether an authorization response with this `iss`, or without one, is this provider's (RFC 9207, section
    /// 2.4).
    pub(super) async fn is_speaking(&self, issuer: Option<&str>) -> Result<bool, Error> {
        let known = self.known().await?;
        Ok(issuer.map_or(!known.tells_issuer, |issuer| known.id_tokens.speaker.is(issuer)))
    }

    /// Exchanges a code and returns the external identity of the user.
    pub(super) async fn person(&self, flow: &Flow, code: &str, callback: &str) -> Result<Person, Error> {
        let known = self.known().await?;
        let request = self.exchange(&known, flow, code, callback);
        let (status, body) = fetch::send(request).await.map_err(|error| away(&known.token, error))?;
        if status != 200 {
            return Err(refusal(&known.token, status, &body));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| garbled("no ID token"))?;
        known.id_tokens.verify(&answer.id_token, &flow.nonce).await
    }

    /// Creates the token request (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    fn exchange(&self, known: &Known, flow: &Flow, code: &str, callback: &str) -> RequestBuilder {
        let (id, secret) = (self.party.client_id.as_str(), self.party.client_secret.expose_secret());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", callback)
            .append_pair("code_verifier", &flow.verifier);
        let mut request = self.fetch.0.post(known.token.clone());
        if known.by_post {
            form.append_pair("client_id", id).append_pair("client_secret", secret);
        } else {
            // RFC 6749, section 2.3.1: both are form-encoded first.
            let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let both = STANDARD.encode(format!("{}:{}", part(id), part(secret)));
            request = request.header("authorization", format!("Basic {both}"));
        }
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(form.finish())
    }

    /// Returns the configuration, cached or fetched. Fails with 503 if there is none and the provider can't be reached.
    async fn known(&self) -> Result<Arc<Known>, Error> {
        let now = self.clock.elapsed();
        let age = |known: &Arc<Known>| now.saturating_sub(known.fetched);
        let usable = self.kept().filter(|known| age(known) < MAX_USABLE_AGE);
        if let Some(known) = usable.as_ref().filter(|known| age(known) < MAX_FRESH_AGE) {
            return Ok(known.clone());
        }
        let mut failed = match (&usable, self.flight.try_lock()) {
            (_, Ok(flight)) => flight,
            // Another request is fetching it.
            (Some(known), Err(_)) => return Ok(known.clone()),
            (None, Err(_)) => self.flight.lock().await,
        };
        if let Some(known) = self.kept().filter(|known| age(known) < MAX_FRESH_AGE) {
            return Ok(known);
        }
        let error = match *failed {
            Some(failed) if now.saturating_sub(failed) < RETRY_INTERVAL => {
                "it could not be reached a moment ago".to_owned()
            }
            _ => match self.discover(usable.as_deref()).await {
                Ok(known) => {
                    let known = Arc::new(known);
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
                    *failed = None;
                    return Ok(known);
                }
                Err(error) => {
                    *failed = Some(self.clock.elapsed());
                    error
                }
            },
        };
        usable.ok_or_else(|| away(&self.at, error))
    }

    fn kept(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn discover(&self, before: Option<&Known>) -> Result<Known, String> {
        let document = self.fetch.get(&self.at).await?;
        let found: Configuration = serde_json::from_slice(&document).map_err(|_| "not an OpenID configuration")?;
        // Section 4.3: the issuer must match exactly. Microsoft's configuration for all tenants has a placeholder in
        // it.
        let is_it = |speaker: &&Speaker| match speaker {
            Speaker::One(name) => *name == found.issuer,
            Speaker::AnyTenant(before, after) => found.issuer == format!("{before}{{tenantid}}{after}"),
        };
        let speaker = self.speakers.iter().find(is_it).ok_or("it names another issuer")?.clone();
        let url = |text: &str| {
            let url = fetch::source(text)?;
            // A remote provider must not make the app send requests to its own host.
            let inside = fetch::is_local(&url) && !fetch::is_local(&self.at);
            if inside { Err(format!("{text} is on this host")) } else { Ok(url) }
        };
        let keys_at = url(&found.jwks_uri)?;
        let id_tokens = match before.filter(|before| before.id_tokens.is_of(&speaker, &keys_at)) {
            Some(before) => before.id_tokens.clone(),
            None => IdTokens::new(
                speaker,
                self.party.client_id.clone(),
                self.trust_emails,
                keys_at,
                self.fetch.clone(),
                self.clock.clone(),
            ),
        };
        let methods = found.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |method: &str| methods.iter().any(|known| known == method);
        Ok(Known {
            authorization: url(&found.authorization_endpoint)?,
            token: url(&found.token_endpoint)?,
            by_post: !has("client_secret_basic") && has("client_secret_post"),
            tells_issuer: found.authorization_response_iss_parameter_supported,
            id_tokens,
            fetched: self.clock.elapsed(),
        })
    }
}

/// Returns the error for a code that was not exchanged (RFC 6749, section 5.2).
pub(super) fn refusal(at: &Url, status: u16, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let said = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
    match said.as_deref() {
        Ok("invalid_grant" | "bad_verification_code") => code_refused(),
        Ok(
            code @ ("invalid_client"
            | "unauthorized_client"
            | "redirect_uri_mismatch"
            | "invalid_scope"
            | "incorrect_client_credentials"
            | "unsupported_grant_type"
            | "invalid_request"),
        ) => misconfigured(at, code),
        _ if status >= 500 || status == 429 => away(at, format!("responded with status {status}")),
        _ => garbled("an unexpected response"),
    }
}
