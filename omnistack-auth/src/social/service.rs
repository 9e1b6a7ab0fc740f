//! The two ends of the way to a provider and back.

use std::{fmt, sync::Arc};

use omnistack_core::{
    clock::Clock,
    crypto::KeyRing,
    http::{self, FieldProblem, StatusCode, client::Client},
    identity::{Identity, SessionId, UserId},
};
use reqwest::Url;

use super::{Checked, Connected, Protocol, flow::Flow, return_to};
use crate::{
    Error,
    account::{
        Accounts, SignedIn, Visitor,
        elsewhere::{LinkedIdentity, Person},
    },
};

/// The longest code, in bytes.
const LONGEST_CODE: usize = 4096;

/// Signs in with providers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Social(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    clock: Clock,
    ring: KeyRing,
    /// Without a slash at its end.
    public_url: String,
    providers: Vec<Connected>,
}

/// What a browser comes back with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Back {
    /// Nothing where one of them comes twice: who reads the first and who reads the second would differ. Providers add
    /// others, which say nothing here.
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

/// What came of it, and where to go now: a path of the app, or its front page.
pub(crate) enum Done {
    SignedIn(SignedIn, Option<String>),
    Linked(Option<String>),
}

/// What went wrong, and whether the way is used up.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) used_up: bool,
}

impl Social {
    pub(crate) fn new(
        accounts: Accounts,
        clock: Clock,
        ring: KeyRing,
        public_url: String,
        providers: Vec<Checked>,
        client: &Client,
    ) -> Self {
        let providers = providers.into_iter().map(|provider| provider.connect(client, &clock)).collect();
        Self(Arc::new(Inner { accounts, clock, ring, public_url, providers }))
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// A path of the app as a whole URL.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.public_url)
    }

    /// Where the browser goes, and the cookie it keeps meanwhile.
    ///
    /// # Errors
    /// 404 for a provider nobody knows, 422 for a `return_to` that is no path of the app, 503 for a provider that is away.
    pub(crate) async fn start(
        &self,
        provider: &str,
        return_to: Option<String>,
        link: Option<(UserId, SessionId)>,
    ) -> Result<(Url, String), Error> {
        let provider = self.provider(provider)?;
        if return_to.as_deref().is_some_and(|path| !return_to::is_path(path)) {
            return Err(http::Error::invalid([FieldProblem::new("return_to", "is no path of this app")]).into());
        }
        let flow = Flow::new(&provider.name, return_to, link, self.0.clock.now());
        let callback = self.callback(provider);
        let url = match &provider.protocol {
            Protocol::Oidc(oidc) => oidc.authorization(&flow, &callback).await?,
            Protocol::GitHub(github) => github.authorization(&flow, &callback)?,
        };
        Ok((url, flow.seal(&self.0.ring)?))
    }

    /// Takes a browser back, with the cookie it has kept.
    pub(crate) async fn back(
        &self,
        provider: &str,
        cookie: Option<&str>,
        back: Option<Back>,
        visitor: &Visitor,
    ) -> Result<Done, Failed> {
        let early = |error: Error| Failed { error, used_up: false };
        let provider = self.provider(provider).map_err(early)?;
        let back = back.ok_or_else(|| early(lost()))?;
        let (Some(cookie), Some(state)) = (cookie, &back.state) else { return Err(early(lost())) };
        let flow = Flow::open(&self.0.ring, cookie, &provider.name, state, self.0.clock.now());
        let flow = flow.ok_or_else(|| early(lost()))?;
        if !self.0.accounts.is_first(&flow.state).await.map_err(early)? {
            return Err(Failed { error: lost(), used_up: true });
        }
        self.finish(provider, flow, back, visitor).await.map_err(|error| Failed { error, used_up: true })
    }

    async fn finish(&self, provider: &Connected, flow: Flow, back: Back, visitor: &Visitor) -> Result<Done, Error> {
        let person = self.person(provider, &flow, back).await?;
        let accounts = &self.0.accounts;
        match flow.link {
            Some(who) => {
                accounts.link(who, &person, |issuer| provider.owns(issuer), visitor).await?;
                Ok(Done::Linked(flow.return_to))
            }
            None => {
                let done = accounts.sign_in_elsewhere(&person, provider.link, visitor).await?;
                Ok(Done::SignedIn(done, flow.return_to))
            }
        }
    }

    async fn person(&self, provider: &Connected, flow: &Flow, back: Back) -> Result<Person, Error> {
        if let Protocol::Oidc(oidc) = &provider.protocol
            && !oidc.is_speaking(back.issuer.as_deref()).await?
        {
            tracing::warn!(target: "omnistack::auth", provider = provider.name, "another provider has answered");
            return Err(lost());
        }
        if let Some(error) = back.error {
            return Err(declined(&provider.name, &error));
        }
        let code = back.code.filter(|code| (1..=LONGEST_CODE).contains(&code.len())).ok_or_else(lost)?;
        let callback = self.callback(provider);
        match &provider.protocol {
            Protocol::Oidc(oidc) => oidc.person(flow, &code, &callback).await,
            Protocol::GitHub(github) => github.person(flow, &code, &callback).await,
        }
    }

