//! The routes with which programs report usage: `/api/v1/app/usage/events`.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, State},
};
use garde::Validate;
use http::{StatusCode, header};
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, FieldError, Json},
    identity::{Identity, UserId},
    module::Api,
    usage::{DataEnvironment, UsageEvent},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Ledger,
    event::{NewUsage, REPORTED_SOURCE_PREFIX, RejectReason, UsageOutcome},
    unmatched::UnmatchedUsage,
};
use crate::quantity::Quantity;

/// The source of events that name none.
const DEFAULT_SOURCE: &str = "api";

pub(super) fn api() -> Api<Ledger> {
    Api::new().routes(routes!(ingest)).routes(routes!(unmatched))
}

/// An event to report.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportedUsage {
    /// The id of the event. Of the events with the same source and id, one counts: derive it from what happened, not
    /// from the attempt to report it. An id is known for `USAGE_KEEP_EVENTS`, 400 days by default. An event that is
    /// sent again afterwards is too old if it has `at`, and counts again if it has not.
    #[garde(length(bytes, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    id: String,
    /// The name of the meter. Tenants can report the meters that have `reported_by_tenants` in the list of meters.
    #[garde(length(bytes, min = 1, max = 50))]
    #[schema(min_length = 1, max_length = 50)]
    meter: String,
    /// The amount. A tenant reports no negative ones. Default: 1.
    #[garde(skip)]
    #[serde(default)]
    quantity: Option<Quantity>,
    /// The time of use. Default: now. Set it if the event may be sent again after `USAGE_KEEP_EVENTS`.
    #[garde(skip)]
    #[serde(default)]
    at: Option<Timestamp>,
    /// A category to group by, such as the model or the file type.
    #[garde(length(bytes, min = 1, max = 200))]
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    category: Option<String>,
    /// The user. It is an opaque reference to group by: the app does not check that the user is a member of the tenant.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    user: Option<UserId>,
    /// The system that reports the event. Default: `api`.
    #[garde(length(bytes, min = 1, max = 200))]
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    source: Option<String>,
}

/// Events to report.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageReport {
    /// The events, 1 to 1,000.
    #[garde(length(min = 1, max = 1000), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<ReportedUsage>,
    /// Whether it is real usage, or that of a test. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    environment: DataEnvironment,
}

/// The result of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReportedUsageResult {
    /// The id of the event.
    id: String,
    /// `accepted`; `late` if it is billed in the current billing period, because its own is closed; `duplicate` if it was
    /// stored before; `conflict` if another event was stored with its source and id; `unmatched` if there is no such
    /// meter; `rejected`.
    status: &'static str,
    /// The error of an event with the status `conflict`, `unmatched` or `rejected`; `null` for others.
    #[schema(required)]
    error: Option<ReportedUsageError>,
}

/// The error of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReportedUsageError {
    /// The HTTP status that the event alone would have.
    status: u16,
    /// A code for programs.
    code: &'static str,
    /// A sentence that says what is wrong, and what to do.
    message: String,
}

/// The results of a report.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct UsageReportResult {
    /// The results, in the order of the events.
    events: Vec<ReportedUsageResult>,
    /// The number of results by status.
    counts: BTreeMap<&'static str, u32>,
}

impl UsageReportResult {
    pub(super) fn new(ids: Vec<String>, outcomes: Vec<UsageOutcome>) -> Self {
        let mut counts = BTreeMap::new();
        let events = ids.into_iter().zip(outcomes).map(|(id, outcome)| {
            *counts.entry(outcome.as_str()).or_default() += 1;
            ReportedUsageResult { id, status: outcome.as_str(), error: error_of(outcome) }
        });
        let events = events.collect();
        Self { events, counts }
    }
}

fn error_of(outcome: UsageOutcome) -> Option<ReportedUsageError> {
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let (status, code, message) = match outcome {
        UsageOutcome::Accepted { .. } | UsageOutcome::Duplicate => return None,
        UsageOutcome::Conflict => {
            let message = "another event was stored with this source and id: use a new id for another event";
            (StatusCode::CONFLICT, "USAGE_EVENT_CONFLICT", message.to_owned())
        }
        UsageOutcome::Unmatched => {
            let message = "there is no such meter: the event is stored, and does not count";
            (unprocessable, "USAGE_METER_UNKNOWN", message.to_owned())
        }
        UsageOutcome::Rejected(reason) => {
            let (status, code) = match reason {
                RejectReason::TooOld | RejectReason::PeriodClosed => (unprocessable, "USAGE_EVENT_TOO_LATE"),
                RejectReason::InFuture => (unprocessable, "USAGE_EVENT_IN_FUTURE"),
                RejectReason::NotReportable => (StatusCode::FORBIDDEN, "USAGE_METER_NOT_REPORTABLE"),
                RejectReason::TenantDeleted => (StatusCode::GONE, "USAGE_TENANT_DELETED"),
                RejectReason::TooPrecise
                | RejectReason::TooLarge
                | RejectReason::NotCountable
                | RejectReason::Negative => (unprocessable, "USAGE_QUANTITY_INVALID"),
                RejectReason::InvalidName => (unprocessable, "USAGE_EVENT_INVALID"),
            };
            (status, code, reason.to_string())
        }
    };
    Some(ReportedUsageError { status: status.as_u16(), code, message })
}

