//! Signing in with a provider, and linking with one.

use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    app::Api,
    http::{Error, Json, Path, Query},
    identity::{Identity, Require},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::visitor::Request;
use crate::{
    account::{Accounts, SignedIn, elsewhere::LinkedIdentity},
    cookie::{self, Browser},
    one_time::Purpose,
    session::RECENT,
    social::{Back, COOKIE, Done, Social},
};

/// For anybody.
pub(crate) fn api() -> Api<Social> {
    Api::new().routes(routes!(start)).routes(routes!(callback))
}

/// For who is signed in.
pub(crate) fn app() -> Api<Social> {
    Api::new()
        .routes(routes!(list))
        .guarded(Require::recent(RECENT), routes!(link))
        .guarded(Require::recent(RECENT), routes!(unlink))
}

/// Where to go at the end.
#[derive(Deserialize, Validate)]
struct Begin {
    /// A path of the app: `/projects`. Its front page when absent.
    #[garde(skip)]
    return_to: Option<String>,
}

/// Sign in with a provider
///
/// Sends the browser to the provider. The sign-in takes ten minutes at most, in this browser.
#[utoipa::path(get, path = "/{provider}/start", operation_id = "start_social_sign_in",
    params(("provider" = String, Path, description = "Its name: `google`."),
    ("return_to" = Option<String>, Query, max_length = 1000, description = "A path of the app: `/projects`. Its front page when absent.")), responses(
    (status = 302, description = "To the provider."),
    (status = 404, description = "There is no such provider."),
    (status = 422, description = "`return_to` is no path of the app."),
    (status = 503, description = "The provider can't be reached.")))]
async fn start(
    State(social): State<Social>,
    Path(provider): Path<String>,
    request: Request,
    Query(Begin { return_to }): Query<Begin>,
) -> Result<Response, Error> {
    match social.start(&provider, return_to, None).await {
        Ok((url, flow)) => Ok(keep(to(StatusCode::FOUND, url.as_str())?, &flow)),
        Err(error) => failed(&social, &request, error.into()),
    }
}

/// Come back from a provider
///
/// Takes the browser back. It is signed in by cookies then, and goes on to `return_to`; to `/auth/second-factor#challenge=…`
/// where a second factor is to be shown. What goes wrong is an error in the usual form for programs; a browser that looks at
/// pages goes to `/auth/error#code=…`.
#[utoipa::path(get, path = "/{provider}/callback", operation_id = "finish_social_sign_in", params(("provider" = String, Path, description = "Its name: `google`."),
    ("state" = Option<String>, Query, description = "As it was sent along."),
    ("code" = Option<String>, Query, description = "For the exchange."),
    ("error" = Option<String>, Query, description = "In place of a code."),
    ("iss" = Option<String>, Query, description = "Who answers (RFC 9207).")), responses(
    (status = 303, description = "Back to the app."),
    (status = 400, description = "The sign-in was not begun in this browser, was used, or has expired."),
    (status = 401, description = "The ID token is not good."),
    (status = 403, description = "The user has cancelled, or the account is locked."),
    (status = 409, description = "There is an account with this address, or another is linked."),
    (status = 502, description = "The provider refuses the app, or its answer can't be used."),
    (status = 503, description = "The provider can't be reached.")))]
async fn callback(
    State(social): State<Social>,
    Path(provider): Path<String>,
    request: Request,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let back = Back::read(query.as_deref().unwrap_or_default());
    match social.back(&provider, request.cookie(COOKIE), back, &request.visitor).await {
        Ok(done) => {
            let mut response = arrive(&social, &request, done).await?;
            forget(&mut response);
            Ok(response)
        }
        Err(late) => {
            let mut response = failed(&social, &request, late.error.into()).unwrap_or_else(Error::into_response);
            if late.used_up {
                forget(&mut response);
            }
            Ok(response)
        }
    }
}

/// Hands over what came of it.
async fn arrive(social: &Social, request: &Request, done: Done) -> Result<Response, Error> {
    let accounts = social.accounts();
    match done {
        Done::Linked(return_to) => to(StatusCode::SEE_OTHER, &social.url(return_to.as_deref().unwrap_or("/"))),
        Done::SignedIn(SignedIn::Tokens(tokens), return_to) => {
            end_before(accounts, request).await?;
            let mut response = to(StatusCode::SEE_OTHER, &social.url(return_to.as_deref().unwrap_or("/")))?;
            accounts.browser().give(response.headers_mut(), &tokens);
            Ok(response)
        }
        Done::SignedIn(SignedIn::SecondFactor(challenge), return_to) => {
            // Nobody is signed in until the factor is shown, and not as somebody else either.
            end_before(accounts, request).await?;
            // Behind the `#`, so that no server's log has it.
            let mut parts = form_urlencoded::Serializer::new(String::new());
            parts
                .append_pair("challenge", challenge.token.expose_secret())
                .append_pair("methods", &challenge.methods.join(","))
                .append_pair("expires_in", &challenge.expires_in.as_secs().to_string());
            if let Some(return_to) = &return_to {
                parts.append_pair("return_to", return_to);
            }
            let mut response =
                to(StatusCode::SEE_OTHER, &social.url(&format!("/auth/second-factor#{}", parts.finish())))?;
            Browser::take(response.headers_mut());
            Ok(response)
        }
    }
}