    /// Who the caller is elsewhere.
    pub(crate) async fn identities(&self, caller: &Identity) -> Result<Vec<LinkedIdentity>, Error> {
        let shown = |issuer: String, subject, created_at| {
            let provider = self.0.providers.iter().find(|provider| provider.owns(&issuer));
            LinkedIdentity { provider: provider.map(|provider| provider.name.clone()), issuer, subject, created_at }
        };
        let all = self.0.accounts.identities(caller).await?;
        Ok(all.into_iter().map(|one| shown(one.issuer, one.subject, one.created_at)).collect())
    }

    /// Unlinks the caller's account from a provider.
    pub(crate) async fn unlink(&self, caller: &Identity, provider: &str, visitor: &Visitor) -> Result<(), Error> {
        let provider = self.provider(provider)?;
        let known = |issuer: &str| self.0.providers.iter().any(|provider| provider.owns(issuer));
        self.0.accounts.unlink(caller, |issuer| provider.owns(issuer), known, visitor).await
    }

    /// Whether one of the providers is the issuer.
    #[cfg(feature = "passkeys")]
    pub(crate) fn knows(&self, issuer: &str) -> bool {
        self.0.providers.iter().any(|provider| provider.owns(issuer))
    }

    fn provider(&self, name: &str) -> Result<&Connected, Error> {
        let provider = self.0.providers.iter().find(|provider| provider.name == name);
        Ok(provider.ok_or_else(|| http::Error::not_found("provider"))?)
    }

    /// Where a provider sends browsers back to: one of its own, so that none can answer for another.
    fn callback(&self, provider: &Connected) -> String {
        self.url(&format!("/api/v1/public/auth/oauth/{}/callback", provider.name))
    }
}

impl fmt::Debug for Social {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Social")
    }
}

/// Nobody was sent on this way, or not by this browser, or they have been back.
fn lost() -> Error {
    let message = "this sign-in was not begun in this browser, or is over; begin again";
    http::Error::bad_request("SIGN_IN_LOST", message).into()
}

/// What a provider says in place of a code (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section 3.1.2.6).
fn declined(provider: &str, code: &str) -> Error {
    let code: String = code.chars().filter(char::is_ascii_graphic).take(100).collect();
    match code.as_str() {
        "access_denied"
        | "login_required"
        | "consent_required"
        | "interaction_required"
        | "account_selection_required" => {
            let message = "you have not signed in with the provider";
            http::Error::new(StatusCode::FORBIDDEN, "SIGN_IN_CANCELLED", message).into()
        }
        "temporarily_unavailable" | "server_error" => unavailable(),
        _ => {
            tracing::error!(target: "omnistack::auth", provider, code, "a provider has refused to sign in");
            refused()
        }
    }
}

fn refused() -> Error {
    let message = "the provider refuses to sign in to this app; its operators can see why";
    http::Error::new(StatusCode::BAD_GATEWAY, "IDENTITY_PROVIDER_REFUSED", message).into()
}

/// The provider does not know the app, or not so.
pub(super) fn misconfigured(at: &Url, code: &str) -> Error {
    tracing::error!(target: "omnistack::auth", %at, code, "a provider refuses the app: its client id, secret or redirect");
    refused()
}

/// The provider can't be reached.
pub(super) fn away(at: &Url, error: String) -> Error {
    tracing::warn!(target: "omnistack::auth", %at, error, "a provider can't be reached");
    unavailable()
}

fn unavailable() -> Error {
    let message = "the identity provider can't be reached; try again";
    http::Error::unavailable("IDENTITY_PROVIDER_UNAVAILABLE", message).into()
}

/// The provider says what nobody understands.
pub(super) fn garbled(what: &'static str) -> Error {
    tracing::warn!(target: "omnistack::auth", what, "a provider's answer can't be used");
    let message = "the identity provider has answered what can't be used; try again";
    http::Error::new(StatusCode::BAD_GATEWAY, "IDENTITY_PROVIDER_GARBLED", message).into()
}

/// The code is not good, or no more.
pub(super) fn code_refused() -> Error {
    http::Error::bad_request("CODE_REFUSED", "the provider takes the code no more; begin again").into()
}

#[cfg(test)]
mod tests {
    use super::Back;

    #[test]
    fn what_comes_twice_is_not_read() {
        let back = Back::read("state=s&code=a%2Bb&session_state=x&scope=openid&iss=https%3A%2F%2Fid.example").unwrap();
        assert_eq!((back.state.as_deref(), back.code.as_deref()), (Some("s"), Some("a+b")));
        assert_eq!((back.issuer.as_deref(), back.error), (Some("https://id.example"), None));
        for query in ["state=a&state=b", "code=a&code=a", "iss=a&iss=b", "error=a&error=b", "st%61te=a&state=a"] {
            assert_eq!(Back::read(query), None, "{query}");
        }
        assert_eq!(Back::read(""), Some(Back::default()));
    }
}
