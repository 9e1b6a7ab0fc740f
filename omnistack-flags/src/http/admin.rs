//! `/api/v1/admin/feature-flags` and `/api/v1/admin/feature-segments`: management of flags by operators.

#![expect(unused_qualifications, reason = "what the macros make of a query's type")]

use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    Constraint, EvaluationContext, FlagChange, FlagDefinition, FlagReason, FlagRecord, Flags, Segment, TenantOverride,
    TenantOverrideRecord, UnleashImport, store::off_runtime,
};
use omnistack_core::{
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    identity::{Identity, Plan, TenantId},
    module::Api,
    text::Text,
};

pub(super) fn api() -> Api<Flags> {
    Api::new()
        .routes(routes!(list, create))
        .routes(routes!(import))
        .routes(routes!(get, replace, remove))
        .routes(routes!(history))
        .routes(routes!(kill, revive))
        .routes(routes!(evaluate))
        .routes(routes!(overrides))
        .routes(routes!(set_override, remove_override))
}

pub(super) fn segments() -> Api<Flags> {
    Api::new().routes(routes!(list_segments)).routes(routes!(save_segment, remove_segment))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FlagListQuery {
    /// Largest number of items to return, from 1 to 100. Defaults to 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 400))]
    #[param(max_length = 400)]
    cursor: Option<String>,
}

/// Returns a page of at most `limit` items; `found` holds one more if there is a next page.
fn page<T>(mut found: Vec<T>, limit: u32, next: impl FnOnce(&T) -> String) -> CursorPage<T> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > most;
    found.truncate(most);
    let next_cursor = found.last().filter(|_| more).map(next);
    CursorPage { items: found, next_cursor }
}

/// List feature flags
///
/// Sorted by key.
#[utoipa::path(get, path = "/", operation_id = "list_feature_flags", params(FlagListQuery),
    responses((status = 200, body = CursorPage<FlagRecord>)))]
async fn list(
    State(flags): State<Flags>,
    Query(query): Query<FlagListQuery>,
) -> Result<Json<CursorPage<FlagRecord>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let after = query.cursor.unwrap_or_default();
    if after.contains('\0') {
        return Err(Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]));
    }
    let found = flags.list(&after, limit + 1).await?;
    Ok(Json(page(found, limit, |last| last.key.clone())))
}

/// Create a feature flag
#[utoipa::path(post, path = "/", operation_id = "create_feature_flag", request_body = FlagDefinition, responses(
    (status = 201, body = FlagRecord),
    (status = 409, body = ErrorEnvelope, description = "A flag with this key already exists."),
    (status = 422, body = ErrorEnvelope, description = "The definition is invalid; each problem names a field."),
))]
async fn create(
    State(flags): State<Flags>,
    caller: Identity,
    Json(flag): Json<FlagDefinition>,
) -> Result<(StatusCode, Json<FlagRecord>), Error> {
    Ok((StatusCode::CREATED, Json(flags.create(flag, &caller).await?)))
}

/// Get a feature flag
#[utoipa::path(get, path = "/{key}", operation_id = "get_feature_flag", params(("key" = String, Path)), responses(
    (status = 200, body = FlagRecord),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(State(flags): State<Flags>, Path(key): Path<String>) -> Result<Json<FlagRecord>, Error> {
    Ok(Json(flags.get(&key).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReplaceQuery {
    /// Replace the flag only if it still has this revision.
    #[garde(skip)]
    revision: Option<i64>,
}

/// Replace a feature flag
#[utoipa::path(put, path = "/{key}", operation_id = "replace_feature_flag", request_body = FlagDefinition,
    params(("key" = String, Path), ReplaceQuery), responses(
    (status = 200, body = FlagRecord),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "The flag no longer has the given revision."),
    (status = 422, body = ErrorEnvelope, description = "The definition is invalid; each problem names a field."),
))]
async fn replace(
    State(flags): State<Flags>,
    caller: Identity,
    Path(key): Path<String>,
    Query(query): Query<ReplaceQuery>,
    Json(flag): Json<FlagDefinition>,
) -> Result<Json<FlagRecord>, Error> {
    if flag.key != key {
        return Err(Error::invalid([FieldError::new("key", "must be the key in the path: it can't be changed")]));
    }
    Ok(Json(flags.replace(flag, query.revision, &caller).await?))
}

/// Delete a feature flag
///
/// Its overrides are deleted too; its history is kept.
#[utoipa::path(delete, path = "/{key}", operation_id = "delete_feature_flag", params(("key" = String, Path)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Other flags depend on it."),
))]
async fn remove(State(flags): State<Flags>, caller: Identity, Path(key): Path<String>) -> Result<StatusCode, Error> {
    flags.delete(&key, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List a feature flag's changes
///
/// Newest first. The history of a deleted flag is kept.
#[utoipa::path(get, path = "/{key}/history", operation_id = "list_feature_flag_history",
    params(("key" = String, Path), FlagListQuery), responses((status = 200, body = CursorPage<FlagChange>)))]