/// No session outlives the sign-in that follows it.
async fn end_before(accounts: &Accounts, request: &Request) -> Result<(), Error> {
    if let Some(before) = request.refresh_cookie() {
        accounts.sessions().end_by_token(before).await?;
    }
    Ok(())
}

/// An error, or the page that shows it.
fn failed(social: &Social, request: &Request, error: Error) -> Result<Response, Error> {
    if !request.is_for_a_page() {
        return Err(error);
    }
    let mut parts = form_urlencoded::Serializer::new(String::new());
    parts.append_pair("code", error.code());
    // It is logged as any other.
    drop(error.into_response());
    to(StatusCode::SEE_OTHER, &social.url(&format!("/auth/error#{}", parts.finish())))
}

fn to(status: StatusCode, url: &str) -> Result<Response, Error> {
    let url = HeaderValue::try_from(url).map_err(Error::internal)?;
    let store = HeaderValue::from_static("no-store");
    Ok((status, [(header::LOCATION, url), (header::CACHE_CONTROL, store)]).into_response())
}

/// Has the browser keep the way it is sent on.
fn keep(mut response: Response, flow: &str) -> Response {
    response
        .headers_mut()
        .extend(cookie::set(COOKIE, flow, Purpose::Social.lifetime()).map(|it| (header::SET_COOKIE, it)));
    response
}

fn forget(response: &mut Response) {
    let gone = cookie::set(COOKIE, "", Duration::ZERO);
    response.headers_mut().extend(gone.map(|cookie| (header::SET_COOKIE, cookie)));
}

/// Where to go.
#[derive(Serialize, ToSchema)]
struct Departure {
    /// The page at the provider the browser is to open.
    url: String,
}

/// What the caller is linked with.
#[derive(Serialize, ToSchema)]
struct IdentityList {
    /// The oldest first.
    items: Vec<LinkedIdentity>,
}

/// List linked providers
#[utoipa::path(get, path = "/", operation_id = "list_identities", responses((status = 200, description = "The caller's.", body = IdentityList)))]
async fn list(State(social): State<Social>, caller: Identity) -> Result<Json<IdentityList>, Error> {
    Ok(Json(IdentityList { items: social.identities(&caller).await? }))
}

/// Link with a provider
///
/// For who has signed in within ten minutes. The browser opens the page at the provider, and comes back linked.
#[utoipa::path(post, path = "/{provider}/start", operation_id = "link_identity",
    params(("provider" = String, Path, description = "Its name: `google`."),
    ("return_to" = Option<String>, Query, max_length = 1000, description = "A path of the app: `/projects`. Its front page when absent.")), responses(
    (status = 200, description = "The page to open.", body = Departure),
    (status = 401, description = "The sign-in is too long ago."),
    (status = 404, description = "There is no such provider."),
    (status = 422, description = "`return_to` is no path of the app."),
    (status = 503, description = "The provider can't be reached.")))]
async fn link(
    State(social): State<Social>,
    caller: Identity,
    Path(provider): Path<String>,
    Query(Begin { return_to }): Query<Begin>,
) -> Result<Response, Error> {
    let who = social.accounts().linking(&caller).await?;
    let (url, flow) = social.start(&provider, return_to, Some(who)).await?;
    Ok(keep(Json(Departure { url: url.into() }).into_response(), &flow))
}

/// Unlink from a provider
///
/// For who has signed in within ten minutes. Signs every other device out. Never takes the last way to sign in.
#[utoipa::path(delete, path = "/{provider}", operation_id = "unlink_identity", params(("provider" = String, Path, description = "Its name: `google`.")),
    responses((status = 204, description = "They are linked no more."),
    (status = 401, description = "The sign-in is too long ago."),
    (status = 404, description = "There is no such provider, or they weren't linked."),
    (status = 409, description = "There would be no way left to sign in.")))]
async fn unlink(
    State(social): State<Social>,
    caller: Identity,
    Path(provider): Path<String>,
    request: Request,
) -> Result<StatusCode, Error> {
    social.unlink(&caller, &provider, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}
