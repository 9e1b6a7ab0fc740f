//! Routes to sign in, refresh the tokens and sign out.

use ::http::StatusCode;
use axum::{
    body::HttpBody as _,
    extract::{FromRequest, Request, State},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    http::{Error, Json},
    identity::{SessionId, TenantId},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{ObjectBuilder, Type},
};
use utoipa_axum::routes;

use crate::{
    account::{Accounts, MfaChallenge, SignInOutcome, client_info::AccountRequest},
    password::Password,
    session::{
        TokenPair,
        cookies::{self, SessionCookies},
    },
};

/// Returns the routes, which are public.
pub(crate) fn api() -> Api<Accounts> {
    Api::new().routes(routes!(login)).routes(routes!(refresh)).routes(routes!(logout)).routes(routes!(verify_link))
}

/// The way the tokens are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenMode {
    /// In the body of the response, for native apps and programs.
    #[default]
    Token,
    /// In cookies that scripts can't read, for browsers.
    Cookie,
}

/// The tokens of a session, in the mode `token`.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionTokens {
    /// Always `token`.
    #[schema(schema_with = token_mode)]
    mode: TokenMode,
    /// The access token. Send it with each request in `Authorization: Bearer`.
    access_token: String,
    /// The refresh token. It is exchanged for the next pair of tokens, once.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// The seconds until the access token expires.
    expires_in: u64,
    /// The session.
    #[schema(value_type = String, format = Uuid)]
    session_id: SessionId,
    /// The current tenant.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
}

impl From<TokenPair> for SessionTokens {
    fn from(tokens: TokenPair) -> Self {
        Self {
            mode: TokenMode::Token,
            access_token: tokens.access.expose_secret().to_owned(),
            refresh_token: tokens.refresh.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            session_id: tokens.session,
            tenant_id: tokens.tenant,
        }
    }
}

/// A session whose tokens are in cookies, in the mode `cookie`.
#[derive(Serialize, ToSchema)]
pub(crate) struct CookieSession {
    /// Always `cookie`.
    #[schema(schema_with = cookie_mode)]
    mode: TokenMode,
    /// The seconds until the access token expires.
    expires_in: u64,
    /// The session.
    #[schema(value_type = String, format = Uuid)]
    session_id: SessionId,
    /// The current tenant.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
}

/// A session, with its tokens or with cookies, as the `mode` of the request says.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SessionCredentials {
    Tokens(SessionTokens),
    Cookies(CookieSession),
}

/// Returns the schema of the only mode that a response has, by which clients tell the responses apart.
fn mode_schema(mode: &str) -> ObjectBuilder {
    let about = format!("Always `{mode}`.");
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([mode])).description(Some(about))
}

fn token_mode() -> ObjectBuilder {
    mode_schema("token")
}

fn cookie_mode() -> ObjectBuilder {
    mode_schema("cookie")
}

/// A sign-in that still needs a second factor.
#[derive(Serialize, ToSchema)]
struct ChallengeBody {
    /// Always `second_factor`.
    needed: &'static str,
    /// The challenge. Send it with the second factor, once.
    challenge: String,
    /// The available methods: `totp`, `recovery_code`, `sms`, `passkey`, or methods of the app.
    methods: Vec<String>,
    /// The seconds until the challenge expires.
    expires_in: u64,
}

impl From<MfaChallenge> for ChallengeBody {
    fn from(challenge: MfaChallenge) -> Self {
        Self {
            needed: "second_factor",
            challenge: challenge.token.expose_secret().to_owned(),
            methods: challenge.methods,
            expires_in: challenge.expires_in.as_secs(),
        }
    }
}

/// Creates the response with the tokens, in its body or in cookies.
fn token_response(browser: &SessionCookies, tokens: TokenPair, mode: TokenMode) -> Response {
    if mode == TokenMode::Token {
        return Json(SessionCredentials::Tokens(tokens.into())).into_response();
    }
    let session = CookieSession {
        mode,
        expires_in: tokens.expires_in.as_secs(),
        session_id: tokens.session,
        tenant_id: tokens.tenant,
    };
    let mut response = Json(SessionCredentials::Cookies(session)).into_response();
    browser.set(response.headers_mut(), &tokens);
    response
}

/// Creates the response to a sign-in. In mode `cookie` it first ends the session that this browser had before, so that
/// no earlier session outlives the new sign-in.
pub(crate) async fn sign_in_response(
    accounts: &Accounts,
    request: &AccountRequest,
    signed_in: SignInOutcome,
    mode: TokenMode,
) -> Result<Response, Error> {
    match signed_in {
        SignInOutcome::Authenticated(tokens) => {
            if let Some(before) = request.refresh_cookie().filter(|_| mode == TokenMode::Cookie) {
                accounts.sessions().revoke_by_token(before).await?;
            }
            Ok(token_response(accounts.browser(), tokens, mode))
        }
        SignInOutcome::MfaRequired(challenge) => {
            Ok((StatusCode::ACCEPTED, Json(ChallengeBody::from(challenge))).into_response())
        }
    }
}

