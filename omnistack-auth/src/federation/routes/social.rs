//! Routes of social sign-in and of linked identities.

use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    http::{Error, Json, Path, Query},
    identity::{Identity, Require},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    account::{Accounts, SignInOutcome, client_info::AccountRequest},
    federation::{
        linked_identities::LinkedIdentity,
        social::{CallbackOutcome, CallbackQuery, STATE_COOKIE, Social},
    },
    one_time_tokens::TokenPurpose,
    session::{
        MAX_FRESH_SIGN_IN_AGE,
        cookies::{self, SessionCookies},
    },
};

/// Returns the public routes.
pub(crate) fn api() -> Api<Social> {
    Api::new().routes(routes!(start)).routes(routes!(callback))
}

/// Returns the routes for signed-in users.
pub(crate) fn app() -> Api<Social> {
    Api::new()
        .routes(routes!(list))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(link))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(unlink))
}

/// The query of a sign-in with a provider.
#[derive(Deserialize, Validate)]
struct StartSignIn {
    /// A path of the app to go to at the end: `/projects`. If absent, `/`.
    #[garde(skip)]
    return_to: Option<String>,
}

/// Sign in with a provider
///
/// Redirects the browser to the provider. The sign-in must be completed in the same browser within ten minutes.
#[utoipa::path(get, path = "/{provider}/start", operation_id = "start_social_sign_in",
    params(("provider" = String, Path, description = "The provider's name: `google`."),
    ("return_to" = Option<String>, Query, max_length = 1000, description = "A path of the app to go to at the end: `/projects`. If absent, `/`.")), responses(
    (status = 302, description = "A redirect to the provider."),
    (status = 404, description = "There is no such provider."),
    (status = 422, description = "`return_to` is not a path of the app."),
    (status = 503, description = "The provider can't be reached.")))]
async fn start(
    State(social): State<Social>,
    Path(provider): Path<String>,
    request: AccountRequest,
    Query(StartSignIn { return_to }): Query<StartSignIn>,
) -> Result<Response, Error> {
    match social.start(&provider, return_to, None).await {
        Ok((url, flow)) => Ok(set_state_cookie(redirect(StatusCode::FOUND, url.as_str())?, &flow)),
        Err(error) => error_response(&social, &request, error.into()),
    }
}

/// Complete a sign-in with a provider
///
/// The provider redirects the browser here. The browser then has the session's cookies and is redirected to
/// `return_to`, or to `/auth/second-factor#challenge=…` if a second factor is needed. Errors have the usual form; a
/// browser that accepts HTML is redirected to `/auth/error#code=…` instead.
#[utoipa::path(get, path = "/{provider}/callback", operation_id = "finish_social_sign_in", params(("provider" = String, Path, description = "The provider's name: `google`."),
    ("state" = Option<String>, Query, description = "The state parameter, as it was sent to the provider."),
    ("code" = Option<String>, Query, description = "The authorization code."),
    ("error" = Option<String>, Query, description = "The error code, if the provider sends no authorization code."),
    ("iss" = Option<String>, Query, description = "The issuer of the response (RFC 9207).")), responses(
    (status = 303, description = "A redirect back to the app."),
    (status = 400, description = "The sign-in was not begun in this browser, was used, or has expired."),
    (status = 401, description = "The ID token is invalid."),
    (status = 403, description = "The user has cancelled, or the account is disabled."),
    (status = 409, description = "An account with this email address exists, or another identity is linked."),
    (status = 502, description = "The provider refuses the app, or its response is invalid."),
    (status = 503, description = "The provider can't be reached.")))]
async fn callback(
    State(social): State<Social>,
    Path(provider): Path<String>,
    request: AccountRequest,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let back = CallbackQuery::read(query.as_deref().unwrap_or_default());
    match social.handle_callback(&provider, request.cookie(STATE_COOKIE), back, &request.client_info).await {
        Ok(done) => {
            let mut response = callback_response(&social, &request, done).await?;
            clear_state_cookie(&mut response);
            Ok(response)
        }
        Err(late) => {
            let mut response =
                error_response(&social, &request, late.error.into()).unwrap_or_else(Error::into_response);
            if late.used_up {
                clear_state_cookie(&mut response);
            }
            Ok(response)
        }
    }
}

/// Creates the response to a completed sign-in or link.
async fn callback_response(
    social: &Social,
    request: &AccountRequest,
    done: CallbackOutcome,
) -> Result<Response, Error> {
    let accounts = social.accounts();
    match done {
        CallbackOutcome::Linked(return_to) => {
            redirect(StatusCode::SEE_OTHER, &social.url(return_to.as_deref().unwrap_or("/")))
        }
        CallbackOutcome::SignedIn(SignInOutcome::Authenticated(tokens), return_to) => {
            end_previous_session(accounts, request).await?;
            let mut response = redirect(StatusCode::SEE_OTHER, &social.url(return_to.as_deref().unwrap_or("/")))?;
            accounts.browser().set(response.headers_mut(), &tokens);
            Ok(response)
        }
        CallbackOutcome::SignedIn(SignInOutcome::MfaRequired(challenge), return_to) => {
            // The earlier session ends first, so the browser is not signed in as another user while the factor is
            // verified.
            end_previous_session(accounts, request).await?;
            // The challenge is in the fragment, which is not sent to servers and not logged.
            let mut parts = form_urlencoded::Serializer::new(String::new());
            parts
                .append_pair("challenge", challenge.token.expose_secret())
                .append_pair("methods", &challenge.methods.join(","))
                .append_pair("expires_in", &challenge.expires_in.as_secs().to_string());
            if let Some(return_to) = &return_to {
                parts.append_pair("return_to", return_to);
            }
            let mut response =
                redirect(StatusCode::SEE_OTHER, &social.url(&format!("/auth/second-factor#{}", parts.finish())))?;
            SessionCookies::clear(response.headers_mut());
            Ok(response)
        }
    }
}

