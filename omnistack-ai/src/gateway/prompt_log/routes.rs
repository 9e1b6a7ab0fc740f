//! The routes of the prompt log: `/api/v1/app/ai/prompt-log`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query},
    identity::{Identity, Require},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{PromptLog, PromptLogDetails, PromptLogEntry, PromptLogSettings};
use crate::call::CallId;

/// The permission to read the log and to change its settings.
const MANAGE: &str = "ai:manage";

/// Returns the routes.
pub(crate) fn api() -> Api<PromptLog> {
    Api::new()
        .require(Require::permission(MANAGE), routes!(get_settings, change_settings))
        .require(Require::permission(MANAGE), routes!(list, clear))
        .require(Require::permission(MANAGE), routes!(get))
}

/// Get the settings of the prompt log
///
/// Prompts and answers are not logged unless the tenant has enabled it. Needs `ai:manage`.
#[utoipa::path(get, path = "/settings", operation_id = "get_prompt_log_settings", responses(
    (status = 200, body = PromptLogSettings)))]
async fn get_settings(State(log): State<PromptLog>, caller: Identity) -> Result<Json<PromptLogSettings>, Error> {
    Ok(Json(log.settings(caller.require_tenant()?).await?))
}

/// The settings to store.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePromptLogSettings {
    /// Whether prompts and answers are logged from now on.
    #[garde(skip)]
    enabled: bool,
    /// The days after which a new entry is deleted, 1 to 365.
    #[garde(range(min = 1, max = 365))]
    #[schema(minimum = 1, maximum = 365)]
    retention_days: i32,
}

/// Change the settings of the prompt log
///
/// Entries that exist are kept until their time is over; delete them if they are no longer wanted. Needs `ai:manage`.
#[utoipa::path(put, path = "/settings", operation_id = "change_prompt_log_settings",
    request_body = ChangePromptLogSettings, responses(
    (status = 200, body = PromptLogSettings),
    (status = 422, body = ErrorEnvelope)))]
async fn change_settings(
    State(log): State<PromptLog>,
    caller: Identity,
    Json(ChangePromptLogSettings { enabled, retention_days }): Json<ChangePromptLogSettings>,
) -> Result<Json<PromptLogSettings>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(log.change(&caller, PromptLogSettings { enabled, retention_days }).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PromptLogQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List logged prompts
///
/// Newest first, without their texts. Needs `ai:manage`.
#[utoipa::path(get, path = "/", operation_id = "list_logged_prompts", params(PromptLogQuery), responses(
    (status = 200, body = CursorPage<PromptLogEntry>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(log): State<PromptLog>,
    caller: Identity,
    Query(PromptLogQuery { limit, cursor }): Query<PromptLogQuery>,
) -> Result<Json<CursorPage<PromptLogEntry>>, Error> {
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(log.list(caller.require_tenant()?, cursor.as_deref(), limit).await?))
}

/// Get a logged prompt
///
/// The response has the texts. Needs `ai:manage`.
#[utoipa::path(get, path = "/{id}", operation_id = "get_logged_prompt",
    params(("id" = String, Path, format = Uuid, description = "The id of the call.")), responses(
    (status = 200, body = PromptLogDetails),
    (status = 404, body = ErrorEnvelope)))]
async fn get(
    State(log): State<PromptLog>,
    caller: Identity,
    Path(id): Path<CallId>,
) -> Result<Json<PromptLogDetails>, Error> {
    Ok(Json(log.get(caller.require_tenant()?, id).await?))
}

/// The result of a deletion.
#[derive(Debug, Serialize, ToSchema)]
struct ClearedPromptLog {
    /// The number of entries that were deleted.
    deleted: u64,
}

/// Delete all logged prompts
///
/// Needs `ai:manage`.
#[utoipa::path(delete, path = "/", operation_id = "clear_prompt_log", responses(
    (status = 200, body = ClearedPromptLog)))]
async fn clear(State(log): State<PromptLog>, caller: Identity) -> Result<Json<ClearedPromptLog>, Error> {
    let deleted = log.clear(&caller).await?;
    Ok(Json(ClearedPromptLog { deleted }))
}
