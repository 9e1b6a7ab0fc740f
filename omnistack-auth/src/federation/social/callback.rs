//! Starts and completes sign-ins with providers.

use std::{fmt, sync::Arc};

use omnistack_core::{
    clock::Clock,
    crypto::KeyRing,
    http::{self, FieldError, StatusCode, client::Client},
    identity::{Identity, SessionId, UserId},
};
use reqwest::Url;

use super::{Protocol, ProviderClient, ValidatedProvider, authorization_state::AuthorizationState, return_to};
use crate::{
    Error,
    account::{Accounts, ClientInfo, SignInOutcome},
    federation::{external_identity::ExternalIdentity, linked_identities::LinkedIdentity, linking::AccountLinker},
};

/// The maximum length of an authorization code, in bytes.
const MAX_CODE_BYTES: usize = 4096;

/// Social sign-in. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Social(pub(super) Arc<SocialInner>);

pub(super) struct SocialInner {
    pub(super) accounts: Accounts,
    pub(super) linker: AccountLinker,
    pub(super) clock: Clock,
    ring: KeyRing,
    /// The app's public URL without a trailing slash.
    public_url: String,
    providers: Vec<ProviderClient>,
}

/// The parameters of an authorization response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl CallbackQuery {
    /// Parses the query of a callback. Unknown parameters are ignored. Returns `None` if one of the parameters occurs
    /// twice, since readers could differ in which one they use.
    pub(crate) fn read(query: &str) -> Option<Self> {
        let mut back = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let part = match &*name {
                "state" => &mut back.state,
                "code" => &mut back.code,
                "error" => &mut back.error,
                "iss" => &mut back.issuer,
                _ => continue,
            };
            if part.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(back)
    }
}

/// The result of a callback, with the path of the app to go to, or `None` for `/`.
pub(crate) enum CallbackOutcome {
    SignedIn(SignInOutcome, Option<String>),
    Linked(Option<String>),
}

/// The error of a callback, and whether the state of the sign-in is used up.
pub(crate) struct CallbackError {
    pub(crate) error: Error,
    pub(crate) used_up: bool,
}

