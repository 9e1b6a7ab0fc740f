//! The routes of fixes: `/api/v1/app/fixes`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    http::{Error, ErrorEnvelope, Json, Path, Query, StatusCode},
    identity::{Identity, UserId},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    ledger::FixLedgerEntry,
    model::{CodeFix, FindingSeverity, FixFinding, FixFindingId, FixId},
    service::{Fixes, NewFinding},
    state::{DeliveryTarget, FixStatus},
};

/// Returns the routes.
pub(super) fn api() -> Api<Fixes> {
    Api::new()
        .routes(routes!(create_result))
        .routes(routes!(generate))
        .routes(routes!(list_of_result))
        .routes(routes!(get))
        .routes(routes!(ledger))
        .routes(routes!(approve))
        .routes(routes!(apply))
        .routes(routes!(create_pull_request))
}

/// A finding in code, for which fixes can be generated.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewFixFinding {
    /// The repository, such as `owner/name`. If absent, `code` is required, and the caller applies fixes itself.
    #[serde(default)]
    repository: Option<Text<3, 200>>,
    /// The branch; required with `repository`.
    #[serde(default)]
    branch: Option<Text<1, 200>>,
    /// The path of the file in the repository.
    path: Text<1, 500>,
    /// The first line of the finding, counted from 1.
    #[garde(range(min = 1, max = 10_000_000))]
    #[schema(minimum = 1, maximum = 10_000_000)]
    start_line: u32,
    /// The last line of the finding.
    #[garde(range(min = 1, max = 10_000_000))]
    #[schema(minimum = 1, maximum = 10_000_000)]
    end_line: u32,
    /// The rule that the code breaks, such as `rust/unwrap`.
    rule: Text<1, 200>,
    /// The severity.
    severity: FindingSeverity,
    /// A description of the problem.
    message: Text<1, 4_000>,
    /// The whole file. If absent, it is read from the repository.
    #[serde(default)]
    code: Option<Text<0, 500_000>>,
}

/// Create a result
///
/// Adds a finding in code, for which fixes can be generated. Needs `fixes:write`.
#[utoipa::path(post, path = "/results", operation_id = "create_fix_result", request_body = NewFixFinding,
    responses((status = 201, body = FixFinding), (status = 422, body = ErrorEnvelope)))]
async fn create_result(
    State(fixes): State<Fixes>,
    caller: Identity,
    Json(new): Json<NewFixFinding>,
) -> Result<(StatusCode, Json<FixFinding>), Error> {
    let NewFixFinding { repository, branch, path, start_line, end_line, rule, severity, message, code } = new;
    let new = NewFinding {
        repository: repository.map(String::from),
        branch: branch.map(String::from),
        path: path.into(),
        start_line,
        end_line,
        rule: rule.into(),
        severity,
        message: message.into(),
        code: code.map(String::from),
    };
    Ok((StatusCode::CREATED, Json(fixes.add_finding(&caller, new).await?)))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GenerateFixQuery {
    /// The only provider to ask, such as `openai`. Default: those of the app's route for fixes.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    provider: Option<String>,
}

/// A fix that is queued.
#[derive(Debug, Serialize, ToSchema)]
struct QueuedFix {
    /// The status: `queued`.
    status: FixStatus,
    /// The id of the fix.
    #[schema(value_type = String, format = Uuid)]
    fix_id: FixId,
}

/// Generate a fix
///
/// A model is asked for a patch in the background. Its progress is on the realtime channel `fix:ID` of the tenant.
/// Needs `fixes:write`.
#[utoipa::path(post, path = "/generate/{result_id}", operation_id = "generate_fix",
    params(("result_id" = String, Path, format = Uuid, description = "The result."), GenerateFixQuery), responses(
    (status = 202, description = "The fix is queued.", body = QueuedFix),
    (status = 402, description = "`PLAN_LIMIT_REACHED`: the plan allows no further fix this month (`ai_fixes`).",
        body = ErrorEnvelope),
    (status = 404, description = "The tenant has no such result.", body = ErrorEnvelope),
    (status = 422, description = "`FIX_FORBIDDEN`: the policy protects the file.", body = ErrorEnvelope),
    (status = 429, description = "`TOO_MANY_FIXES`: too many fixes wait.", body = ErrorEnvelope)),
    extensions(("x-agent-tool" = json!(true))))]
