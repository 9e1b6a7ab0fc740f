//! The routes of the ledger for operators: `/api/v1/admin/usage`.

use axum::extract::State;
use garde::Validate;
use http::StatusCode;
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    http::{Error, ErrorEnvelope, FieldError, Json, Path},
    identity::{Identity, TenantId},
    jobs::Jobs,
    module::{Api, Context, MissingDependency},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Ledger,
    backfill::CountUnmatched,
    event::{EventPolicy, NewUsage},
    routes::{ReportedUsage, UsageReportResult},
    unmatched::UnmatchedUsage,
};
use crate::account::schedule::AccountLock;

/// State of the routes.
#[derive(Clone)]
pub(super) struct LedgerAdmin {
    ledger: Ledger,
    jobs: Jobs,
    log: AuditLog,
}

pub(super) fn state(ctx: &Context) -> Result<LedgerAdmin, MissingDependency> {
    Ok(LedgerAdmin { ledger: ctx.get()?, jobs: ctx.get()?, log: ctx.get()? })
}

pub(super) fn api() -> Api<LedgerAdmin> {
    Api::new().routes(routes!(backfill)).routes(routes!(unmatched)).routes(routes!(count_unmatched))
}

/// The billing of usage whose billing period is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BackfillBilling {
    /// It is not billed.
    #[default]
    None,
    /// It is billed in the current period, as late usage.
    NextPeriod,
}

/// Events of the past.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct UsageBackfill {
    /// The tenant.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    tenant: TenantId,
    /// Whether it is real usage, or that of a test. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    environment: DataEnvironment,
    /// The billing of events of closed billing periods. Default: `none`.
    #[garde(skip)]
    #[serde(default)]
    billing: BackfillBilling,
    /// The events, 1 to 1,000.
    #[garde(length(min = 1, max = 1000), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<ReportedUsage>,
}

/// Enter past usage
///
/// Stores events of any time in the past, each once.
#[utoipa::path(post, path = "/backfill", operation_id = "backfill_usage", request_body = UsageBackfill, responses(
    (status = 200, body = UsageReportResult),
    (status = 422, body = ErrorEnvelope),
))]
async fn backfill(
    State(state): State<LedgerAdmin>,
    caller: Identity,
    Json(UsageBackfill { tenant, environment, billing, events }): Json<UsageBackfill>,
) -> Result<Json<UsageReportResult>, Error> {
    let LedgerAdmin { ledger, log, .. } = state;
    let now = ledger.clock().now();
    let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
    let new: Vec<_> =
        events.into_iter().map(|event| NewUsage::new(event.into_event(tenant, environment, now), true)).collect();
    let policy = EventPolicy::Backfill { billed: billing == BackfillBilling::NextPeriod };
    let checked = ledger.check(&new, policy);
    let mut tx = ledger.db().tenant(tenant).begin().await?;
    let outcomes = ledger.record(&mut tx, checked, AccountLock::Shared).await?;
    let entry = AuditEntry::new("usage.backfilled").actor(&caller).for_tenant(tenant);
    log.record_in(&mut tx, entry.details(json!({ "events": ids.len() }))).await?;
    tx.commit().await?;
    Ok(Json(UsageReportResult::new(ids, outcomes)))
}

/// List events of unknown meters
///
/// They are those of all tenants, by the name of the meter.
#[utoipa::path(get, path = "/unmatched", operation_id = "list_unmatched_usage", responses(
    (status = 200, body = UnmatchedUsage),
))]
async fn unmatched(State(state): State<LedgerAdmin>) -> Result<Json<UnmatchedUsage>, Error> {
    Ok(Json(state.ledger.unmatched(None).await?))
}

/// The events of an unknown meter to count.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnmatchedSelection {
    /// Only events used at this time or later. Default: all.
    #[garde(skip)]
    #[serde(default)]
    since: Option<Timestamp>,
    /// The billing of events of closed billing periods. Default: `none`.
    #[garde(skip)]
    #[serde(default)]
    billing: BackfillBilling,
}

/// The job that counts events.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct UnmatchedJob {
    /// The id of the job.
    job: String,
}

/// Count events of a meter that was unknown
///
/// A job counts the events that were stored before the app had the meter.
#[utoipa::path(post, path = "/unmatched/{meter}/count", operation_id = "count_unmatched_usage",
    params(("meter" = String, Path, max_length = 50)), request_body = UnmatchedSelection, responses(
    (status = 202, body = UnmatchedJob),
    (status = 422, body = ErrorEnvelope),
))]
async fn count_unmatched(
    State(state): State<LedgerAdmin>,
    caller: Identity,
    Path(meter): Path<String>,
    Json(UnmatchedSelection { since, billing }): Json<UnmatchedSelection>,
) -> Result<(StatusCode, Json<UnmatchedJob>), Error> {
    let LedgerAdmin { ledger, jobs, log } = state;
    if ledger.meters().get(&meter).is_none() {
        let message = "the app has no such meter: declare it, and deploy the app first";
        return Err(Error::invalid([FieldError::new("meter", message)]));
    }
    let since = since.unwrap_or_default();
    let job = CountUnmatched { meter: meter.clone(), since, billed: billing == BackfillBilling::NextPeriod };
    let mut tx = ledger.db().begin().await?;
    let enqueued = jobs.enqueue_in(&mut tx, job).await?;
    let entry = AuditEntry::new("usage.unmatched_counted").actor(&caller).for_app();
    log.record_in(&mut tx, entry.details(json!({ "meter": meter, "since": since }))).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(UnmatchedJob { job: enqueued.id.to_string() })))
}
