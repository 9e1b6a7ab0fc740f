//! Routes of teams.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::{AuditFilter, AuditRecord, AuditStore},
    http::{CursorPage, Error, Json, MAX_PAGE_SIZE, PageRequest, Path, Query},
    identity::{Identity, Permissions, Require, TenantId, UserId},
    module::Api,
    text::Name,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    model::Tenant,
    session::MAX_FRESH_SIGN_IN_AGE,
    tenant::{TenantAccess, Tenants},
};

/// Returns the routes for users and API keys.
pub(crate) fn api() -> Api<Tenants> {
    Api::new().routes(routes!(list)).routes(routes!(get, change))
}

/// Returns the routes that only users call, not API keys and not operators who impersonate a user.
pub(crate) fn personal() -> Api<Tenants> {
    Api::new()
        .routes(routes!(create))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(delete))
        .routes(routes!(restore))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(transfer))
}

/// Returns the route of a team's audit entries.
pub(crate) fn activity() -> Api<(Tenants, AuditStore)> {
    Api::new().routes(routes!(list_activity))
}

/// A team, with the caller's role and permissions in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeamBody {
    #[serde(flatten)]
    tenant: Tenant,
    /// The caller's role.
    role: String,
    /// The caller's permissions in the team.
    #[schema(value_type = Vec<String>)]
    permissions: Permissions,
}

impl From<TenantAccess> for TeamBody {
    fn from(TenantAccess { tenant, role, permissions, .. }: TenantAccess) -> Self {
        Self { tenant, role, permissions }
    }
}

/// The caller's teams.
#[derive(Serialize, ToSchema)]
struct TeamList {
    /// The teams in the order in which the caller joined them, at most 200. The one with `personal_of` is the caller's
    /// personal tenant.
    items: Vec<TeamBody>,
}

/// List teams
///
/// Lists the teams that the caller is a member of.
#[utoipa::path(get, path = "/", operation_id = "list_teams",
    responses((status = 200, description = "The teams.", body = TeamList)))]
async fn list(State(tenants): State<Tenants>, caller: Identity) -> Result<Json<TeamList>, Error> {
    let items = tenants.list_for(&caller).await?.into_iter().map(Into::into).collect();
    Ok(Json(TeamList { items }))
}

/// A team to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewTeam {
    /// The display name.
    name: Name<100>,
    /// The slug, the team's name in URLs: 3 to 63 characters of `a-z 0-9 -`. If absent, it is derived from the name.
    #[garde(inner(length(chars, max = 63)))]
    #[schema(min_length = 3, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
}

/// Create a team
///
/// The caller becomes its owner.
#[utoipa::path(post, path = "/", operation_id = "create_team", request_body = NewTeam, responses(
    (status = 201, description = "The team.", body = TeamBody),
    (status = 409, description = "`SLUG_TAKEN`: another tenant has this slug.")))]
async fn create(
    State(tenants): State<Tenants>,
    caller: Identity,
    Json(new): Json<NewTeam>,
) -> Result<(StatusCode, Json<TeamBody>), Error> {
    let made = tenants.create(&caller, &new.name, new.slug.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Get a team
#[utoipa::path(get, path = "/{id}", operation_id = "get_team",
    params(("id" = String, Path, format = Uuid, description = "The team.")), responses(
    (status = 200, description = "The team.", body = TeamBody),
    (status = 404, description = "The caller is not a member of such a tenant.")))]
async fn get(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<TeamBody>, Error> {
    let rights = tenants.access(&caller, id).await?;
    rights.require("tenant:read")?;
    Ok(Json(rights.into()))
}

/// The changes to a team.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct TeamChange {
    /// The new display name.
    name: Option<Name<100>>,
    /// The new slug.
    #[garde(inner(length(chars, max = 63)))]
    #[schema(min_length = 3, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
}

/// Change a team
///
/// Needs `tenant:manage`.
#[utoipa::path(patch, path = "/{id}", operation_id = "update_team", request_body = TeamChange,
    params(("id" = String, Path, format = Uuid, description = "The team.")), responses(
    (status = 200, description = "The team.", body = TeamBody),
    (status = 409, description = "`SLUG_TAKEN`: another tenant has this slug.")))]
async fn change(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(change): Json<TeamChange>,
) -> Result<Json<TeamBody>, Error> {
    Ok(Json(tenants.rename(&caller, id, change.name.map(String::from), change.slug).await?.into()))
}

/// Delete a team
///
/// The team stays usable until `delete_at` and can be restored until then; after that it is deleted permanently. Needs
/// `tenant:delete` and a sign-in within the last 10 minutes.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_team",
    params(("id" = String, Path, format = Uuid, description = "The team.")), responses(
    (status = 200, description = "The team, with its `delete_at`.", body = TeamBody),
    (status = 409, description = "`PERSONAL_TENANT`: a personal tenant is deleted with its user's account.")))]
async fn delete(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<TeamBody>, Error> {
    Ok(Json(tenants.delete(&caller, id).await?.into()))
}

/// Restore a team
///
/// Cancels the deletion. Needs `tenant:delete`.
#[utoipa::path(post, path = "/{id}/restore", operation_id = "restore_team",
    params(("id" = String, Path, format = Uuid, description = "The team.")), responses(
    (status = 200, description = "The team.", body = TeamBody),
    (status = 409, description = "`NOT_DELETED`: no deletion was requested. `NO_OWNER`: the last owner has left.")))]
async fn restore(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<TeamBody>, Error> {
    Ok(Json(tenants.restore(&caller, id).await?.into()))
}

/// The new owner.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TeamTransfer)]
struct Transfer {
    /// The user id of another member.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    user_id: UserId,
}

/// Transfer a team
///
/// Makes another member the owner and the caller an admin. Needs `tenant:transfer` and a sign-in within the last 10
/// minutes.
#[utoipa::path(post, path = "/{id}/transfer", operation_id = "transfer_team", request_body = Transfer,
    params(("id" = String, Path, format = Uuid, description = "The team.")), responses(
    (status = 204, description = "Done."),
    (status = 404, description = "No such team, or no such member.")))]
async fn transfer(
    State(tenants): State<Tenants>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(to): Json<Transfer>,
) -> Result<StatusCode, Error> {
    tenants.transfer(&caller, id, to.user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ActivityQuery {
    /// Only actions of this user.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<UserId>,
    /// Only actions that begin with this text: `member.`.
    #[garde(inner(length(chars, max = 100)))]
    #[param(max_length = 100)]
    action: Option<String>,
    /// The maximum number of entries.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
}

/// List activity
///
/// Lists the team's audit entries, newest first. Needs `activity:read`.
#[utoipa::path(get, path = "/{id}/activity", operation_id = "list_team_activity",
    params(("id" = String, Path, format = Uuid, description = "The team."), ActivityQuery),
    responses((status = 200, description = "The entries.", body = CursorPage<AuditRecord>)))]
async fn list_activity(
    State((tenants, store)): State<(Tenants, AuditStore)>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Query(query): Query<ActivityQuery>,
) -> Result<Json<CursorPage<AuditRecord>>, Error> {
    tenants.access(&caller, id).await?.require("activity:read")?;
    let mut filter = AuditFilter::for_chain(id);
    if let Some(actor) = query.actor {
        filter = filter.actor(actor);
    }
    if let Some(action) = query.action {
        filter = filter.action(action);
    }
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(store.list(&filter, limit, query.cursor.as_deref()).await?))
}