impl Social {
    pub(crate) fn new(
        (accounts, linker): (Accounts, AccountLinker),
        clock: Clock,
        ring: KeyRing,
        public_url: String,
        providers: Vec<ValidatedProvider>,
        client: &Client,
    ) -> Self {
        let providers = providers.into_iter().map(|provider| provider.connect(client, &clock)).collect();
        Self(Arc::new(SocialInner { accounts, linker, clock, ring, public_url, providers }))
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Returns the full URL of a path of the app.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.public_url)
    }

    /// Returns the URL to redirect the browser to, and the value of the cookie with the state.
    ///
    /// # Errors
    /// Returns 404 if there is no such provider, 422 if `return_to` is not a path of the app, and 503 if the provider
    /// can't be reached.
    pub(crate) async fn start(
        &self,
        provider: &str,
        return_to: Option<String>,
        link: Option<(UserId, SessionId)>,
    ) -> Result<(Url, String), Error> {
        let provider = self.provider(provider)?;
        if return_to.as_deref().is_some_and(|path| !return_to::is_app_path(path)) {
            return Err(http::Error::invalid([FieldError::new(
                "return_to",
                "is not a path of this app, such as `/projects`",
            )])
            .into());
        }
        let flow = AuthorizationState::new(&provider.name, return_to, link, self.0.clock.now());
        let callback = self.callback_url(provider);
        let url = match &provider.protocol {
            Protocol::Oidc(oidc) => oidc.authorization_url(&flow, &callback).await?,
            Protocol::GitHub(github) => github.authorization_url(&flow, &callback)?,
        };
        Ok((url, flow.seal(&self.0.ring)?))
    }

    /// Completes a sign-in or a link, from the callback's query and the cookie. Fails if they don't match or were used
    /// before.
    pub(crate) async fn handle_callback(
        &self,
        provider: &str,
        cookie: Option<&str>,
        back: Option<CallbackQuery>,
        visitor: &ClientInfo,
    ) -> Result<CallbackOutcome, CallbackError> {
        let early = |error: Error| CallbackError { error, used_up: false };
        let provider = self.provider(provider).map_err(early)?;
        let back = back.ok_or_else(|| early(sign_in_lost()))?;
        let (Some(cookie), Some(state)) = (cookie, &back.state) else { return Err(early(sign_in_lost())) };
        let flow = AuthorizationState::open(&self.0.ring, cookie, &provider.name, state, self.0.clock.now());
        let flow = flow.ok_or_else(|| early(sign_in_lost()))?;
        if !self.0.accounts.consume_oauth_state(&flow.state).await.map_err(early)? {
            return Err(CallbackError { error: sign_in_lost(), used_up: true });
        }
        self.complete(provider, flow, back, visitor).await.map_err(|error| CallbackError { error, used_up: true })
    }

    async fn complete(
        &self,
        provider: &ProviderClient,
        flow: AuthorizationState,
        back: CallbackQuery,
        visitor: &ClientInfo,
    ) -> Result<CallbackOutcome, Error> {
        let person = self.authenticate(provider, &flow, back).await?;
        let accounts = &self.0.accounts;
        match flow.link {
            Some(who) => {
                accounts.link(who, &person, |issuer| provider.is_issuer(issuer), visitor).await?;
                Ok(CallbackOutcome::Linked(flow.return_to))
            }
            None => {
                let done = self.sign_in(&person, provider.link, visitor).await?;
                Ok(CallbackOutcome::SignedIn(done, flow.return_to))
            }
        }
    }

    async fn authenticate(
        &self,
        provider: &ProviderClient,
        flow: &AuthorizationState,
        back: CallbackQuery,
    ) -> Result<ExternalIdentity, Error> {
        if let Protocol::Oidc(oidc) = &provider.protocol
            && !oidc.matches_issuer(back.issuer.as_deref()).await?
        {
            let provider = &provider.name;
            tracing::warn!(target: "omnistack::auth", provider, "the authorization response names another issuer");
            return Err(sign_in_lost());
        }
        if let Some(error) = back.error {
            return Err(authorization_error(&provider.name, &error));
        }
        let code = back.code.filter(|code| (1..=MAX_CODE_BYTES).contains(&code.len())).ok_or_else(sign_in_lost)?;
        let callback = self.callback_url(provider);
        match &provider.protocol {
            Protocol::Oidc(oidc) => oidc.exchange_code(flow, &code, &callback).await,
            Protocol::GitHub(github) => github.exchange_code(flow, &code, &callback).await,
        }
    }

    /// Returns the caller's linked identities.
    pub(crate) async fn identities(&self, caller: &Identity) -> Result<Vec<LinkedIdentity>, Error> {
        let shown = |issuer: String, subject, created_at| {
            let provider = self.0.providers.iter().find(|provider| provider.is_issuer(&issuer));
            LinkedIdentity { provider: provider.map(|provider| provider.name.clone()), issuer, subject, created_at }
        };
        let all = self.0.accounts.identities(caller).await?;
        Ok(all.into_iter().map(|one| shown(one.issuer, one.subject, one.created_at)).collect())
    }

    /// Unlinks the caller's account from a provider.
    pub(crate) async fn unlink(&self, caller: &Identity, provider: &str, visitor: &ClientInfo) -> Result<(), Error> {
        let provider = self.provider(provider)?;
        let known = |issuer: &str| self.0.providers.iter().any(|provider| provider.is_issuer(issuer));
        self.0.accounts.unlink(caller, |issuer| provider.is_issuer(issuer), known, visitor).await
    }

    /// Returns whether one of the providers is the issuer.
    #[cfg(feature = "passkeys")]
    pub(crate) fn has_issuer(&self, issuer: &str) -> bool {
        self.0.providers.iter().any(|provider| provider.is_issuer(issuer))
    }

    fn provider(&self, name: &str) -> Result<&ProviderClient, Error> {
        let provider = self.0.providers.iter().find(|provider| provider.name == name);
        Ok(provider.ok_or_else(|| http::Error::not_found("the provider"))?)
    }

    /// Returns the redirect URI of a provider. Each has its own, so that one provider's response can't pass for
    /// another's.
    fn callback_url(&self, provider: &ProviderClient) -> String {
        self.url(&format!("/api/v1/public/auth/oauth/{}/callback", provider.name))
    }
}

