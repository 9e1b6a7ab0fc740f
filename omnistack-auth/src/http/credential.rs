//! What users change about their own accounts.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    clock::Timestamp,
    http::{Envelope, Error, Json, Meta},
    identity::Identity,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    account::{NextStep, look_into_your_mail},
    visitor::Request,
};
use crate::{
    account::{AccountExport, Accounts},
    password::Password,
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
    Api::new().routes(routes!(delete)).routes(routes!(export))
}

/// As [`me`], in the envelope.
pub(crate) fn me_v2() -> Api<Accounts> {
    Api::new().routes(routes!(delete_v2)).routes(routes!(export_v2))
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
}

/// Change the password
///
/// Ends every session but this one, and tells the user by mail.
#[utoipa::path(post, path = "/password", request_body = PasswordChange, responses(
    (status = 204, description = "It is the password now."),
    (status = 422, description = "The current password is wrong, or the new one would be guessed."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn change_password(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(PasswordChange { current_password, new_password }): Json<PasswordChange>,
) -> Result<StatusCode, Error> {
    accounts.change_password(&caller, current_password.as_ref(), &new_password, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
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

/// How many sessions have ended.
#[derive(Serialize, ToSchema)]
struct SessionsEnded {
    /// How many.
    ended: u64,
}

/// End all other sessions
///
/// Signs every other device out.
#[utoipa::path(delete, path = "/sessions", responses(
    (status = 200, description = "They have ended.", body = SessionsEnded)))]
async fn end_others(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<SessionsEnded>, Error> {
    Ok(Json(SessionsEnded { ended: accounts.end_others(&caller).await? }))
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
#[utoipa::path(delete, path = "/", request_body = Leave, responses(
    (status = 202, description = "It will be deleted.", body = Leaving),
    (status = 409, description = "A team would be left without an owner."),
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

/// AccountExport one's data
///
/// What accounts keep of the caller.
#[utoipa::path(post, path = "/export", responses((status = 200, description = "The data.", body = AccountExport)))]
async fn export(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<AccountExport>, Error> {
    Ok(Json(accounts.export(&caller).await?))
}

/// Delete the account
#[utoipa::path(delete, path = "/", request_body = Leave, responses(
    (status = 202, description = "It will be deleted.", body = Envelope<Leaving>),
    (status = 409, description = "A team would be left without an owner."),
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

/// AccountExport one's data
#[utoipa::path(post, path = "/export", responses((status = 200, description = "The data.", body = Envelope<AccountExport>)))]
async fn export_v2(
    state: State<Accounts>,
    caller: Identity,
    meta: Meta,
) -> Result<Json<Envelope<AccountExport>>, Error> {
    let Json(export) = export(state, caller).await?;
    Ok(Json(meta.wrap(export)))
}
