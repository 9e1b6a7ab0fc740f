//! Routes of the caller's profile.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Envelope, Error, Json, Meta, Patch},
    identity::{Identity, Permissions, TenantId, UserId},
    module::Api,
    text::Name,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    model::User,
    users::{Users, store::ProfileUpdate},
};

/// Returns the routes for every caller. API keys get their user; a page learns whether an operator impersonates the
/// user.
pub(crate) fn api() -> Api<Users> {
    Api::new().routes(routes!(get))
}

/// Returns the routes of [`api`] with responses in an envelope.
pub(crate) fn v2() -> Api<Users> {
    Api::new().routes(routes!(get_v2))
}

/// Returns the routes that only users call, not API keys and not operators who impersonate a user.
pub(crate) fn profile() -> Api<Users> {
    Api::new().routes(routes!(change))
}

/// Returns the routes of [`profile`] with responses in an envelope.
pub(crate) fn profile_v2() -> Api<Users> {
    Api::new().routes(routes!(change_v2))
}

/// Get the profile
#[utoipa::path(get, path = "/", operation_id = "get_me", responses((status = 200, description = "The caller's profile.", body = Envelope<Me>)))]
async fn get_v2(state: State<Users>, caller: Identity, meta: Meta) -> Result<Json<Envelope<Me>>, Error> {
    let Json(me) = get(state, caller).await?;
    Ok(Json(meta.wrap(me)))
}

/// Change the profile
#[utoipa::path(patch, path = "/", operation_id = "update_me", request_body = ProfileChange,
    responses((status = 200, description = "The caller's profile.", body = Envelope<Me>)))]
async fn change_v2(
    state: State<Users>,
    caller: Identity,
    meta: Meta,
    body: Json<ProfileChange>,
) -> Result<Json<Envelope<Me>>, Error> {
    let Json(me) = change(state, caller, body).await?;
    Ok(Json(meta.wrap(me)))
}

/// The caller's user, the current tenant and the permissions in it.
#[derive(Serialize, ToSchema)]
#[schema(as = CurrentUser)]
pub(crate) struct Me {
    #[serde(flatten)]
    user: User,
    /// The current tenant.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// The caller's permissions in the current tenant.
    #[schema(value_type = Vec<String>)]
    permissions: Permissions,
    /// The operator who impersonates the user, if one does.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    impersonated_by: Option<UserId>,
}

impl Me {
    fn of(user: User, caller: Identity) -> Self {
        let Identity { tenant, permissions, impersonator: actor, .. } = caller;
        Self { user, tenant_id: tenant, permissions, impersonated_by: actor }
    }
}

/// Get the profile
#[utoipa::path(get, path = "/", operation_id = "get_me", responses((status = 200, description = "The caller's profile.", body = Me)))]
async fn get(State(users): State<Users>, caller: Identity) -> Result<Json<Me>, Error> {
    let user = users.find(caller.user).await?.ok_or_else(|| Error::not_found("the user"))?;
    Ok(Json(Me::of(user, caller)))
}

/// The changes to a profile.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct ProfileChange {
    /// The new display name.
    name: Option<Name<100>>,
    /// The URL of the picture, `https://…`; `null` removes it.
    #[serde(default)]
    #[garde(inner(length(chars, max = 2000), prefix("https://")))]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = "^https://[^\\x00]*$")]
    picture: Patch<String>,
    /// The language tag as in BCP 47; `null` for the app's default language.
    #[serde(default)]
    #[garde(inner(length(chars, min = 1, max = 35), custom(language_tag)))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 35, pattern = "^[A-Za-z0-9-]+$")]
    locale: Patch<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes its context to rules by reference")]
fn language_tag(tag: &str, (): &()) -> garde::Result {
    let allowed = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if allowed {
        Ok(())
    } else {
        Err(garde::Error::new("is not a language tag; use one as in BCP 47, such as `de-AT`"))
    }
}

/// Change the profile
#[utoipa::path(patch, path = "/", operation_id = "update_me", request_body = ProfileChange,
    responses((status = 200, description = "The caller's profile.", body = Me)))]
async fn change(
    State(users): State<Users>,
    caller: Identity,
    Json(change): Json<ProfileChange>,
) -> Result<Json<Me>, Error> {
    let profile = ProfileUpdate {
        name: change.name.map(String::from),
        picture: change.picture.into_nested_option(),
        locale: change.locale.into_nested_option(),
    };
    let user = users.update_profile(&caller, profile).await?;
    Ok(Json(Me::of(user, caller)))
}
