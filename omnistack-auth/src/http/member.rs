//! Members of a team.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, FieldProblem, Json, MAX_PAGE_SIZE, Page, PageRequest, Path, Query},
    identity::{Identity, TenantId, UserId},
};
use serde::Deserialize;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{model::Member, tenant::Tenants};

pub(crate) fn api() -> Api<Tenants> {
    Api::new().routes(routes!(list)).routes(routes!(change, remove))
}

/// For users in person.
pub(crate) fn leaving() -> Api<Tenants> {
    Api::new().routes(routes!(leave))
}

/// Which part of a list in the order of ids.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// At most this many.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(skip)]
    cursor: Option<String>,
}

impl ListQuery {
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(PageRequest::DEFAULT_SIZE)
    }

    /// Behind which id.
    pub(crate) fn after<T: FromStr>(&self) -> Result<Option<T>, Error> {
        let wrong = || Error::invalid([FieldProblem::new("cursor", "is no cursor of this list")]);
        self.cursor.as_deref().map(|cursor| cursor.parse().map_err(|_| wrong())).transpose()
    }
}

/// List members
///
/// Needs `members:read`.
#[utoipa::path(get, path = "/{id}/members", operation_id = "list_members",
    params(("id" = String, Path, format = Uuid, description = "The team."), ListQuery),
    responses((status = 200, description = "The members.", body = Page<Member>)))]
async fn list(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Member>>, Error> {
    Ok(Json(tenants.members(&caller, id, query.after()?, query.limit()).await?))
}

/// Which role.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberChange {
    /// The name of a role of the team.
    #[garde(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[^\\x00]*$")]
    role: String,
}

/// Change a member's role
///
/// Needs `members:manage`, and everything that the role before and the new one allow; a role that may transfer or delete the
/// team also a sign-in of the last 10 minutes.
#[utoipa::path(patch, path = "/{id}/members/{user}", operation_id = "update_member", request_body = MemberChange,
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("user" = String, Path, format = Uuid, description = "The member.")),
    responses((status = 200, description = "The member.", body = Member),
        (status = 409, description = "`LAST_OWNER`: a team needs one.")))]
async fn change(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path((id, user)): Path<(TenantId, UserId)>,
    Json(change): Json<MemberChange>,
) -> Result<Json<Member>, Error> {
    Ok(Json(tenants.set_role(&caller, id, user, &change.role).await?))
}

/// Remove a member
///
/// Needs `members:manage`, and everything that the member's role allows.
#[utoipa::path(delete, path = "/{id}/members/{user}", operation_id = "remove_member",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("user" = String, Path, format = Uuid, description = "The member.")),
    responses((status = 204, description = "Removed."),
        (status = 409, description = "`LAST_OWNER`: a team needs one.")))]
async fn remove(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path((id, user)): Path<(TenantId, UserId)>,
) -> Result<StatusCode, Error> {
    tenants.remove(&caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leave a team
#[utoipa::path(post, path = "/{id}/leave", operation_id = "leave_team",
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 204, description = "The caller is no member any more."),
        (status = 409, description = "`LAST_OWNER`: a team needs one.")))]
async fn leave(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<StatusCode, Error> {
    tenants.leave(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
