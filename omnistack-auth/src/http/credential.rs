//! What users change about their own accounts.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    clock::Timestamp,
    http::{Envelope, Error, Json, Meta, Query},
    identity::{Identity, Require},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    account::{NextStep, look_into_your_mail},
    visitor::Request,
};
use crate::{
    account::{AccountExport, Accounts},
    api_key::left::KeysLeft,
    password::Password,
    session::RECENT,
};

/// At `/auth`.
pub(crate) fn api() -> Api<Accounts> {
    Api::new()
        .routes(routes!(change_password))
        .routes(routes!(change_email))
        .routes(routes!(confirm_email))
        .routes(routes!(end_others))
}

/// At `/users/me`.
pub(crate) fn me() -> Api<Accounts> {
    Api::new().routes(routes!(delete)).guarded(Require::recent(RECENT), routes!(export))
}

/// As [`me`], in the envelope.
pub(crate) fn me_v2() -> Api<Accounts> {
    Api::new().routes(routes!(delete_v2)).guarded(Require::recent(RECENT), routes!(export_v2))
}

/// The password there is, and the one to be.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The one there is; absent for who has none and has just signed in.
    #[garde(skip)]
    current_password: Option<Password>,
    /// The one to be: at least 15 characters, 8 with a second factor; at most 256, of any kind.
    #[garde(skip)]
    new_password: Password,
    /// Whether to revoke the user's API keys as well.
    #[serde(default)]
    #[garde(skip)]
    api_keys: bool,
}

/// Change the password
///
/// Ends every session but this one, and tells the user by mail. API keys go on, unless they are to be revoked as well.
#[utoipa::path(post, path = "/password", request_body = PasswordChange, responses(
    (status = 200, description = "It is the password now. The API keys that are left.", body = KeysLeft),
    (status = 422, description = "The current password is wrong, or the new one would be guessed."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn change_password(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(PasswordChange { current_password, new_password, api_keys }): Json<PasswordChange>,
) -> Result<Json<KeysLeft>, Error> {
    let current = current_password.as_ref();
    Ok(Json(accounts.change_password(&caller, current, &new_password, api_keys, &request.visitor).await?))
}

/// The address to be.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmailChange {
    /// The new address.
    #[garde(length(max = 254))]
    #[schema(max_length = 254)]
    email: String,
    /// The password; absent for who has none and has just signed in.
    #[garde(skip)]
    password: Option<Password>,
}

/// Change the address
///
/// It is the address once the user confirms it with the link sent there. The old one is told.
#[utoipa::path(post, path = "/email", request_body = EmailChange, responses(
    (status = 202, description = "A mail to the new address says how to go on.", body = NextStep),
    (status = 422, description = "The password is wrong, or the address is none."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn change_email(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(EmailChange { email, password }): Json<EmailChange>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.change_email(&caller, &email, password.as_ref(), &request.visitor).await?;
    Ok(look_into_your_mail())
}

/// A token from a link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct LinkToken {
    /// As it is in the link.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
}

/// Confirm a new address
///
/// With the token of the link that was sent there, by the user who has asked for the change.
#[utoipa::path(post, path = "/email/confirm", request_body = LinkToken, responses(
    (status = 204, description = "It is the address now; the old one is told."),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 403, description = "`LINK_OF_ANOTHER`: the link is for another account."),
    (status = 409, description = "`EMAIL_TAKEN`: another account has this address by now.")))]
async fn confirm_email(
    State(accounts): State<Accounts>,
    caller: Identity,
    Json(LinkToken { token }): Json<LinkToken>,
) -> Result<StatusCode, Error> {
    accounts.confirm_new_email(&caller, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many sessions have ended, and the API keys that are left.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsEnded {
    /// How many sessions.
    ended: u64,
    #[serde(flatten)]
    left: KeysLeft,
}

impl From<(u64, KeysLeft)> for SessionsEnded {
    fn from((ended, left): (u64, KeysLeft)) -> Self {
        Self { ended, left }
    }
}

/// Whether API keys end too.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndingQuery {
    /// `true` revokes the user's API keys as well, in every tenant.
    #[garde(skip)]
    pub(crate) api_keys: Option<bool>,
}

/// End all other sessions
///
/// Signs every other device out, and ends what the caller does as another user. API keys go on, unless they are to be revoked
/// as well.
#[utoipa::path(delete, path = "/sessions", operation_id = "end_other_sessions", params(EndingQuery), responses(
    (status = 200, description = "They have ended.", body = SessionsEnded)))]
async fn end_others(
    State(accounts): State<Accounts>,
    caller: Identity,
    Query(query): Query<EndingQuery>,
) -> Result<Json<SessionsEnded>, Error> {
    Ok(Json(accounts.end_others(&caller, query.api_keys.unwrap_or(false)).await?.into()))
}

/// Shows that it is the user who asks.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountDeletion)]
struct Leave {
    /// The password; absent for who has none and has just signed in.
    #[garde(skip)]
    password: Option<Password>,
}

/// When the account is deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountLeaving)]
struct Leaving {
    /// For good; whoever signs in before keeps it.
    delete_at: Timestamp,
}

/// Delete the account
///
/// Signs out everywhere; once the grace is over, everything that is the user's alone is gone. Signing in before that keeps
/// the account.
#[utoipa::path(delete, path = "/", operation_id = "delete_account", request_body = Leave, responses(
    (status = 202, description = "It will be deleted.", body = Leaving),
    (status = 409, description = "`LAST_OWNER`: a team would be left without an owner. `LAST_OPERATOR`: so would the app."),
    (status = 422, description = "The password is wrong."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn delete(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(Leave { password }): Json<Leave>,
) -> Result<(StatusCode, Json<Leaving>), Error> {
    let delete_at = accounts.delete(&caller, password.as_ref(), &request.visitor).await?;
    Ok((StatusCode::ACCEPTED, Json(Leaving { delete_at })))
}

/// Export one's data
///
/// What accounts keep of the caller. Needs a sign-in of the last 10 minutes.
#[utoipa::path(post, path = "/export", operation_id = "export_account", responses(
    (status = 200, description = "The data.", body = AccountExport),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is not recent enough.")))]
async fn export(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<AccountExport>, Error> {
    Ok(Json(accounts.export(&caller).await?))
}

/// Delete the account
#[utoipa::path(delete, path = "/", operation_id = "delete_account", request_body = Leave, responses(
    (status = 202, description = "It will be deleted.", body = Envelope<Leaving>),
    (status = 409, description = "`LAST_OWNER`: a team would be left without an owner. `LAST_OPERATOR`: so would the app."),
    (status = 422, description = "The password is wrong."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn delete_v2(
    state: State<Accounts>,
    caller: Identity,
    request: Request,
    meta: Meta,
    body: Json<Leave>,
) -> Result<(StatusCode, Json<Envelope<Leaving>>), Error> {
    let (status, Json(leaving)) = delete(state, caller, request, body).await?;
    Ok((status, Json(meta.wrap(leaving))))
}

/// Export one's data
///
/// What accounts keep of the caller. Needs a sign-in of the last 10 minutes.
#[utoipa::path(post, path = "/export", operation_id = "export_account", responses(
    (status = 200, description = "The data.", body = Envelope<AccountExport>),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is not recent enough.")))]
async fn export_v2(
    state: State<Accounts>,
    caller: Identity,
    meta: Meta,
) -> Result<Json<Envelope<AccountExport>>, Error> {
    let Json(export) = export(state, caller).await?;
    Ok(Json(meta.wrap(export)))
}
