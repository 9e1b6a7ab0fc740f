//! The routes of prompts for operators: `/api/v1/admin/ai/prompts`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, StatusCode},
    identity::Identity,
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    handle::Prompts,
    model::{
        PromptAccess, PromptContent, PromptDetails, PromptLabel, PromptSummary, PromptVersionDetails, WeightedVersion,
        is_prompt_name,
    },
    usage::PromptUsage,
};

/// Returns the routes.
pub(super) fn api() -> Api<Prompts> {
    Api::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(add_version))
        .routes(routes!(get_version))
        .routes(routes!(set_label, delete_label))
        .routes(routes!(roll_back))
        .routes(routes!(usage))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PromptsQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List prompts
///
/// The prompts are in the order of their names.
#[utoipa::path(get, path = "/", operation_id = "list_prompts", params(PromptsQuery), responses(
    (status = 200, body = CursorPage<PromptSummary>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(prompts): State<Prompts>,
    Query(PromptsQuery { limit, cursor }): Query<PromptsQuery>,
) -> Result<Json<CursorPage<PromptSummary>>, Error> {
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let mut items = prompts.list(cursor.as_deref().unwrap_or_default(), false, limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = items.len() > size;
    items.truncate(size);
    let next_cursor = items.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(Json(CursorPage { items, next_cursor }))
}

/// A new prompt.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewPrompt {
    /// The name, by which the app's code finds the prompt.
    #[garde(length(chars, min = 1, max = 100), custom(is_prompt_name))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    name: String,
    /// The purpose of the prompt.
    #[serde(default)]
    description: Text<0, 500>,
    /// The use of the prompt besides the app's own code.
    #[serde(default)]
    access: PromptAccess,
    /// The content of its first version.
    #[garde(dive)]
    content: PromptContent,
}

/// Create a prompt
///
/// The content becomes the first version, which the label `production` stands for.
#[utoipa::path(post, path = "/", operation_id = "create_prompt", request_body = NewPrompt, responses(
    (status = 201, body = PromptDetails),
    (status = 409, body = ErrorEnvelope, description = "`ALREADY_EXISTS`: the name is taken."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`: the content can't be rendered."),
))]
async fn create(
    State(prompts): State<Prompts>,
    caller: Identity,
    Json(NewPrompt { name, description, access, content }): Json<NewPrompt>,
) -> Result<(StatusCode, Json<PromptDetails>), Error> {
    let created = prompts.create(&caller, name, description.into(), access, content).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Get a prompt
///
/// The response has the labels and the versions of the prompt.
#[utoipa::path(get, path = "/{name}", operation_id = "get_prompt", params(("name" = String, Path)), responses(
    (status = 200, body = PromptDetails),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(State(prompts): State<Prompts>, Path(name): Path<String>) -> Result<Json<PromptDetails>, Error> {
    Ok(Json(prompts.details(&name).await?))
}

/// Changes of a prompt. Absent fields keep their values.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PromptUpdate {
    /// The purpose of the prompt.
    #[serde(default)]
    description: Option<Text<0, 500>>,
    /// The use of the prompt besides the app's own code.
    #[serde(default)]
    access: Option<PromptAccess>,
}

/// Change a prompt
///
/// The description and the access can change. Overrides of tenants have no effect unless the access is `overridable`.
#[utoipa::path(patch, path = "/{name}", operation_id = "update_prompt", params(("name" = String, Path)),
    request_body = PromptUpdate, responses(
    (status = 200, body = PromptSummary),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn update(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
    Json(PromptUpdate { description, access }): Json<PromptUpdate>,
) -> Result<Json<PromptSummary>, Error> {
    Ok(Json(prompts.change(&caller, &name, description.map(String::from), access).await?))
}

/// Delete a prompt
///
/// Its versions, its labels and the overrides of tenants are deleted, too. The app's code that uses the prompt fails
/// afterwards.
#[utoipa::path(delete, path = "/{name}", operation_id = "delete_prompt", params(("name" = String, Path)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn delete(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    prompts.delete(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new version of a prompt.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewPromptVersion {
    /// The content.
    #[garde(dive)]
    content: PromptContent,
    /// The changes since the version before.
    #[serde(default)]
    note: Text<0, 500>,
}

/// Create a version of a prompt
///
/// It is used when a label stands for it.
#[utoipa::path(post, path = "/{name}/versions", operation_id = "create_prompt_version", params(("name" = String, Path)),
    request_body = NewPromptVersion, responses(
    (status = 201, body = PromptVersionDetails),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`TOO_MANY_PROMPT_VERSIONS`: create another prompt."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`: the content can't be rendered."),
))]
async fn add_version(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path(name): Path<String>,
    Json(NewPromptVersion { content, note }): Json<NewPromptVersion>,
) -> Result<(StatusCode, Json<PromptVersionDetails>), Error> {
    let created = prompts.add_version(&caller, &name, content, note.into()).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Get a version of a prompt
#[utoipa::path(get, path = "/{name}/versions/{version}", operation_id = "get_prompt_version",
    params(("name" = String, Path), ("version" = i64, Path)), responses(
    (status = 200, body = PromptVersionDetails),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn get_version(
    State(prompts): State<Prompts>,
    Path((name, version)): Path<(String, i64)>,
) -> Result<Json<PromptVersionDetails>, Error> {
    Ok(Json(prompts.version(&name, version).await?))
}

/// The versions that a label stands for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct LabelVersions {
    /// The versions. Of several, each tenant gets one by the weights, and keeps it.
    #[garde(length(min = 1, max = 10), dive)]
    #[schema(min_items = 1, max_items = 10)]
    versions: Vec<WeightedVersion>,
    /// The feature flag that decides instead: a tenant gets the version with the variant that the flag gives it. If no
    /// version has this variant, the weights decide.
    #[serde(default)]
    flag: Option<Text<1, 100>>,
}

/// Set a label of a prompt
///
/// The label `production` says which version is used. The change applies to requests from now on.
#[utoipa::path(put, path = "/{name}/labels/{label}", operation_id = "set_prompt_label",
    params(("name" = String, Path), ("label" = String, Path)), request_body = LabelVersions, responses(
    (status = 200, body = PromptLabel),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`TOO_MANY_PROMPT_LABELS`: delete one first."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`: a version does not exist, or a variant has no flag."),
))]
async fn set_label(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path((name, label)): Path<(String, String)>,
    Json(LabelVersions { versions, flag }): Json<LabelVersions>,
) -> Result<Json<PromptLabel>, Error> {
    if label.len() > 100 || is_prompt_name(&label, &()).is_err() {
        let message = "must consist of up to 100 lower case letters, digits, `.`, `_` and `-`";
        return Err(Error::invalid([FieldError::new("label", message)]));
    }
    Ok(Json(prompts.set_label(&caller, &name, &label, versions, flag.map(String::from)).await?))
}

