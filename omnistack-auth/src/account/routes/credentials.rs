//! Routes with which users change their own credentials, end sessions, and delete or export their account.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Envelope, Error, Json, Meta, Query},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::registration::{NextStep, check_your_mail};
use crate::{
    account::{AccountExport, Accounts, client_info::AccountRequest},
    api_key::remaining::RemainingKeys,
    password::Password,
    session::MAX_FRESH_SIGN_IN_AGE,
};

/// Returns the routes under `/auth`.
pub(crate) fn api() -> Api<Accounts> {
    Api::new()
        .routes(routes!(change_password))
        .routes(routes!(change_email))
        .routes(routes!(confirm_email))
        .routes(routes!(end_others))
}

/// Returns the routes under `/users/me`.
pub(crate) fn me() -> Api<Accounts> {
    Api::new().routes(routes!(delete)).require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(export))
}

/// Returns the routes of [`me`] with responses in an envelope.
pub(crate) fn me_v2() -> Api<Accounts> {
    Api::new().routes(routes!(delete_v2)).require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(export_v2))
}

/// A change of the password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The current password. Absent if the user has no password and has signed in within the last 10 minutes.
    #[garde(skip)]
    current_password: Option<Password>,
    /// The new password: at least 15 characters, or 8 with a second factor; at most 256, of any kind.
    #[garde(skip)]
    new_password: Password,
    /// Whether to revoke the user's API keys as well.
    #[serde(default)]
    #[garde(skip)]
    api_keys: bool,
}

/// Change the password
///
/// Ends every other session and informs the user by mail. API keys stay valid unless they are revoked as well.
#[utoipa::path(post, path = "/password", request_body = PasswordChange, responses(
    (status = 200, description = "The password is changed. The body lists the API keys that are still valid.", body = RemainingKeys),
    (status = 422, description = "The current password is wrong, or the new one is too easy to guess."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn change_password(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(PasswordChange { current_password, new_password, api_keys }): Json<PasswordChange>,
) -> Result<Json<RemainingKeys>, Error> {
    let current = current_password.as_ref();
    Ok(Json(accounts.change_password(&caller, current, &new_password, api_keys, &request.client_info).await?))
}

/// A change of the email address.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct EmailChange {
    /// The new email address.
    email: Text<0, 254>,
    /// The password. Absent if the user has no password and has signed in within the last 10 minutes.
    password: Option<Password>,
}

/// Change the email address
///
/// The change takes effect when the user confirms it with the link sent to the new address. The current address is
/// informed.
#[utoipa::path(post, path = "/email", request_body = EmailChange, responses(
    (status = 202, description = "A mail to the new email address explains the next step.", body = NextStep),
    (status = 422, description = "The password is wrong, or the email address is invalid."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn change_email(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(EmailChange { email, password }): Json<EmailChange>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.request_email_change(&caller, &email, password.as_ref(), &request.client_info).await?;
    Ok(check_your_mail())
}

/// The token of a link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct LinkToken {
    /// The token from the link.
    token: Text<0, 200>,
}

/// Confirm a new email address
///
/// Needs the token of the link that was sent to the new address, and the user who requested the change.
#[utoipa::path(post, path = "/email/confirm", request_body = LinkToken, responses(
    (status = 204, description = "The email address is changed, and the previous one is informed."),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 403, description = "`LINK_ACCOUNT_MISMATCH`: the link is for another account."),
    (status = 409, description = "`EMAIL_TAKEN`: another account has this email address.")))]