async fn history(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    Query(query): Query<FlagListQuery>,
) -> Result<Json<CursorPage<FlagChange>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let before = query.cursor.as_deref().map(str::parse::<i64>).transpose();
    let before = before
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    let found = flags.history(&key, before, limit + 1).await?;
    Ok(Json(page(found, limit, |last| last.revision.to_string())))
}

/// Turn a feature flag off for every caller
///
/// Sets the kill switch, which takes precedence over overrides, and takes effect immediately.
#[utoipa::path(put, path = "/{key}/kill", operation_id = "kill_feature_flag", params(("key" = String, Path)), responses(
    (status = 200, body = FlagRecord),
    (status = 404, body = ErrorEnvelope),
))]
async fn kill(
    State(flags): State<Flags>,
    caller: Identity,
    Path(key): Path<String>,
) -> Result<Json<FlagRecord>, Error> {
    Ok(Json(flags.set_kill_switch(&key, true, &caller).await?))
}

/// Release a feature flag's kill switch
#[utoipa::path(delete, path = "/{key}/kill", operation_id = "revive_feature_flag", params(("key" = String, Path)),
    responses(
    (status = 200, body = FlagRecord),
    (status = 404, body = ErrorEnvelope),
))]
async fn revive(
    State(flags): State<Flags>,
    caller: Identity,
    Path(key): Path<String>,
) -> Result<Json<FlagRecord>, Error> {
    Ok(Json(flags.set_kill_switch(&key, false, &caller).await?))
}

/// Evaluation context: the caller to evaluate a flag for.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[garde(allow_unvalidated)]
struct FlagCaller {
    /// Id of the user.
    user: Option<Text<0, 200>>,
    /// Id of the session.
    session: Option<Text<0, 200>>,
    /// Id of the tenant.
    tenant: Option<Text<0, 200>>,
    /// The client's address.
    address: Option<Text<0, 200>>,
    /// Environment of the app. Defaults to the environment of this app.
    environment: Option<Text<0, 200>>,
    /// Key of the tenant's plan.
    plan: Option<Text<0, 200>>,
    /// Features included in the plan. At most 100.
    #[garde(length(max = 100))]
    #[schema(max_items = 100)]
    plan_features: Vec<Text<0, 200>>,
    /// Attributes of the app. At most 100.
    #[garde(length(max = 100))]
    attributes: BTreeMap<String, String>,
    /// Time of the evaluation. Defaults to now.
    at: Option<Timestamp>,
}

/// Result of evaluating a flag for a caller.
#[derive(Serialize, ToSchema)]
struct FlagPreview {
    /// Whether the flag is on.
    enabled: bool,
    /// Name of the variant; `null` if the flag is off or has no variants.
    #[schema(required)]
    variant: Option<String>,
    /// Reason why the flag is on or off.
    reason: FlagReason,
    /// Index of the rule that matched, counted from 0; `null` if no rule decided.
    #[schema(required)]
    rule: Option<usize>,
}

/// Evaluate a feature flag for a described caller
///
/// The evaluation is not recorded as an exposure.
#[utoipa::path(post, path = "/{key}/evaluate", operation_id = "evaluate_feature_flag", request_body = FlagCaller,
    params(("key" = String, Path)), responses((status = 200, body = FlagPreview)))]
async fn evaluate(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    Json(of): Json<FlagCaller>,
) -> Json<FlagPreview> {
    let features = of.plan_features.into_iter().map(String::from);
    let plan = of.plan.map(|plan| features.fold(Plan::new(String::from(plan)), Plan::feature));
    let here = flags.context();
    let context = match of.at {
        Some(at) => EvaluationContext::at(at).environment(here.environment),
        None => here,
    };
    let context = context
        .user(of.user.as_deref())
        .session(of.session.as_deref())
        .tenant(of.tenant.as_deref())
        .address(of.address.as_deref())
        .environment(of.environment.as_deref().or(here.environment))
        .plan(plan.as_ref())
        .attribute_map(&of.attributes);
    let evaluation = flags.evaluate(&key, &context);
    Json(FlagPreview {
        enabled: evaluation.enabled,
        variant: evaluation.variant.map(|variant| variant.name.clone()),
        reason: evaluation.reason,
        rule: evaluation.rule,
    })
}

/// Overrides of a flag.
#[derive(Serialize, ToSchema)]
struct FlagOverrideList {
    /// Overrides, sorted by tenant.
    items: Vec<TenantOverrideRecord>,
}

/// List a feature flag's overrides
#[utoipa::path(get, path = "/{key}/overrides", operation_id = "list_feature_flag_overrides",
    params(("key" = String, Path)), responses((status = 200, body = FlagOverrideList)))]
async fn overrides(State(flags): State<Flags>, Path(key): Path<String>) -> Result<Json<FlagOverrideList>, Error> {
    Ok(Json(FlagOverrideList { items: flags.overrides(&key).await? }))
}

