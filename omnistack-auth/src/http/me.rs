//! Who is signed in.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Envelope, Error, Json, Meta, Patch},
    identity::{Identity, Permissions, TenantId, UserId},
    name::is_name,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{model::User, store::user::Profile, users::Users};

/// For every caller: programs learn in whose name they call, and a page learns that an operator acts as the user.
pub(crate) fn api() -> Api<Users> {
    Api::new().routes(routes!(get))
}

/// As [`api`], in the envelope.
pub(crate) fn v2() -> Api<Users> {
    Api::new().routes(routes!(get_v2))
}

/// For the user in person.
pub(crate) fn profile() -> Api<Users> {
    Api::new().routes(routes!(change))
}

/// As [`profile`], in the envelope.
pub(crate) fn profile_v2() -> Api<Users> {
    Api::new().routes(routes!(change_v2))
}

/// Who is calling
#[utoipa::path(get, path = "/", operation_id = "get_me", responses((status = 200, description = "The caller.", body = Envelope<Me>)))]
async fn get_v2(state: State<Users>, caller: Identity, meta: Meta) -> Result<Json<Envelope<Me>>, Error> {
    let Json(me) = get(state, caller).await?;
    Ok(Json(meta.wrap(me)))
}

/// Change the profile
#[utoipa::path(patch, path = "/", operation_id = "update_me", request_body = ProfileChange,
    responses((status = 200, description = "The caller.", body = Envelope<Me>)))]
async fn change_v2(
    state: State<Users>,
    caller: Identity,
    meta: Meta,
    body: Json<ProfileChange>,
) -> Result<Json<Envelope<Me>>, Error> {
    let Json(me) = change(state, caller, body).await?;
    Ok(Json(meta.wrap(me)))
}

/// Who is signed in, and what they may do in the tenant chosen.
#[derive(Serialize, ToSchema)]
#[schema(as = CurrentUser)]
pub(crate) struct Me {
    #[serde(flatten)]
    user: User,
    /// The tenant chosen.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// What they may do in it.
    #[schema(value_type = Vec<String>)]
    permissions: Permissions,
    /// The operator who acts as this user, when one does.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    impersonated_by: Option<UserId>,
}

impl Me {
    fn of(user: User, caller: Identity) -> Self {
        let Identity { tenant, permissions, actor, .. } = caller;
        Self { user, tenant_id: tenant, permissions, impersonated_by: actor }
    }
}

/// Get the profile
#[utoipa::path(get, path = "/", operation_id = "get_me", responses((status = 200, description = "The caller.", body = Me)))]
async fn get(State(users): State<Users>, caller: Identity) -> Result<Json<Me>, Error> {
    let user = users.find(caller.user).await?.ok_or_else(|| Error::not_found("user"))?;
    Ok(Json(Me::of(user, caller)))
}

/// What to change of a profile.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProfileChange {
    /// A new name.
    #[garde(inner(length(chars, min = 1, max = 100), custom(is_name)))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    name: Option<String>,
    /// Where the picture is, `https://…`; `null` removes it.
    #[serde(default)]
    #[garde(inner(length(max = 2000), prefix("https://")))]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = "^https://[^\\x00]*$")]
    picture: Patch<String>,
    /// The language, as in BCP 47; `null` for the app's own.
    #[serde(default)]
    #[garde(inner(length(min = 1, max = 35), custom(language_tag)))]
    #[schema(value_type = Option<String>, max_length = 35, pattern = "^[A-Za-z0-9-]+$")]
    locale: Patch<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde hands its context over so")]
fn language_tag(tag: &str, (): &()) -> garde::Result {
    let allowed = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if allowed { Ok(()) } else { Err(garde::Error::new("is not a language tag as in BCP 47: `de-AT`")) }
}

/// Change the profile
#[utoipa::path(patch, path = "/", operation_id = "update_me", request_body = ProfileChange,
    responses((status = 200, description = "The caller.", body = Me)))]
async fn change(
    State(users): State<Users>,
    caller: Identity,
    Json(change): Json<ProfileChange>,
) -> Result<Json<Me>, Error> {
    let profile = Profile { name: change.name, picture: change.picture.change(), locale: change.locale.change() };
    let user = users.change(&caller, profile).await?;
    Ok(Json(Me::of(user, caller)))
}