impl fmt::Debug for Social {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Social")
    }
}

/// Returns the error for a callback without a matching sign-in: begun in another browser, expired, or completed before.
fn sign_in_lost() -> Error {
    let message = "the sign-in was not begun in this browser, has expired or was completed; begin again";
    http::Error::bad_request("SIGN_IN_STATE_LOST", message).into()
}

/// Returns the error for an error response of the provider (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section
/// 3.1.2.6).
fn authorization_error(provider: &str, code: &str) -> Error {
    let code: String = code.chars().filter(char::is_ascii_graphic).take(100).collect();
    match code.as_str() {
        "access_denied"
        | "login_required"
        | "consent_required"
        | "interaction_required"
        | "account_selection_required" => {
            let message = "the sign-in with the provider was cancelled";
            http::Error::new(StatusCode::FORBIDDEN, "SIGN_IN_CANCELLED", message).into()
        }
        "temporarily_unavailable" | "server_error" => unavailable(),
        _ => {
            tracing::error!(target: "omnistack::auth", provider, code, "a provider refused the sign-in");
            refused()
        }
    }
}

fn refused() -> Error {
    let message = "the provider refuses this app; contact the app's operators, whose log has the reason";
    http::Error::new(StatusCode::BAD_GATEWAY, "IDENTITY_PROVIDER_REFUSED", message).into()
}

/// Logs that the provider rejects the app's registration, and returns the error.
pub(crate) fn misconfigured(at: &Url, code: &str) -> Error {
    let message = "a provider refuses the app: check its client ID, client secret and redirect URI";
    tracing::error!(target: "omnistack::auth", %at, code, "{message}");
    refused()
}

/// Logs that the provider can't be reached, and returns the error.
pub(crate) fn provider_unreachable(at: &Url, error: String) -> Error {
    tracing::warn!(target: "omnistack::auth", %at, error, "a provider can't be reached");
    unavailable()
}

fn unavailable() -> Error {
    let message = "the identity provider can't be reached; try again";
    http::Error::unavailable("IDENTITY_PROVIDER_UNAVAILABLE", message).into()
}

/// Logs that the provider's response is invalid, and returns the error.
pub(crate) fn invalid_response(what: &'static str) -> Error {
    tracing::warn!(target: "omnistack::auth", what, "a provider's response is invalid");
    let message = "the identity provider's response is invalid; try again";
    http::Error::new(StatusCode::BAD_GATEWAY, "IDENTITY_PROVIDER_RESPONSE_INVALID", message).into()
}

/// Returns the error for an authorization code that the provider refuses.
pub(crate) fn code_refused() -> Error {
    http::Error::bad_request("CODE_REFUSED", "the provider refuses the code; begin the sign-in again").into()
}

#[cfg(test)]
mod tests {
    use super::CallbackQuery;

    #[test]
    fn what_comes_twice_is_not_read() {
        let back = CallbackQuery::read("state=s&code=a%2Bb&session_state=x&scope=openid&iss=https%3A%2F%2Fid.example")
            .unwrap();
        assert_eq!((back.state.as_deref(), back.code.as_deref()), (Some("s"), Some("a+b")));
        assert_eq!((back.issuer.as_deref(), back.error), (Some("https://id.example"), None));
        for query in ["state=a&state=b", "code=a&code=a", "iss=a&iss=b", "error=a&error=b", "st%61te=a&state=a"] {
            assert_eq!(CallbackQuery::read(query), None, "{query}");
        }
        assert_eq!(CallbackQuery::read(""), Some(CallbackQuery::default()));
    }
}
