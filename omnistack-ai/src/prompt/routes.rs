//! The routes of prompts for tenants: `/api/v1/app/ai/prompts`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query, StatusCode},
    identity::{Identity, Require},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    handle::{Prompts, no_prompt},
    model::{PromptAccess, PromptContent, PromptOverride, PromptSummary},
};

/// The permission to replace a prompt for a tenant.
const MANAGE: &str = "ai:manage";

/// Returns the routes.
pub(super) fn api() -> Api<Prompts> {
    let manage = || Require::permission(MANAGE);
    Api::new()
        .routes(routes!(list))
        .require(manage(), routes!(get_override))
        .require(manage(), routes!(set_override))
        .require(manage(), routes!(delete_override))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SharedPromptsQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// A prompt that members of the tenant can use.
#[derive(Debug, Serialize, ToSchema)]
struct SharedPrompt {
    /// The name.
    name: String,
    /// The purpose of the prompt.
    description: String,
    /// Whether the tenant can replace it.
    overridable: bool,
}

impl From<PromptSummary> for SharedPrompt {
    fn from(prompt: PromptSummary) -> Self {
        let overridable = prompt.access == PromptAccess::Overridable;
        Self { name: prompt.name, description: prompt.description, overridable }
    }
}

/// List the prompts that members of the tenant can use
///
/// The prompts are in the order of their names. Needs `ai:read`.
#[utoipa::path(get, path = "/", operation_id = "list_shared_prompts", params(SharedPromptsQuery), responses(
    (status = 200, body = CursorPage<SharedPrompt>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(prompts): State<Prompts>,
    Query(SharedPromptsQuery { limit, cursor }): Query<SharedPromptsQuery>,
) -> Result<Json<CursorPage<SharedPrompt>>, Error> {
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let mut items = prompts.list(cursor.as_deref().unwrap_or_default(), true, limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = items.len() > size;
    items.truncate(size);
    let next_cursor = items.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(Json(CursorPage { items: items.into_iter().map(Into::into).collect(), next_cursor }))
}

/// The override of a tenant, and the content that it replaces.
#[derive(Debug, Serialize, ToSchema)]
struct PromptOverrideDetails {
    /// The content of the app's version that the tenant would get.
    original: PromptContent,
    /// The override; `null` if the tenant has none.
    #[schema(required)]
    own: Option<PromptOverride>,
}

/// Get the override of a prompt
///
/// The response has the content that the override replaces, too. Only prompts that can be replaced are found. Needs
/// `ai:manage`.
#[utoipa::path(get, path = "/{name}/override", operation_id = "get_prompt_override", params(("name" = String, Path)),
    responses(
    (status = 200, body = PromptOverrideDetails),
    (status = 404, body = ErrorEnvelope),
))]
async fn get_override(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
) -> Result<Json<PromptOverrideDetails>, Error> {
    let tenant = caller.require_tenant()?;
    let (prompt, own) = prompts.with_override(tenant, &name).await?;
    if prompt.access != PromptAccess::Overridable {
        return Err(no_prompt());
    }
    Ok(Json(PromptOverrideDetails { original: prompts.original(tenant, &name).await?, own }))
}

/// Replace a prompt for the tenant
///
/// The content must have the variables of the prompt. Needs `ai:manage`.
#[utoipa::path(put, path = "/{name}/override", operation_id = "set_prompt_override", params(("name" = String, Path)),
    request_body = PromptContent, responses(
    (status = 200, body = PromptOverride),
    (status = 404, body = ErrorEnvelope, description = "There is no such prompt, or it can't be replaced."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`: the content can't be rendered."),
))]
async fn set_override(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
    Json(content): Json<PromptContent>,
) -> Result<Json<PromptOverride>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(prompts.set_override(&caller, caller.require_tenant()?, &name, content).await?))
}

/// Delete the override of a prompt
///
/// The tenant then gets the versions of the app again. Needs `ai:manage`.
#[utoipa::path(delete, path = "/{name}/override", operation_id = "delete_prompt_override",
    params(("name" = String, Path)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope, description = "The tenant has no override."),
))]
async fn delete_override(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    caller.deny_impersonation()?;
    prompts.delete_override(&caller, caller.require_tenant()?, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
