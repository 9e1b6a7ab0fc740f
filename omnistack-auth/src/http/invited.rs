//! An invitation, for who has the mail and may have no account.

use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Json},
    name::is_name_or_empty,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    login::{Mode, TokenBody, may_have_cookies, signed_in},
    visitor::Request,
};
use crate::{account::Accounts, invitation::Invitations, password::Password, store::invitation::Shown};

/// For anybody who has a token.
pub(crate) fn api() -> Api<(Accounts, Invitations)> {
    Api::new().routes(routes!(show)).routes(routes!(register))
}

/// A token from a link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationToken {
    /// As it is in the link.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
}

/// Look at an invitation
///
/// For who has its mail: which team asks, and whether the address has an account. It stays as it is.
#[utoipa::path(post, path = "/invitation", operation_id = "show_invitation", request_body = InvitationToken, responses(
    (status = 200, description = "The invitation.", body = Shown),
    (status = 404, description = "`INVITATION_INVALID`: not good, or not any more.")))]
async fn show(
    State(state): State<(Accounts, Invitations)>,
    Json(InvitationToken { token }): Json<InvitationToken>,
) -> Result<Json<Shown>, Error> {
    Ok(Json(state.1.shown(&token).await?))
}

/// Somebody new, who was invited.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitedRegistration {
    /// As it is in the link. The address it was sent to is the account's, and confirmed.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
    /// At least 15 characters, at most 256, of any kind.
    #[garde(skip)]
    password: Password,
    /// What to call them; the part of the address before the `@` when absent.
    #[serde(default)]
    #[garde(length(chars, max = 100), custom(is_name_or_empty))]
    #[schema(max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*$")]
    name: String,
    /// How the tokens are handed over.
    #[serde(default)]
    #[garde(skip)]
    #[schema(inline)]
    mode: Mode,
}

/// Register with an invitation
///
/// Makes an account of the address it was sent to, lets it join the team, and begins a session. Also where nobody may
/// register otherwise.
#[utoipa::path(post, path = "/invitation/register", operation_id = "register_invited_account",
    request_body = InvitedRegistration, responses(
    (status = 200, description = "The account is a member, and a session has begun.", body = TokenBody),
    (status = 202, description = "The account is a member; a second factor is to be shown."),
    (status = 404, description = "`INVITATION_INVALID`: not good, or not any more."),
    (status = 409, description = "`ACCOUNT_EXISTS`: sign in and accept. Or what keeps an account from joining."),
    (status = 422, description = "The password would be guessed; the invitation stays good."),
    (status = 503, description = "Too many are signing in; `Retry-After` says when to try again.")))]
async fn register(
    State(state): State<(Accounts, Invitations)>,
    request: Request,
    Json(InvitedRegistration { token, password, name, mode }): Json<InvitedRegistration>,
) -> Result<Response, Error> {
    let (accounts, invitations) = state;
    may_have_cookies(&accounts, &request, mode)?;
    let done = accounts.register_invited(&invitations, &token, (&name, &password), &request.visitor).await?;
    signed_in(&accounts, &request, done, mode).await
}
