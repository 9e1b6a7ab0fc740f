//! Sign-in with OpenID Connect providers.
//!
//! A provider's configuration is fetched once for all concurrent requests, used for an hour, and used for up to a day
//! while the provider can't be reached.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::http::client::RequestBuilder;
use omnistack_core::{ExposeSecret as _, clock::Clock};
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    OAuthClient,
    authorization_state::AuthorizationState,
    callback::{code_refused, invalid_response, misconfigured, provider_unreachable},
};
use crate::{
    Error,
    federation::{
        external_identity::ExternalIdentity,
        issuer::{
            fetch::{self, Fetch},
            id_token::{IdTokenVerifier, IssuerMatch},
        },
    },
};

/// The age up to which a configuration is used without a fetch.
const MAX_FRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// The age up to which a configuration is used while it can't be fetched.
const MAX_USABLE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The minimum time between two fetches after one has failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Oidc {
    oauth_client: OAuthClient,
    discovery_url: Url,
    issuers: Vec<IssuerMatch>,
    trust_emails: bool,
    fetch: Fetch,
    clock: Clock,
    known: RwLock<Option<Arc<ProviderMetadata>>>,
    /// Held during a fetch, so that only one runs at a time. It contains the time of the last failure.
    fetch_lock: Mutex<Option<Duration>>,
}

/// The provider's configuration. Times are those of the monotonic clock.
struct ProviderMetadata {
    authorization: Url,
    token: Url,
    /// Whether the client secret is sent in the body instead of the `Authorization` header.
    secret_in_body: bool,
    /// Whether the provider names itself in the authorization response (RFC 9207).
    sends_issuer: bool,
    id_tokens: IdTokenVerifier,
    fetched: Duration,
}

/// The provider's metadata (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct DiscoveryDocument {
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
struct TokenResponse {
    id_token: String,
}

impl Oidc {
    pub(crate) fn new(
        party: OAuthClient,
        at: Url,
        speakers: Vec<IssuerMatch>,
        trust_emails: bool,
        fetch: Fetch,
        clock: Clock,
    ) -> Self {
        let (known, flight) = (RwLock::default(), Mutex::default());
        Self {
            oauth_client: party,
            discovery_url: at,
            issuers: speakers,
            trust_emails,
            fetch,
            clock,
            known,
            fetch_lock: flight,
        }
    }

    pub(crate) fn is_issuer(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|speaker| speaker.matches(issuer))
    }

    /// Returns the URL to redirect the browser to.
    pub(crate) async fn authorization_url(&self, flow: &AuthorizationState, callback: &str) -> Result<Url, Error> {
        let mut url = self.metadata().await?.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.oauth_client.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", &self.oauth_client.scopes)
            .append_pair("state", &flow.state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Returns whether an authorization response with this `iss`, or without one, is this provider's (RFC 9207, section
    /// 2.4).
    pub(crate) async fn matches_issuer(&self, issuer: Option<&str>) -> Result<bool, Error> {
        let known = self.metadata().await?;
        Ok(issuer.map_or(!known.sends_issuer, |issuer| known.id_tokens.issuer.matches(issuer)))
    }

    /// Exchanges a code and returns the external identity of the user.
    pub(crate) async fn exchange_code(
        &self,
        flow: &AuthorizationState,
        code: &str,
        callback: &str,
    ) -> Result<ExternalIdentity, Error> {
        let known = self.metadata().await?;
        let request = self.token_request(&known, flow, code, callback);
        let (status, body) = fetch::send(request).await.map_err(|error| provider_unreachable(&known.token, error))?;
        if status != 200 {
            return Err(token_error(&known.token, status, &body));
        }
        let answer: TokenResponse = serde_json::from_slice(&body).map_err(|_| invalid_response("no ID token"))?;
        known.id_tokens.verify(&answer.id_token, &flow.nonce).await
    }

    /// Creates the token request (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    fn token_request(
        &self,
        known: &ProviderMetadata,
        flow: &AuthorizationState,
        code: &str,
        callback: &str,
    ) -> RequestBuilder {
        let (id, secret) = (self.oauth_client.client_id.as_str(), self.oauth_client.client_secret.expose_secret());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", callback)
            .append_pair("code_verifier", &flow.verifier);
        let mut request = self.fetch.0.post(known.token.clone());
        if known.secret_in_body {
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
    async fn metadata(&self) -> Result<Arc<ProviderMetadata>, Error> {
        let now = self.clock.elapsed();
        let age = |known: &Arc<ProviderMetadata>| now.saturating_sub(known.fetched);
        let usable = self.cached_metadata().filter(|known| age(known) < MAX_USABLE_AGE);
        if let Some(known) = usable.as_ref().filter(|known| age(known) < MAX_FRESH_AGE) {
            return Ok(known.clone());
        }
        let mut failed = match (&usable, self.fetch_lock.try_lock()) {
            (_, Ok(flight)) => flight,
            // Another request is fetching it.
            (Some(known), Err(_)) => return Ok(known.clone()),
            (None, Err(_)) => self.fetch_lock.lock().await,
        };
        if let Some(known) = self.cached_metadata().filter(|known| age(known) < MAX_FRESH_AGE) {
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
        usable.ok_or_else(|| provider_unreachable(&self.discovery_url, error))
    }

    fn cached_metadata(&self) -> Option<Arc<ProviderMetadata>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn discover(&self, before: Option<&ProviderMetadata>) -> Result<ProviderMetadata, String> {
        let document = self.fetch.get(&self.discovery_url).await?;
        let found: DiscoveryDocument = serde_json::from_slice(&document).map_err(|_| "not an OpenID configuration")?;
        // Section 4.3: the issuer must match exactly. Microsoft's configuration for all tenants has a placeholder in
        // it.
        let is_it = |speaker: &&IssuerMatch| match speaker {
            IssuerMatch::Exact(name) => *name == found.issuer,
            IssuerMatch::AnyTenant(before, after) => found.issuer == format!("{before}{{tenantid}}{after}"),
        };
        let speaker = self.issuers.iter().find(is_it).ok_or("it names another issuer")?.clone();
        let url = |text: &str| {
            let url = fetch::parse_source_url(text)?;
            // A remote provider must not make the app send requests to its own host.
            let inside = fetch::is_local(&url) && !fetch::is_local(&self.discovery_url);
            if inside { Err(format!("{text} is on this host")) } else { Ok(url) }
        };
        let keys_at = url(&found.jwks_uri)?;
        let id_tokens = match before.filter(|before| before.id_tokens.has_configuration(&speaker, &keys_at)) {
            Some(before) => before.id_tokens.clone(),
            None => IdTokenVerifier::new(
                speaker,
                self.oauth_client.client_id.clone(),
                self.trust_emails,
                keys_at,
                self.fetch.clone(),
                self.clock.clone(),
            ),
        };
        let methods = found.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |method: &str| methods.iter().any(|known| known == method);
        Ok(ProviderMetadata {
            authorization: url(&found.authorization_endpoint)?,
            token: url(&found.token_endpoint)?,
            secret_in_body: !has("client_secret_basic") && has("client_secret_post"),
            sends_issuer: found.authorization_response_iss_parameter_supported,
            id_tokens,
            fetched: self.clock.elapsed(),
        })
    }
}

/// Returns the error for a code that was not exchanged (RFC 6749, section 5.2).
pub(crate) fn token_error(at: &Url, status: u16, body: &[u8]) -> Error {
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
        _ if status >= 500 || status == 429 => provider_unreachable(at, format!("responded with status {status}")),
        _ => invalid_response("an unexpected response"),
    }
}