/// Report usage
///
/// Stores events of other systems, each once for as long as its id is known: `USAGE_KEEP_EVENTS`, 400 days by default.
/// The results are in the order of the events; one that is not stored keeps no other out. An event of a meter that
/// takes no reports of tenants is rejected. The body is `application/json`, or events of CloudEvents 1.0: `application/cloudevents+json` for one,
/// `application/cloudevents-batch+json` for several. Of a CloudEvent, `type` is the meter, `data.quantity`,
/// `data.category` and `data.user` are those of the event.
#[utoipa::path(post, path = "/events", operation_id = "report_usage", request_body(content(
    (UsageReport = "application/json"),
    (CloudEvent = "application/cloudevents+json"),
    (Vec<CloudEvent> = "application/cloudevents-batch+json"),
)), responses(
    (status = 200, body = UsageReportResult),
    (status = 403, body = ErrorEnvelope, description = "`IMPERSONATION_REFUSED`: the tenant would be billed for it."),
    (status = 415, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope),
))]
async fn ingest(
    State(ledger): State<Ledger>,
    caller: Identity,
    ReportBody(UsageReport { events, environment }): ReportBody,
) -> Result<Json<UsageReportResult>, Error> {
    // The tenant is billed for it.
    caller.deny_impersonation()?;
    let tenant = caller.require_tenant()?;
    let now = ledger.clock().now();
    let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    let new = events.into_iter().map(|event| {
        let is_timed = event.at.is_some();
        NewUsage::reported(event.into_event(tenant, environment, now).api_key(caller.api_key), is_timed)
    });
    let outcomes = ledger.0.intake.ingest(&ledger, new.collect()).await?;
    Ok(Json(UsageReportResult::new(ids, outcomes)))
}

impl ReportedUsage {
    /// Creates the event of a tenant.
    pub(super) fn into_event(
        self,
        tenant: omnistack_core::identity::TenantId,
        environment: DataEnvironment,
        now: Timestamp,
    ) -> UsageEvent {
        let Self { id, meter, quantity, at, category, user, source } = self;
        let quantity = quantity.unwrap_or_else(|| 1.into()).0;
        let source = format!("{REPORTED_SOURCE_PREFIX}{}", source.as_deref().unwrap_or(DEFAULT_SOURCE));
        let mut event = UsageEvent::new(tenant, meter, quantity, at.unwrap_or(now)).once(source, id);
        (event.category, event.user, event.environment) = (category.map(Into::into), user, environment);
        event
    }

    /// Returns the id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// List events of unknown meters
///
/// They are stored and count nowhere. An operator can count them once the app has the meter.
#[utoipa::path(get, path = "/unmatched", operation_id = "list_unmatched_usage", responses(
    (status = 200, body = UnmatchedUsage),
))]
async fn unmatched(State(ledger): State<Ledger>, caller: Identity) -> Result<Json<UnmatchedUsage>, Error> {
    Ok(Json(ledger.unmatched(Some(caller.require_tenant()?)).await?))
}

/// A report as JSON or CloudEvents.
struct ReportBody(UsageReport);

impl<S: Send + Sync> FromRequest<S> for ReportBody {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_batch = match kind.as_str() {
            "application/cloudevents+json" => false,
            "application/cloudevents-batch+json" => true,
            _ => return Json::<UsageReport>::from_request(request, state).await.map(|Json(report)| Self(report)),
        };
        let body = Bytes::from_request(request, state).await?;
        let events: Vec<CloudEvent> = if is_batch { parse(&body)? } else { vec![parse(&body)?] };
        let report = UsageReport {
            events: events.into_iter().map(ReportedUsage::from).collect(),
            environment: DataEnvironment::Live,
        };
        report.validate().map_err(|problems| {
            Error::invalid(
                problems.iter().map(|(path, problem)| FieldError::new(path.to_string(), problem.to_string())),
            )
        })?;
        Ok(Self(report))
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            Error::invalid([FieldError::new("body", format!("is no CloudEvent: {error}"))])
        }
        _ => Error::bad_request("MALFORMED_JSON", "the body is not JSON"),
    })
}

/// An event of CloudEvents 1.0 in its JSON format.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct CloudEvent {
    /// `1.0`.
    #[serde(rename = "specversion")]
    #[schema(max_length = 10)]
    _specversion: SpecVersion,
    /// The id of the event.
    #[schema(max_length = 200)]
    id: String,
    /// The system that reports the event.
    #[schema(max_length = 200)]
    source: String,
    /// The name of the meter.
    #[schema(max_length = 50)]
    r#type: String,
    /// The time of use. Default: now.
    #[serde(default)]
    time: Option<Timestamp>,
    /// The amount, the category and the user.
    #[serde(default)]
    data: CloudEventData,
}

/// The version of CloudEvents.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
enum SpecVersion {
    /// Version 1.0.
    #[serde(rename = "1.0")]
    V1,
}

/// The data of a CloudEvent. Further fields are ignored.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
struct CloudEventData {
    /// The amount. Default: 1.
    #[serde(default)]
    quantity: Option<Quantity>,
    /// A category to group by.
    #[serde(default)]
    #[schema(max_length = 200)]
    category: Option<String>,
    /// The user.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    user: Option<UserId>,
}

impl From<CloudEvent> for ReportedUsage {
    fn from(event: CloudEvent) -> Self {
        let CloudEvent { id, source, r#type: meter, time: at, data, .. } = event;
        let CloudEventData { quantity, category, user } = data;
        Self { id, meter, quantity, at, category, user, source: Some(source) }
    }
}
