//! Roles of a team.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Json, Path},
    identity::{Identity, KnownPermissions, Permissions, TenantId},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    own_role::{Matrix, RoleRow},
    tenant::Tenants,
};

type Roles = (Tenants, KnownPermissions);

pub(crate) fn api() -> Api<Roles> {
    Api::new().routes(routes!(matrix, create)).routes(routes!(change, remove))
}

/// List roles
///
/// Who may do what: every permission of the app, and each role with those it allows. Needs `roles:read`.
#[utoipa::path(get, path = "/{id}/roles", operation_id = "list_roles",
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 200, description = "The matrix.", body = Matrix)))]
async fn matrix(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<Matrix>, Error> {
    Ok(Json(tenants.matrix(&caller, id, &known).await?))
}

/// A role to be.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    /// Its name, of `a-z 0-9 -`.
    #[garde(length(min = 2, max = 40), custom(role_name))]
    #[schema(min_length = 2, max_length = 40, pattern = "^[a-z][a-z0-9-]*$")]
    name: String,
    /// What it allows: permissions of the app by their names.
    #[garde(custom(some))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    permissions: Permissions,
}

fn role_name(name: &str, (): &()) -> garde::Result {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(allowed);
    if good { Ok(()) } else { Err(garde::Error::new("must be of a-z, 0-9 and -, with a letter first")) }
}

pub(crate) fn some(permissions: &Permissions, (): &()) -> garde::Result {
    match permissions.iter().count() {
        0 => Err(garde::Error::new("is empty")),
        1..=200 => Ok(()),
        _ => Err(garde::Error::new("has more than 200")),
    }
}

/// Create a role
///
/// Needs `roles:manage`, and every permission the role gets; for `tenant:transfer` and `tenant:delete` also a sign-in of the
/// last 10 minutes.
#[utoipa::path(post, path = "/{id}/roles", operation_id = "create_role", request_body = NewRole,
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 201, description = "The role.", body = RoleRow),
        (status = 409, description = "`ROLE_EXISTS`: the team has one of this name.")))]
async fn create(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(new): Json<NewRole>,
) -> Result<(StatusCode, Json<RoleRow>), Error> {
    let made = tenants.add_role(&caller, id, &new.name, &new.permissions, &known).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What it allows from now on.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleChange {
    /// Permissions of the app by their names.
    #[garde(custom(some))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    permissions: Permissions,
}

/// Change a role
///
/// Holds at once for all who have it. Needs `roles:manage`, and every permission it had and gets.
#[utoipa::path(patch, path = "/{id}/roles/{name}", operation_id = "update_role", request_body = RoleChange,
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("name" = String, Path, description = "The role.")),
    responses((status = 200, description = "The role.", body = RoleRow),
        (status = 404, description = "The team has made none of this name.")))]
async fn change(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path((id, name)): Path<(TenantId, String)>,
    Json(change): Json<RoleChange>,
) -> Result<Json<RoleRow>, Error> {
    Ok(Json(tenants.change_role(&caller, id, &name, &change.permissions, &known).await?))
}

/// Delete a role
///
/// Needs `roles:manage`, and every permission it has.
#[utoipa::path(delete, path = "/{id}/roles/{name}", operation_id = "delete_role",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("name" = String, Path, description = "The role.")),
    responses((status = 204, description = "Deleted."),
        (status = 409, description = "`ROLE_IN_USE`: members hold it, or are invited with it.")))]
async fn remove(
    State(state): State<Roles>,
    caller: Identity,
    Path((id, name)): Path<(TenantId, String)>,
) -> Result<StatusCode, Error> {
    state.0.remove_role(&caller, id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
