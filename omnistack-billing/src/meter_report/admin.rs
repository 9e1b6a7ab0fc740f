//! The routes of reports for operators: `/api/v1/admin/billing/meter-reports`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    identity::{Identity, TenantId},
    module::Api,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    reporter::{MeterReportId, MeterReporter},
    store::{self, MeterReportState, ReportRow},
};

/// Returns the routes.
pub(super) fn api() -> Api<MeterReporter> {
    Api::new().routes(routes!(list)).routes(routes!(status)).routes(routes!(resolve))
}

/// A report of usage to a payment provider.
#[derive(Debug, Serialize, ToSchema)]
struct UsageReportEntry {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    id: MeterReportId,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    tenant_id: TenantId,
    /// The environment.
    environment: DataEnvironment,
    /// The name of the meter.
    meter: String,
    /// The name of the provider.
    provider: String,
    /// The name of the meter at the provider.
    provider_meter: String,
    /// The id of the customer at the provider.
    customer: String,
    /// The amount: a decimal number.
    value: String,
    /// The identifier, by which the provider counts the report once.
    identifier: String,
    /// When the usage took place.
    at: Timestamp,
    /// The state.
    state: MeterReportState,
    /// The number of attempts with this identifier.
    attempts: i32,
    /// The reason of the last failure; `null` if there is none.
    #[schema(required)]
    error: Option<String>,
    /// When the report was made.
    created_at: Timestamp,
    /// When the report was changed.
    updated_at: Timestamp,
}

impl From<ReportRow> for UsageReportEntry {
    fn from(row: ReportRow) -> Self {
        Self {
            state: row.state(),
            environment: row.environment(),
            id: row.id,
            tenant_id: row.tenant_id,
            meter: row.meter,
            provider: row.provider,
            provider_meter: row.provider_meter,
            customer: row.customer,
            value: row.value,
            identifier: row.identifier,
            at: row.at,
            attempts: row.attempts,
            error: row.error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MeterReportsQuery {
    /// Only reports in this state.
    #[garde(skip)]
    state: Option<MeterReportState>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List reports of usage to payment providers
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_meter_reports", params(MeterReportsQuery), responses(
    (status = 200, body = CursorPage<UsageReportEntry>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(reporter): State<MeterReporter>,
    Query(MeterReportsQuery { state, limit, cursor }): Query<MeterReportsQuery>,
) -> Result<Json<CursorPage<UsageReportEntry>>, Error> {
    let before = cursor.map(|cursor| cursor.parse::<MeterReportId>()).transpose();
    let before = before
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    // Operators see the reports of all tenants.
    let mut tx = reporter.0.db.all_tenants().begin_read().await?;
    let mut rows = store::newest(&mut tx, state, before, i64::from(limit) + 1).await?;
    tx.commit().await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > size;
    rows.truncate(size);
    let next_cursor = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(CursorPage { items: rows.into_iter().map(Into::into).collect(), next_cursor }))
}

/// The reports that are not sent, by their state.
#[derive(Debug, Serialize, ToSchema)]
struct MeterReporterStatus {
    /// The states with reports, by their names.
    states: Vec<OpenReports>,
}

/// The reports in a state.
#[derive(Debug, Serialize, ToSchema)]
struct OpenReports {
    /// The state: `pending`, `unknown`, `failed` or `unresolved`.
    state: String,
    /// The number of reports.
    reports: i64,
    /// When the oldest was made.
    oldest_at: Timestamp,
}

/// Get the state of the reporter of usage
///
/// The number of reports that are not sent, and the time of the oldest, by their state.
#[utoipa::path(get, path = "/status", operation_id = "get_meter_reporter_status", responses(
    (status = 200, body = MeterReporterStatus)))]
async fn status(State(reporter): State<MeterReporter>) -> Result<Json<MeterReporterStatus>, Error> {
    // Operators see the reports of all tenants.
    let mut tx = reporter.0.db.all_tenants().begin_read().await?;
    let counts = store::open_counts(&mut tx).await?;
    tx.commit().await?;
    let states = counts.into_iter().map(|count| {
        let store::StateCount { state, reports, oldest_at } = count;
        OpenReports { state, reports, oldest_at }
    });
    Ok(Json(MeterReporterStatus { states: states.collect() }))
}

/// Whether the provider has counted a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MeterReportResolution {
    /// The provider has counted it: it is not sent again.
    Counted,
    /// The provider has not counted it: it is sent again with another identifier.
    NotCounted,
}

/// The finding of an operator about a report.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct MeterReportDecision {
    /// Whether the provider has counted it.
    #[garde(skip)]
    resolution: MeterReportResolution,
}

/// Resolve a report of usage
///
/// The report must be `failed` or `unresolved`: rejected by the provider, or not known to be counted. Compare it with
/// the provider's summary of the meter first.
#[utoipa::path(post, path = "/{id}/resolve", operation_id = "resolve_meter_report", request_body = MeterReportDecision,
    params(("id" = String, Path, format = Uuid, description = "The report.")), responses(
    (status = 200, body = UsageReportEntry),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`METER_REPORT_NOT_OPEN`: it is neither failed nor unresolved.")))]
async fn resolve(
    State(reporter): State<MeterReporter>,
    caller: Identity,
    Path(id): Path<MeterReportId>,
    Json(MeterReportDecision { resolution }): Json<MeterReportDecision>,
) -> Result<Json<UsageReportEntry>, Error> {
    let now = reporter.now();
    // Operators see the reports of all tenants.
    let mut tx = reporter.0.db.all_tenants().begin().await?;
    let is_open = match resolution {
        MeterReportResolution::Counted => store::set_counted(&mut tx, id, now).await?,
        MeterReportResolution::NotCounted => store::send_again(&mut tx, id, now).await?,
    };
    let row = store::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("the report"))?;
    if !is_open {
        let message = "the report is neither failed nor unresolved: there is nothing to resolve; read its state again";
        return Err(Error::conflict("METER_REPORT_NOT_OPEN", message));
    }
    let entry = AuditEntry::new("meter_report.resolved").actor(&caller).for_tenant(row.tenant_id);
    let entry = entry.resource("meter_report", id).details(json!({ "resolution": resolution }));
    reporter.0.log.record_in(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Json(row.into()))
}