async fn generate(
    State(fixes): State<Fixes>,
    caller: Identity,
    Path(result): Path<FixFindingId>,
    Query(query): Query<GenerateFixQuery>,
) -> Result<(StatusCode, Json<QueuedFix>), Error> {
    let fix_id = fixes.generate(&caller, result, query.provider).await?;
    Ok((StatusCode::ACCEPTED, Json(QueuedFix { status: FixStatus::Queued, fix_id })))
}

/// A result with its newest fixes, at most 20.
#[derive(Debug, Serialize, ToSchema)]
struct ResultWithFixes {
    /// The result.
    result: FixFinding,
    /// The fixes, the newest first.
    fixes: Vec<CodeFix>,
}

/// List the fixes of a result
///
/// Needs `fixes:read`.
#[utoipa::path(get, path = "/result/{result_id}/all", operation_id = "list_fixes_of_result",
    params(("result_id" = String, Path, format = Uuid, description = "The result.")), responses(
    (status = 200, body = ResultWithFixes),
    (status = 404, description = "The tenant has no such result.", body = ErrorEnvelope)),
    extensions(("x-agent-tool" = json!(true))))]
async fn list_of_result(
    State(fixes): State<Fixes>,
    caller: Identity,
    Path(result): Path<FixFindingId>,
) -> Result<Json<ResultWithFixes>, Error> {
    let (result, fixes) = fixes.of_finding(caller.require_tenant()?, result).await?;
    Ok(Json(ResultWithFixes { result, fixes }))
}

/// Get a fix
///
/// Needs `fixes:read`.
#[utoipa::path(get, path = "/{fix_id}", operation_id = "get_fix",
    params(("fix_id" = String, Path, format = Uuid, description = "The fix.")), responses(
    (status = 200, body = CodeFix),
    (status = 404, description = "The tenant has no such fix.", body = ErrorEnvelope)),
    extensions(("x-agent-tool" = json!(true))))]
async fn get(State(fixes): State<Fixes>, caller: Identity, Path(fix): Path<FixId>) -> Result<Json<CodeFix>, Error> {
    Ok(Json(fixes.get(caller.require_tenant()?, fix).await?))
}

/// An event in the run of a fix.
#[derive(Debug, Serialize, ToSchema)]
struct FixLedgerItem {
    /// The number, counted from 1.
    sequence: i64,
    /// The time.
    at: Timestamp,
    /// The user; `null` for the app itself.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    actor: Option<UserId>,
    /// The event. `kind` names it.
    #[schema(value_type = Object)]
    event: Value,
    /// The hash of the event before, in hexadecimal digits.
    #[schema(value_type = String)]
    previous: Sha256,
    /// The hash of this event.
    #[schema(value_type = String)]
    hash: Sha256,
}

impl From<FixLedgerEntry> for FixLedgerItem {
    fn from(entry: FixLedgerEntry) -> Self {
        let FixLedgerEntry { sequence, at, actor, data, previous, hash } = entry;
        let event = serde_json::from_str(&data).unwrap_or(Value::String(data));
        Self { sequence, at, actor, event, previous, hash }
    }
}

/// The ledger of a fix.
#[derive(Debug, Serialize, ToSchema)]
struct FixLedger {
    /// Whether the hashes are right, and the events lead to the state of the fix.
    verified: bool,
    /// The reason why the ledger is not verified.
    #[schema(required)]
    problem: Option<String>,
    /// The events, the oldest first.
    entries: Vec<FixLedgerItem>,
}