/// Ends the session that the browser had before, so that it does not outlive the new sign-in.
async fn end_previous_session(accounts: &Accounts, request: &AccountRequest) -> Result<(), Error> {
    if let Some(before) = request.refresh_cookie() {
        accounts.sessions().revoke_by_token(before).await?;
    }
    Ok(())
}

/// Returns the error, or a redirect to the error page if the client accepts HTML.
fn error_response(social: &Social, request: &AccountRequest, error: Error) -> Result<Response, Error> {
    if !request.prefers_html() {
        return Err(error);
    }
    let mut parts = form_urlencoded::Serializer::new(String::new());
    parts.append_pair("code", error.code());
    // Turning the error into a response logs it.
    drop(error.into_response());
    redirect(StatusCode::SEE_OTHER, &social.url(&format!("/auth/error#{}", parts.finish())))
}

fn redirect(status: StatusCode, url: &str) -> Result<Response, Error> {
    let url = HeaderValue::try_from(url).map_err(Error::internal)?;
    let store = HeaderValue::from_static("no-store");
    Ok((status, [(header::LOCATION, url), (header::CACHE_CONTROL, store)]).into_response())
}

/// Sets the cookie that carries the state of the sign-in.
fn set_state_cookie(mut response: Response, flow: &str) -> Response {
    response.headers_mut().extend(
        cookies::set_cookie(STATE_COOKIE, flow, TokenPurpose::Social.lifetime()).map(|it| (header::SET_COOKIE, it)),
    );
    response
}

fn clear_state_cookie(response: &mut Response) {
    let gone = cookies::set_cookie(STATE_COOKIE, "", Duration::ZERO);
    response.headers_mut().extend(gone.map(|cookie| (header::SET_COOKIE, cookie)));
}

/// The page to open.
#[derive(Serialize, ToSchema)]
struct AuthorizationRedirect {
    /// The URL of the page at the provider that the browser opens.
    url: String,
}

/// The caller's linked identities.
#[derive(Serialize, ToSchema)]
struct IdentityList {
    /// The linked identities, oldest first.
    items: Vec<LinkedIdentity>,
}

/// List linked providers
#[utoipa::path(get, path = "/", operation_id = "list_identities", responses((status = 200, description = "The list.", body = IdentityList)))]
async fn list(State(social): State<Social>, caller: Identity) -> Result<Json<IdentityList>, Error> {
    Ok(Json(IdentityList { items: social.identities(&caller).await? }))
}

/// Link with a provider
///
/// Needs a sign-in within the last ten minutes. The browser opens the returned URL at the provider and comes back
/// linked.
#[utoipa::path(post, path = "/{provider}/start", operation_id = "link_identity",
    params(("provider" = String, Path, description = "The provider's name: `google`."),
    ("return_to" = Option<String>, Query, max_length = 1000, description = "A path of the app to go to at the end: `/projects`. If absent, `/`.")), responses(
    (status = 200, description = "The page to open.", body = AuthorizationRedirect),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 404, description = "There is no such provider."),
    (status = 422, description = "`return_to` is not a path of the app."),
    (status = 503, description = "The provider can't be reached.")))]
async fn link(
    State(social): State<Social>,
    caller: Identity,
    Path(provider): Path<String>,
    Query(StartSignIn { return_to }): Query<StartSignIn>,
) -> Result<Response, Error> {
    let who = social.accounts().account_and_session(&caller).await?;
    let (url, flow) = social.start(&provider, return_to, Some(who)).await?;
    Ok(set_state_cookie(Json(AuthorizationRedirect { url: url.into() }).into_response(), &flow))
}

/// Unlink from a provider
///
/// Needs a sign-in within the last ten minutes. Ends every other session. Fails if the linked identity is the last
/// sign-in method.
#[utoipa::path(delete, path = "/{provider}", operation_id = "unlink_identity", params(("provider" = String, Path, description = "The provider's name: `google`.")),
    responses((status = 204, description = "Unlinked."),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 404, description = "There is no such provider, or it is not linked."),
    (status = 409, description = "`LAST_SIGN_IN_METHOD`: it is the user's last sign-in method.")))]
async fn unlink(
    State(social): State<Social>,
    caller: Identity,
    Path(provider): Path<String>,
    request: AccountRequest,
) -> Result<StatusCode, Error> {
    social.unlink(&caller, &provider, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}
