//! Invitations to a team.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Json, Page, Path, Query},
    id::Id,
    identity::{Identity, TenantId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::member::ListQuery;
use crate::{
    invitation::{Invitations, Joined},
    model::{Invitation, Invited},
    users::normal_email,
};

pub(crate) fn api() -> Api<Invitations> {
    Api::new().routes(routes!(list)).routes(routes!(revoke))
}

/// Those that send mail, which has a limit of its own.
pub(crate) fn sending() -> Api<Invitations> {
    Api::new().routes(routes!(create)).routes(routes!(resend))
}

/// For whoever got the mail.
pub(crate) fn accepting() -> Api<Invitations> {
    Api::new().routes(routes!(accept))
}

/// List invitations
///
/// Those not accepted and not revoked. Needs `members:read`.
#[utoipa::path(get, path = "/{id}/invitations", operation_id = "list_invitations",
    params(("id" = String, Path, format = Uuid, description = "The team."), ListQuery),
    responses((status = 200, description = "The invitations.", body = Page<Invitation>)))]
async fn list(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Invitation>>, Error> {
    Ok(Json(invitations.list(&caller, id, query.after()?, query.limit()).await?))
}

/// Whom to invite.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    /// Their address.
    #[garde(length(max = 254), custom(address))]
    #[schema(max_length = 254, format = "email")]
    email: String,
    /// The role they get: the name of one of the team.
    #[garde(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[^\\x00]*$")]
    role: String,
}

/// Somebody at a domain. Whether there is such a mailbox only a mail tells.
fn address(text: &str, (): &()) -> garde::Result {
    normal_email(text).map(|_| ()).ok_or_else(|| garde::Error::new("is no e-mail address"))
}

/// Invite somebody
///
/// Sends a mail with a link that is good for seven days. Needs `members:manage`, and everything that the role allows; a role
/// that may transfer or delete the team also a sign-in of the last 10 minutes.
#[utoipa::path(post, path = "/{id}/invitations", operation_id = "create_invitation", request_body = NewInvitation,
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 201, description = "The invitation.", body = Invitation),
        (status = 409, description = "`ALREADY_MEMBER`, `ALREADY_INVITED`, `PERSONAL_TENANT`, `TEAM_ENDS`.")))]
async fn create(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(new): Json<NewInvitation>,
) -> Result<(StatusCode, Json<Invitation>), Error> {
    let made = invitations.create(&caller, id, &new.email, &new.role).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Send an invitation again
///
/// With another link, good for seven days more. Needs what inviting needs.
#[utoipa::path(post, path = "/{id}/invitations/{invitation}/resend", operation_id = "resend_invitation",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("invitation" = String, Path, format = Uuid, description = "The invitation.")),
    responses((status = 200, description = "The invitation.", body = Invitation),
        (status = 404, description = "The team has no such invitation.")))]
async fn resend(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path((id, invitation)): Path<(TenantId, Id<Invited>)>,
) -> Result<Json<Invitation>, Error> {
    Ok(Json(invitations.resend(&caller, id, invitation).await?))
}

/// Revoke an invitation
///
/// Needs `members:manage`.
#[utoipa::path(delete, path = "/{id}/invitations/{invitation}", operation_id = "revoke_invitation",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("invitation" = String, Path, format = Uuid, description = "The invitation.")),
    responses((status = 204, description = "Its link is good no longer."),
        (status = 404, description = "The team has no such invitation.")))]
async fn revoke(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path((id, invitation)): Path<(TenantId, Id<Invited>)>,
) -> Result<StatusCode, Error> {
    invitations.revoke(&caller, id, invitation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The token of the link in the mail.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InvitationAnswer)]
struct Accept {
    /// As it was sent.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
}

/// Of which team the caller is a member now.
#[derive(Serialize, ToSchema)]
struct JoinedBody {
    /// The team.
    #[schema(value_type = String, format = Uuid)]
    tenant_id: TenantId,
    /// As what.
    role: String,
}

/// Accept an invitation
///
/// By a user whose verified address is the one it was sent to.
#[utoipa::path(post, path = "/accept", operation_id = "accept_invitation", request_body = Accept,
    responses((status = 200, description = "The caller is a member.", body = JoinedBody),
        (status = 403, description = "`INVITATION_OF_ANOTHER`: it was sent to another address."),
        (status = 404, description = "`INVITATION_INVALID`: not good, or not any more.")))]
async fn accept(
    State(invitations): State<Invitations>,
    caller: Identity,
    Json(Accept { token }): Json<Accept>,
) -> Result<Json<JoinedBody>, Error> {
    let Joined { tenant, role, .. } = invitations.accept(&caller, &token).await?;
    Ok(Json(JoinedBody { tenant_id: tenant, role }))
}
