//! Routes of the roles of a team.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json, Path},
    identity::{Identity, PermissionCatalog, Permissions, TenantId},
    module::Api,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::tenant::{
    Tenants,
    custom_roles::{PermissionMatrix, RolePermissions},
};

type Roles = (Tenants, PermissionCatalog);

/// Returns the routes for users and API keys.
pub(crate) fn api() -> Api<Roles> {
    Api::new().routes(routes!(list, create)).routes(routes!(change, remove))
}

/// List roles
///
/// Returns every permission of the app, and each role with the permissions it grants. Needs `roles:read`.
#[utoipa::path(get, path = "/{id}/roles", operation_id = "list_roles",
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 200, description = "The roles and the permissions they grant.", body = PermissionMatrix)))]
async fn list(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<PermissionMatrix>, Error> {
    Ok(Json(tenants.permission_matrix(&caller, id, &known).await?))
}

/// A custom role to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    /// The name: 2 to 40 characters of `a-z 0-9 -`, beginning with a letter.
    #[garde(length(chars, min = 2, max = 40), custom(role_name))]
    #[schema(min_length = 2, max_length = 40, pattern = "^[a-z][a-z0-9-]*$")]
    name: String,
    /// The permissions it grants, by their names in the app.
    #[garde(custom(permission_count))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    permissions: Permissions,
}

fn role_name(name: &str, (): &()) -> garde::Result {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(allowed);
    if good { Ok(()) } else { Err(garde::Error::new("must consist of a-z, 0-9 and -, and begin with a letter")) }
}

/// Fails unless there are 1 to 200 permissions.
pub(crate) fn permission_count(permissions: &Permissions, (): &()) -> garde::Result {
    match permissions.iter().count() {
        0 => Err(garde::Error::new("is empty; name at least one permission")),
        1..=200 => Ok(()),
        _ => Err(garde::Error::new("has more than 200 permissions")),
    }
}

/// Create a role
///
/// Needs `roles:manage` and every permission of the role. For `tenant:transfer` and `tenant:delete` it also needs a
/// sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/{id}/roles", operation_id = "create_role", request_body = NewRole,
    params(("id" = String, Path, format = Uuid, description = "The team.")),
    responses((status = 201, description = "The role.", body = RolePermissions),
        (status = 409, description = "`ROLE_EXISTS`: the team has a role of this name.")))]
async fn create(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(new): Json<NewRole>,
) -> Result<(StatusCode, Json<RolePermissions>), Error> {
    let made = tenants.create_role(&caller, id, &new.name, &new.permissions, &known).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// The changes to a custom role.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleChange {
    /// The permissions it grants from now on, by their names in the app.
    #[garde(custom(permission_count))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    permissions: Permissions,
}

/// Change a role
///
/// Takes effect immediately for all members with the role. Needs `roles:manage` and every permission of the role before
/// and after the change.
#[utoipa::path(patch, path = "/{id}/roles/{name}", operation_id = "update_role", request_body = RoleChange,
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("name" = String, Path, description = "The role.")),
    responses((status = 200, description = "The role.", body = RolePermissions),
        (status = 404, description = "The team has no custom role of this name.")))]
async fn change(
    State((tenants, known)): State<Roles>,
    caller: Identity,
    Path((id, name)): Path<(TenantId, String)>,
    Json(change): Json<RoleChange>,
) -> Result<Json<RolePermissions>, Error> {
    Ok(Json(tenants.update_role(&caller, id, &name, &change.permissions, &known).await?))
}

/// Delete a role
///
/// Needs `roles:manage` and every permission of the role.
#[utoipa::path(delete, path = "/{id}/roles/{name}", operation_id = "delete_role",
    params(("id" = String, Path, format = Uuid, description = "The team."),
        ("name" = String, Path, description = "The role.")),
    responses((status = 204, description = "Deleted."),
        (status = 409, description = "`ROLE_IN_USE`: members have the role, or are invited with it.")))]
async fn remove(
    State(state): State<Roles>,
    caller: Identity,
    Path((id, name)): Path<(TenantId, String)>,
) -> Result<StatusCode, Error> {
    state.0.delete_role(&caller, id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
