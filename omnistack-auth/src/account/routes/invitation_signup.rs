//! Public routes of an invitation, for its recipient, who may have no account yet.

use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    http::{Error, Json},
    module::Api,
    name::is_name_or_empty,
    text::Text,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::sign_in::{SessionCredentials, TokenMode, require_own_page_for_cookies, sign_in_response};
use crate::{
    account::{Accounts, client_info::AccountRequest},
    password::Password,
    tenant::{invitation::Invitations, store::invitations::InvitationDetails},
};

/// Returns the routes, which need the token of an invitation.
pub(crate) fn api() -> Api<(Accounts, Invitations)> {
    Api::new().routes(routes!(show)).routes(routes!(register))
}

/// The token of an invitation link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct InvitationToken {
    /// The token from the link.
    token: Text<0, 200>,
}

/// Show an invitation
///
/// Returns the team that invites, and whether the email address has an account. The invitation is not changed.
#[utoipa::path(post, path = "/invitation", operation_id = "show_invitation", request_body = InvitationToken, responses(
    (status = 200, description = "The invitation.", body = InvitationDetails),
    (status = 404, description = "`INVITATION_INVALID`: the invitation is not valid, or no longer valid.")))]
async fn show(
    State(state): State<(Accounts, Invitations)>,
    Json(InvitationToken { token }): Json<InvitationToken>,
) -> Result<Json<InvitationDetails>, Error> {
    Ok(Json(state.1.preview(&token).await?))
}

/// The registration of a user who was invited.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct InvitedRegistration {
    /// The token from the link. The email address it was sent to becomes the account's, already verified.
    token: Text<0, 200>,
    /// The password: 15 to 256 characters of any kind.
    password: Password,
    /// The display name. If absent or empty, the part of the email address before the `@`.
    #[serde(default)]
    #[garde(length(chars, max = 100), custom(is_name_or_empty))]
    #[schema(max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*$")]
    name: String,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Register with an invitation
///
/// Creates an account with the email address that the invitation was sent to, makes it a member of the team, and begins
/// a session. It works even if public registration is closed.
#[utoipa::path(post, path = "/invitation/register", operation_id = "register_invited_account",
    request_body = InvitedRegistration, responses(
    (status = 200, description = "The account is a member of the team, and a session has begun.", body = SessionCredentials),
    (status = 202, description = "The account is a member of the team; a second factor is needed."),
    (status = 404, description = "`INVITATION_INVALID`: the invitation is not valid, or no longer valid."),
    (status = 409, description = "`ACCOUNT_EXISTS`: the email address has an account; sign in and accept. Or another reason why the account can't join."),
    (status = 422, description = "The password is too easy to guess. The invitation stays valid."),
    (status = 503, description = "Too many passwords are being checked; `Retry-After` says when to try again.")))]
async fn register(
    State(state): State<(Accounts, Invitations)>,
    request: AccountRequest,
    Json(InvitedRegistration { token, password, name, mode }): Json<InvitedRegistration>,
) -> Result<Response, Error> {
    let (accounts, invitations) = state;
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let done = accounts.register_invited(&invitations, &token, (&name, &password), &request.client_info).await?;
    sign_in_response(&accounts, &request, done, mode).await
}