/// Path parameters: the flag's key and the tenant's id.
#[derive(Debug, Deserialize)]
struct OverridePath {
    key: String,
    tenant: TenantId,
}

/// Override of a flag for a tenant.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewFlagOverride {
    /// Whether the flag is on for the tenant.
    enabled: bool,
    /// Name of the flag's variant that the tenant's callers get. If absent, each caller gets a variant by its
    /// weight.
    variant: Option<Text<0, 100>>,
}

/// Set a feature flag's override for a tenant
#[utoipa::path(put, path = "/{key}/overrides/{tenant}", operation_id = "set_feature_flag_override",
    request_body = NewFlagOverride, params(("key" = String, Path), ("tenant" = String, Path, format = Uuid)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn set_override(
    State(flags): State<Flags>,
    caller: Identity,
    Path(OverridePath { key, tenant }): Path<OverridePath>,
    Json(new): Json<NewFlagOverride>,
) -> Result<StatusCode, Error> {
    let given = TenantOverride { enabled: new.enabled, variant: new.variant.map(String::from) };
    flags.set_tenant_override(&key, tenant, Some(given), &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a feature flag's override for a tenant
#[utoipa::path(delete, path = "/{key}/overrides/{tenant}", operation_id = "delete_feature_flag_override",
    params(("key" = String, Path), ("tenant" = String, Path, format = Uuid)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn remove_override(
    State(flags): State<Flags>,
    caller: Identity,
    Path(OverridePath { key, tenant }): Path<OverridePath>,
) -> Result<StatusCode, Error> {
    flags.set_tenant_override(&key, tenant, None, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// State of Unleash: the response of its server at `/api/client/features`.
#[derive(Debug, Deserialize, Validate)]
#[serde(transparent)]
#[garde(allow_unvalidated)]
struct UnleashState(Value);

/// Result of an import.
#[derive(Serialize, ToSchema)]
struct FlagsImported {
    /// Keys of the imported flags.
    flags: Vec<String>,
    /// Names of the imported segments.
    segments: Vec<String>,
    /// Parts that are not supported, with their place: rules that match no caller.
    notes: Vec<String>,
}

/// Import feature flags from Unleash
///
/// Imported flags replace those with the same keys. Either all flags are imported or none.
#[utoipa::path(post, path = "/import", operation_id = "import_feature_flags", request_body = Value, responses(
    (status = 200, body = FlagsImported),
    (status = 422, body = ErrorEnvelope, description = "Not in Unleash's format, or a definition is invalid."),
))]
async fn import(
    State(flags): State<Flags>,
    caller: Identity,
    Json(UnleashState(state)): Json<UnleashState>,
) -> Result<Json<FlagsImported>, Error> {
    let import = off_runtime(move || UnleashImport::read(&state)).await?;
    let import = import.map_err(|problem| Error::invalid([problem]))?;
    let imported = FlagsImported {
        flags: import.flags.iter().map(|flag| flag.key.clone()).collect(),
        segments: import.segments.iter().map(|segment| segment.name.clone()).collect(),
        notes: import.notes.clone(),
    };
    flags.import(import, &caller).await?;
    Ok(Json(imported))
}

/// All segments.
#[derive(Serialize, ToSchema)]
struct FlagSegmentList {
    /// Segments, sorted by name.
    items: Vec<Segment>,
}

/// List segments
#[utoipa::path(get, path = "/", operation_id = "list_feature_segments", responses((status = 200, body = FlagSegmentList)))]
async fn list_segments(State(flags): State<Flags>) -> Result<Json<FlagSegmentList>, Error> {
    Ok(Json(FlagSegmentList { items: flags.segments().await? }))
}

/// Definition of a segment.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFlagSegment {
    /// Constraints, all of which must hold. At most 100.
    #[garde(skip)]
    #[schema(max_items = 100)]
    constraints: Vec<Constraint>,
}

/// Create or replace a segment
#[utoipa::path(put, path = "/{name}", operation_id = "save_feature_segment", request_body = NewFlagSegment,
    params(("name" = String, Path)), responses(
    (status = 200, body = Segment),
    (status = 422, body = ErrorEnvelope, description = "A constraint is invalid; each problem names a field."),
))]
async fn save_segment(
    State(flags): State<Flags>,
    caller: Identity,
    Path(name): Path<String>,
    Json(new): Json<NewFlagSegment>,
) -> Result<Json<Segment>, Error> {
    let segment = Segment { name, constraints: new.constraints };
    flags.save_segment(segment.clone(), &caller).await?;
    Ok(Json(segment))
}

/// Delete a segment
#[utoipa::path(delete, path = "/{name}", operation_id = "delete_feature_segment", params(("name" = String, Path)),
    responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Rules of flags use the segment."),
))]
async fn remove_segment(
    State(flags): State<Flags>,
    caller: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    flags.delete_segment(&name, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
