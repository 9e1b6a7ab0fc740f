//! Routes of a team's invitations.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, Json, Path, Query},
    id::Id,
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::members::CursorPageQuery;
use crate::{
    model::{Invitation, InvitationMarker},
    tenant::invitation::{AcceptedInvitation, Invitations},
    users::normalize_email,
};

/// Returns the routes that send no mail.
pub(crate) fn api() -> Api<Invitations> {
    Api::new().routes(routes!(list)).routes(routes!(revoke))
}

/// Returns the routes that send mail, which have a rate limit of their own.
pub(crate) fn sending() -> Api<Invitations> {
    Api::new().routes(routes!(create)).routes(routes!(resend))
}

/// Returns the route with which the recipient accepts an invitation.
pub(crate) fn accepting() -> Api<Invitations> {
    Api::new().routes(routes!(accept))
}

/// List invitations
///
/// Lists the invitations that were neither accepted nor revoked. Needs `members:read`.
#[utoipa::path(get, path = "/{id}/invitations", operation_id = "list_invitations",
    params(("id" = String, Path, format = Uuid, description = "The team."), CursorPageQuery),
    responses((status = 200, description = "The invitations.", body = CursorPage<Invitation>)))]
async fn list(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Query(query): Query<CursorPageQuery>,
) -> Result<Json<CursorPage<Invitation>>, Error> {
    Ok(Json(invitations.list(&caller, id, query.after()?, query.limit()).await?))
}

/// An invitation to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewInvitation {
    /// The recipient's email address.
    #[garde(length(chars, max = 254), custom(is_email_address))]
    #[schema(max_length = 254, format = "email")]
    email: String,
    /// The role of the new member: the name of a role of the team.
    role: Text<1, 64>,
}

/// Fails unless the text has the form of an email address. Whether the mailbox exists is not checked.
fn is_email_address(text: &str, (): &()) -> garde::Result {
    normalize_email(text).map(|_| ()).ok_or_else(|| garde::Error::new("is not an email address"))
}

/// Invite a person
///
/// Sends a mail with a link that is valid for seven days. Until then, the invitation counts as a member for the limit
/// `team_members` of the tenant's plan. Needs `members:manage` and every permission of the role. If the role may
/// transfer or delete the team, it also needs a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/{id}/invitations", operation_id = "create_invitation", request_body = NewInvitation,
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 201, description = "The invitation.", body = Invitation),
        (status = 402, description = "`PLAN_LIMIT_REACHED`: the tenant's plan allows no other member."),
        (status = 409, description = "`ALREADY_MEMBER`, `ALREADY_INVITED`, `PERSONAL_TENANT`, `TEAM_DELETION_PENDING`.")))]
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
/// Sends another link, valid for another seven days, and invalidates the previous one. Needs what creating the
/// invitation needs.
#[utoipa::path(post, path = "/{id}/invitations/{invitation}/resend", operation_id = "resend_invitation",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("invitation" = String, Path, format = Uuid, description = "The invitation.")),
    responses((status = 200, description = "The invitation.", body = Invitation),
        (status = 402, description = "`PLAN_LIMIT_REACHED`: the invitation has expired, and the tenant's plan allows \
            no other member."),
        (status = 404, description = "The team has no such invitation.")))]
async fn resend(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path((id, invitation)): Path<(TenantId, Id<InvitationMarker>)>,
) -> Result<Json<Invitation>, Error> {
    Ok(Json(invitations.resend(&caller, id, invitation).await?))
}

/// Revoke an invitation
///
/// Needs `members:manage`.
#[utoipa::path(delete, path = "/{id}/invitations/{invitation}", operation_id = "revoke_invitation",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("invitation" = String, Path, format = Uuid, description = "The invitation.")),
    responses((status = 204, description = "Revoked. The link is refused."),
        (status = 404, description = "The team has no such invitation.")))]
async fn revoke(
    State(invitations): State<Invitations>,
    caller: Identity,
    Path((id, invitation)): Path<(TenantId, Id<InvitationMarker>)>,
) -> Result<StatusCode, Error> {
    invitations.revoke(&caller, id, invitation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The token of an invitation link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InvitationAnswer)]
#[garde(allow_unvalidated)]
struct AcceptInvitation {
    /// The token from the link.
    token: Text<0, 200>,
}

/// The team the caller has joined.
#[derive(Serialize, ToSchema)]
struct JoinedBody {
    /// The team.
    #[schema(value_type = String, format = Uuid)]
    tenant_id: TenantId,
    /// The caller's role in the team.
    role: String,
}

/// Accept an invitation
///
/// The caller's verified email address must be the one the invitation was sent to.
#[utoipa::path(post, path = "/accept", operation_id = "accept_invitation", request_body = AcceptInvitation,
    responses((status = 200, description = "The caller is a member.", body = JoinedBody),
        (status = 403, description = "`INVITATION_EMAIL_MISMATCH`: the invitation was sent to another email address."),
        (status = 404, description = "`INVITATION_INVALID`: the invitation is not valid, or no longer valid.")))]
async fn accept(
    State(invitations): State<Invitations>,
    caller: Identity,
    Json(AcceptInvitation { token }): Json<AcceptInvitation>,
) -> Result<Json<JoinedBody>, Error> {
    let AcceptedInvitation { tenant, role, .. } = invitations.accept(&caller, &token).await?;
    Ok(Json(JoinedBody { tenant_id: tenant, role }))
}