/// Get the ledger of a fix
///
/// The events of the run, each with the hash of the one before. Needs `fixes:read`.
#[utoipa::path(get, path = "/{fix_id}/ledger", operation_id = "get_fix_ledger",
    params(("fix_id" = String, Path, format = Uuid, description = "The fix.")), responses(
    (status = 200, body = FixLedger),
    (status = 404, description = "The tenant has no such fix.", body = ErrorEnvelope)))]
async fn ledger(
    State(fixes): State<Fixes>,
    caller: Identity,
    Path(fix): Path<FixId>,
) -> Result<Json<FixLedger>, Error> {
    let (entries, verified) = fixes.ledger(caller.require_tenant()?, fix).await?;
    let entries = entries.into_iter().map(FixLedgerItem::from).collect();
    Ok(Json(FixLedger { verified: verified.is_ok(), problem: verified.err(), entries }))
}

/// Approve a fix
///
/// Only a user can approve a fix, in person. Needs `fixes:approve`.
#[utoipa::path(post, path = "/{fix_id}/approve", operation_id = "approve_fix",
    params(("fix_id" = String, Path, format = Uuid, description = "The fix.")), responses(
    (status = 200, body = CodeFix),
    (status = 404, description = "The tenant has no such fix.", body = ErrorEnvelope),
    (status = 409, description = "`FIX_STATE_CONFLICT`: the fix does not wait for approval.", body = ErrorEnvelope)))]
async fn approve(State(fixes): State<Fixes>, caller: Identity, Path(fix): Path<FixId>) -> Result<Json<CodeFix>, Error> {
    Ok(Json(fixes.approve(&caller, fix).await?))
}

/// Apply a fix
///
/// Commits the approved patch to the branch of the result, in the background. Without a repository, records that the
/// caller applies it. Needs `fixes:apply`.
#[utoipa::path(post, path = "/{fix_id}/apply", operation_id = "apply_fix",
    params(("fix_id" = String, Path, format = Uuid, description = "The fix.")), responses(
    (status = 202, description = "The patch is being applied.", body = CodeFix),
    (status = 404, description = "The tenant has no such fix.", body = ErrorEnvelope),
    (status = 409, description = "`FIX_NOT_APPROVED`, `FIX_STATE_CONFLICT` or `FIX_LEDGER_BROKEN`",
        body = ErrorEnvelope),
    (status = 422, description = "`CODE_HOST_MISSING`", body = ErrorEnvelope)))]
async fn apply(
    State(fixes): State<Fixes>,
    caller: Identity,
    Path(fix): Path<FixId>,
) -> Result<(StatusCode, Json<CodeFix>), Error> {
    Ok((StatusCode::ACCEPTED, Json(fixes.deliver(&caller, fix, DeliveryTarget::Branch).await?)))
}

/// Create a pull request
///
/// Opens a pull request with the approved patch, in the background. Needs `fixes:apply`.
#[utoipa::path(post, path = "/{fix_id}/create-pr", operation_id = "create_fix_pull_request",
    params(("fix_id" = String, Path, format = Uuid, description = "The fix.")), responses(
    (status = 202, description = "The pull request is being opened.", body = CodeFix),
    (status = 404, description = "The tenant has no such fix.", body = ErrorEnvelope),
    (status = 409, description = "`FIX_NOT_APPROVED`, `FIX_STATE_CONFLICT` or `FIX_LEDGER_BROKEN`",
        body = ErrorEnvelope),
    (status = 422, description = "`CODE_HOST_MISSING` or `REPOSITORY_REQUIRED`", body = ErrorEnvelope)))]
async fn create_pull_request(
    State(fixes): State<Fixes>,
    caller: Identity,
    Path(fix): Path<FixId>,
) -> Result<(StatusCode, Json<CodeFix>), Error> {
    Ok((StatusCode::ACCEPTED, Json(fixes.deliver(&caller, fix, DeliveryTarget::PullRequest).await?)))
}