/// Delete a label of a prompt
#[utoipa::path(delete, path = "/{name}/labels/{label}", operation_id = "delete_prompt_label",
    params(("name" = String, Path), ("label" = String, Path)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn delete_label(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path((name, label)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    prompts.delete_label(&caller, &name, &label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Roll back a label of a prompt
///
/// The label stands for the versions before its last change again, with the flag that it had then. A second rollback
/// undoes the first.
#[utoipa::path(post, path = "/{name}/labels/{label}/rollback", operation_id = "roll_back_prompt_label",
    params(("name" = String, Path), ("label" = String, Path)), responses(
    (status = 200, body = PromptLabel),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`NO_PREVIOUS_PROMPT_VERSION`: the label has not changed."),
))]
async fn roll_back(
    State(prompts): State<Prompts>,
    caller: Identity,
    Path((name, label)): Path<(String, String)>,
) -> Result<Json<PromptLabel>, Error> {
    Ok(Json(prompts.roll_back(&caller, &name, &label).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PromptUsageQuery {
    /// Only calls that began at this time or later.
    #[garde(skip)]
    since: Option<Timestamp>,
    /// Only calls that began before this time.
    #[garde(skip)]
    until: Option<Timestamp>,
}

/// The usage of a prompt.
#[derive(Debug, Serialize, ToSchema)]
struct PromptUsageReport {
    /// The usage by version, the newest first. Versions without calls are left out.
    versions: Vec<PromptUsage>,
}

/// Get the usage of a prompt
///
/// Calls, failures, cost and time by version.
#[utoipa::path(get, path = "/{name}/usage", operation_id = "get_prompt_usage",
    params(("name" = String, Path), PromptUsageQuery), responses(
    (status = 200, body = PromptUsageReport),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn usage(
    State(prompts): State<Prompts>,
    Path(name): Path<String>,
    Query(PromptUsageQuery { since, until }): Query<PromptUsageQuery>,
) -> Result<Json<PromptUsageReport>, Error> {
    let until = until.unwrap_or_else(|| Timestamp::from_micros(i64::MAX));
    let versions = prompts.usage(&name, since.unwrap_or_default(), until).await?;
    Ok(Json(PromptUsageReport { versions }))
}
