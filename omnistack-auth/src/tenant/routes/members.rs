//! Routes of the members of a team.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, FieldError, Json, MAX_PAGE_SIZE, PageRequest, Path, Query},
    identity::{Identity, TenantId, UserId},
    module::Api,
    text::Text,
};
use serde::Deserialize;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{model::Member, tenant::Tenants};

/// Returns the routes for users and API keys.
pub(crate) fn api() -> Api<Tenants> {
    Api::new().routes(routes!(list)).routes(routes!(change, remove))
}

/// Returns the route with which users leave a team.
pub(crate) fn leaving() -> Api<Tenants> {
    Api::new().routes(routes!(leave))
}

/// The query of a cursor page, in the order of ids.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CursorPageQuery {
    /// The maximum number of items.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
}

impl CursorPageQuery {
    /// Returns the requested number of items, or the default.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(PageRequest::DEFAULT_SIZE)
    }

    /// Returns the id after which the page begins. Fails with 422 if the cursor is invalid.
    pub(crate) fn after<T: FromStr>(&self) -> Result<Option<T>, Error> {
        let wrong = || {
            Error::invalid([FieldError::new(
                "cursor",
                "is not a cursor of this list; send `next_cursor` of the previous page",
            )])
        };
        self.cursor.as_deref().map(|cursor| cursor.parse().map_err(|_| wrong())).transpose()
    }
}

/// List members
///
/// Needs `members:read`.
#[utoipa::path(get, path = "/{id}/members", operation_id = "list_members",
    params(("id" = String, Path, format = Uuid, description = "The team."), CursorPageQuery),
    responses((status = 200, description = "The members.", body = CursorPage<Member>)))]
async fn list(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Query(query): Query<CursorPageQuery>,
) -> Result<Json<CursorPage<Member>>, Error> {
    Ok(Json(tenants.members(&caller, id, query.after()?, query.limit()).await?))
}

/// A member's new role.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct MemberChange {
    /// The name of a role of the team.
    role: Text<1, 64>,
}

/// Change a member's role
///
/// Needs `members:manage` and every permission of the previous and of the new role. If one of them may transfer or
/// delete the team, it also needs a sign-in within the last 10 minutes.
#[utoipa::path(patch, path = "/{id}/members/{user}", operation_id = "update_member", request_body = MemberChange,
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("user" = String, Path, format = Uuid, description = "The member.")),
    responses((status = 200, description = "The member.", body = Member),
        (status = 409, description = "`LAST_OWNER`: a team needs at least one owner.")))]
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
/// Needs `members:manage` and every permission of the member's role.
#[utoipa::path(delete, path = "/{id}/members/{user}", operation_id = "remove_member",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("user" = String, Path, format = Uuid, description = "The member.")),
    responses((status = 204, description = "Removed."),
        (status = 409, description = "`LAST_OWNER`: a team needs at least one owner.")))]
async fn remove(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path((id, user)): Path<(TenantId, UserId)>,
) -> Result<StatusCode, Error> {
    tenants.remove_member(&caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leave a team
#[utoipa::path(post, path = "/{id}/leave", operation_id = "leave_team",
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 204, description = "The caller has left the team."),
        (status = 409, description = "`LAST_OWNER`: a team needs at least one owner, unless its deletion is scheduled.")))]
async fn leave(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<StatusCode, Error> {
    tenants.leave(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