/// Fails if mode `cookie` is requested by a page of another origin. Such a page could otherwise sign a user in to an
/// attacker's account unnoticed.
pub(crate) fn require_own_page_for_cookies(
    accounts: &Accounts,
    request: &AccountRequest,
    mode: TokenMode,
) -> Result<(), Error> {
    if mode == TokenMode::Cookie { request.check(accounts.browser()) } else { Ok(()) }
}

/// An email address and a password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordSignIn)]
#[garde(allow_unvalidated)]
struct Login {
    /// The email address.
    email: Text<0, 254>,
    /// The password.
    password: Password,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Sign in
///
/// Begins a session. The response to a wrong password and to an email address without an account is the same.
#[utoipa::path(post, path = "/login", operation_id = "sign_in", request_body = Login, responses(
    (status = 200, description = "A session has begun.", body = SessionCredentials),
    (status = 202, description = "The password is correct; a second factor is needed.", body = ChallengeBody),
    (status = 401, description = "There is no such account, or the password is wrong."),
    (status = 403, description = "The password is correct, but the email address is not verified, or the account is disabled."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait."),
    (status = 503, description = "Too many passwords are being checked; `Retry-After` says when to try again.")))]
async fn login(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(Login { email, password, mode }): Json<Login>,
) -> Result<Response, Error> {
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let done = accounts.sign_in(&email, &password, &request.client_info).await?;
    sign_in_response(&accounts, &request, done, mode).await
}

/// The token of a magic link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct LinkSignIn {
    /// The token from the link.
    token: Text<0, 200>,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Sign in with a magic link
///
/// Uses up the token of a link that was sent by mail. Opening the link's page does not use it.
#[utoipa::path(post, path = "/magic-link/verify", operation_id = "sign_in_with_magic_link", request_body = LinkSignIn, responses(
    (status = 200, description = "A session has begun.", body = SessionCredentials),
    (status = 202, description = "The link is valid; a second factor is needed.", body = ChallengeBody),
    (status = 400, description = "The link is not valid, was used or has expired.")))]
async fn verify_link(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(LinkSignIn { token, mode }): Json<LinkSignIn>,
) -> Result<Response, Error> {
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let done = accounts.sign_in_with_magic_link(&token, &request.client_info).await?;
    sign_in_response(&accounts, &request, done, mode).await
}

/// A refresh token, or the mode that reads it from the browser's cookie.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefreshToken)]
#[garde(allow_unvalidated)]
struct Refresh {
    /// The refresh token as it was returned. Absent in mode `cookie`.
    refresh_token: Option<Text<0, 200>>,
    /// The way the token is sent.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

impl Refresh {
    /// Returns the refresh token, or an empty text if the request has none. Fails if cookies may not be used by this
    /// request.
    fn token<'a>(&'a self, accounts: &Accounts, request: &'a AccountRequest) -> Result<&'a str, Error> {
        require_own_page_for_cookies(accounts, request, self.mode)?;
        let token = match self.mode {
            TokenMode::Token => self.refresh_token.as_deref(),
            TokenMode::Cookie => request.refresh_cookie(),
        };
        Ok(token.unwrap_or_default())
    }
}

/// The extractor of [`Refresh`]. Without a body, a request with the refresh token's cookie has the mode `cookie`.
struct RefreshBody(Refresh);

impl<S: Send + Sync> FromRequest<S> for RefreshBody {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if request.body().is_end_stream() && cookies::refresh(request.headers()).is_some() {
            return Ok(Self(Refresh { refresh_token: None, mode: TokenMode::Cookie }));
        }
        let Json(body) = Json::<Refresh>::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// Refresh the tokens
///
/// Exchanges a refresh token for the next pair of tokens. Each refresh token is valid once; the use of an old one
/// revokes its session. A browser with the cookie may send no body.
#[utoipa::path(post, path = "/refresh", operation_id = "refresh_session", request_body = Refresh, responses(
    (status = 200, description = "The next pair of tokens.", body = SessionCredentials),
    (status = 401, description = "The token is not valid, was used or has expired.")))]
async fn refresh(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    RefreshBody(body): RefreshBody,
) -> Result<Response, Error> {
    let tokens = accounts.sessions().refresh(body.token(&accounts, &request)?).await?;
    Ok(token_response(accounts.browser(), tokens, body.mode))
}

/// Sign out
///
/// Ends the session of a refresh token. The response to an unknown token is the same. A browser with the cookie may send
/// no body.
#[utoipa::path(post, path = "/logout", operation_id = "sign_out", request_body = Refresh,
    responses((status = 204, description = "The session is ended and its cookies are deleted.")))]
async fn logout(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    RefreshBody(body): RefreshBody,
) -> Result<Response, Error> {
    accounts.sessions().revoke_by_token(body.token(&accounts, &request)?).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if body.mode == TokenMode::Cookie {
        SessionCookies::clear(response.headers_mut());
    }
    Ok(response)
}