async fn confirm_email(
    State(accounts): State<Accounts>,
    caller: Identity,
    Json(LinkToken { token }): Json<LinkToken>,
) -> Result<StatusCode, Error> {
    accounts.verify_new_email(&caller, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The number of sessions that were ended, and the API keys that are still valid.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsEnded {
    /// The number of sessions that were ended.
    ended: u64,
    #[serde(flatten)]
    left: RemainingKeys,
}

impl From<(u64, RemainingKeys)> for SessionsEnded {
    fn from((ended, left): (u64, RemainingKeys)) -> Self {
        Self { ended, left }
    }
}

/// Whether API keys are revoked too.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndSessionsQuery {
    /// `true` revokes the user's API keys as well, in every tenant.
    #[garde(skip)]
    pub(crate) api_keys: Option<bool>,
}

/// End all other sessions
///
/// Signs out every other device, and ends the caller's impersonations of other users. API keys stay valid unless they
/// are revoked as well.
#[utoipa::path(delete, path = "/sessions", operation_id = "end_other_sessions", params(EndSessionsQuery), responses(
    (status = 200, description = "The number of sessions that were ended.", body = SessionsEnded)))]
async fn end_others(
    State(accounts): State<Accounts>,
    caller: Identity,
    Query(query): Query<EndSessionsQuery>,
) -> Result<Json<SessionsEnded>, Error> {
    Ok(Json(accounts.revoke_other_sessions(&caller, query.api_keys.unwrap_or(false)).await?.into()))
}

/// A request to delete the account, with the password as proof.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountDeletion)]
struct AccountDeletion {
    /// The password. Absent if the user has no password and has signed in within the last 10 minutes.
    #[garde(skip)]
    password: Option<Password>,
}

/// The time at which the account is deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountLeaving)]
struct ScheduledDeletion {
    /// The time of permanent deletion. Signing in before it keeps the account.
    delete_at: Timestamp,
}

/// Delete the account
///
/// Ends every session. When the grace period is over, everything that belongs to the user alone is deleted. Signing in
/// before that keeps the account.
#[utoipa::path(delete, path = "/", operation_id = "delete_account", request_body = AccountDeletion, responses(
    (status = 202, description = "The account will be deleted.", body = ScheduledDeletion),
    (status = 409, description = "`LAST_OWNER`: the user is the only owner of a team. `LAST_OPERATOR`: the user is the only operator."),
    (status = 422, description = "The password is wrong."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn delete(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(AccountDeletion { password }): Json<AccountDeletion>,
) -> Result<(StatusCode, Json<ScheduledDeletion>), Error> {
    let delete_at = accounts.schedule_deletion(&caller, password.as_ref(), &request.client_info).await?;
    Ok((StatusCode::ACCEPTED, Json(ScheduledDeletion { delete_at })))
}

/// Export the account's data
///
/// Returns the data that accounts store about the caller. Needs a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/export", operation_id = "export_account", responses(
    (status = 200, description = "The account's data.", body = AccountExport),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes.")))]
async fn export(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<AccountExport>, Error> {
    Ok(Json(accounts.export(&caller).await?))
}

/// Delete the account
#[utoipa::path(delete, path = "/", operation_id = "delete_account", request_body = AccountDeletion, responses(
    (status = 202, description = "The account will be deleted.", body = Envelope<ScheduledDeletion>),
    (status = 409, description = "`LAST_OWNER`: the user is the only owner of a team. `LAST_OPERATOR`: the user is the only operator."),
    (status = 422, description = "The password is wrong."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn delete_v2(
    state: State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    meta: Meta,
    body: Json<AccountDeletion>,
) -> Result<(StatusCode, Json<Envelope<ScheduledDeletion>>), Error> {
    let (status, Json(leaving)) = delete(state, caller, request, body).await?;
    Ok((status, Json(meta.wrap(leaving))))
}

/// Export the account's data
///
/// Returns the data that accounts store about the caller. Needs a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/export", operation_id = "export_account", responses(
    (status = 200, description = "The account's data.", body = Envelope<AccountExport>),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes.")))]
async fn export_v2(
    state: State<Accounts>,
    caller: Identity,
    meta: Meta,
) -> Result<Json<Envelope<AccountExport>>, Error> {
    let Json(export) = export(state, caller).await?;
    Ok(Json(meta.wrap(export)))
}
