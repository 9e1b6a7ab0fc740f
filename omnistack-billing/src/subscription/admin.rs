//! The routes of subscriptions for operators: `/api/v1/admin/billing/subscriptions`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::AuditEntry,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    identity::{Identity, TenantId},
    jobs::NewJob,
    module::Api,
    payment::ProviderSubscriptionStatus,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    cleanup::CleanupState,
    handle::Subscriptions,
    jobs::ReconcileSubscriptions,
    model::{Subscription, SubscriptionId},
    store::{self, SubscriptionFilter},
};

/// Returns the routes under `/api/v1/admin/billing`.
pub(super) fn api() -> Api<Subscriptions> {
    Api::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(retry_cleanup)).routes(routes!(reconcile))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubscriptionsQuery {
    /// Only subscriptions of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// Only subscriptions with this status.
    #[garde(skip)]
    status: Option<ProviderSubscriptionStatus>,
    /// Only subscriptions of the plan with this key.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    plan: Option<String>,
    /// Only subscriptions that the app ends itself, in this state. Those that have `failed` wait for an operator.
    #[garde(skip)]
    cleanup: Option<CleanupState>,
    /// The environment. Default: that whose subscriptions give tenants their plans.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// A subscription, with its id at the provider.
#[derive(Debug, Serialize, ToSchema)]
struct AdminSubscription {
    /// The subscription.
    #[serde(flatten)]
    subscription: Subscription,
    /// The id at the provider.
    external_id: String,
    /// The state of the end that the app requires: of a duplicate, or after a lost dispute. Null if it requires none.
    #[schema(required)]
    cleanup: Option<CleanupState>,
    /// The number of attempts of that end that have failed.
    cleanup_attempts: i32,
    /// The failure of the last attempt.
    #[schema(required)]
    cleanup_error: Option<String>,
    /// Whether the result of a change at the provider is not known yet.
    change_requested: bool,
}

impl From<store::StoredSubscription> for AdminSubscription {
    fn from(row: store::StoredSubscription) -> Self {
        let subscription = (&row).into();
        let change_requested = row.request.is_some();
        let cleanup = row.cleanup;
        Self {
            subscription,
            external_id: row.external.id,
            cleanup: cleanup.as_ref().map(|cleanup| cleanup.state),
            cleanup_attempts: cleanup.as_ref().map_or(0, |cleanup| cleanup.attempts),
            cleanup_error: cleanup.and_then(|cleanup| cleanup.error),
            change_requested,
        }
    }
}

/// List subscriptions
///
/// The newest come first.
#[utoipa::path(get, path = "/subscriptions", operation_id = "list_subscriptions", params(SubscriptionsQuery),
    responses((status = 200, body = CursorPage<AdminSubscription>), (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(subscriptions): State<Subscriptions>,
    Query(query): Query<SubscriptionsQuery>,
) -> Result<Json<CursorPage<AdminSubscription>>, Error> {
    let SubscriptionsQuery { tenant, status, plan, cleanup, environment, limit, cursor } = query;
    let environment = environment.unwrap_or_else(|| subscriptions.environment());
    let filter = SubscriptionFilter { tenant, status, plan, environment, cleanup };
    let before = cursor
        .map(|text| text.parse::<SubscriptionId>())
        .transpose()
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    // An operator sees the subscriptions of all tenants.
    let mut tx = subscriptions.0.db.all_tenants().begin_read().await?;
    let mut rows = store::list(&mut tx, &filter, before, i64::from(limit) + 1).await?;
    tx.commit().await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > most;
    rows.truncate(most);
    let next_cursor = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(CursorPage { items: rows.into_iter().map(Into::into).collect(), next_cursor }))
}

fn no_such_subscription() -> Error {
    Error::not_found("the subscription")
}

/// Get a subscription
#[utoipa::path(get, path = "/subscriptions/{id}", operation_id = "get_subscription",
    params(("id" = String, Path, format = Uuid, description = "The id of the subscription.")), responses(
    (status = 200, body = AdminSubscription),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<SubscriptionId>,
) -> Result<Json<AdminSubscription>, Error> {
    let mut tx = subscriptions.0.db.all_tenants().begin_read().await?;
    let row = store::get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(row.ok_or_else(no_such_subscription)?.into()))
}

/// Retry the end of a subscription
///
/// Begins the cancellation, and the refund of a duplicate, anew after all attempts have failed. A job makes them.
#[utoipa::path(post, path = "/subscriptions/{id}/retry-cleanup", operation_id = "retry_subscription_cleanup",
    params(("id" = String, Path, format = Uuid, description = "The id of the subscription.")), responses(
    (status = 200, body = AdminSubscription),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`NOTHING_TO_RETRY`, `APP_STORE_SUBSCRIPTION`."),
))]
async fn retry_cleanup(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Path(id): Path<SubscriptionId>,
) -> Result<Json<AdminSubscription>, Error> {
    let row = subscriptions.retry_cleanup(&caller, id).await?;
    Ok(Json(row.ok_or_else(no_such_subscription)?.into()))
}

/// The subscriptions to read from the provider.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReconcileBilling {
    /// The subscription. Default: all that run.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    subscription: Option<SubscriptionId>,
}

/// The result of a reconciliation.
#[derive(Debug, Serialize, ToSchema)]
struct BillingReconciliation {
    /// The state of the subscription as it was read; `null` for a request about all of them, which are read by a job.
    #[schema(required)]
    subscription: Option<AdminSubscription>,
}

/// Reconcile subscriptions
///
/// Reads the state of a subscription from its provider, or of all that run by a job. This also happens every night.
#[utoipa::path(post, path = "/reconcile", operation_id = "reconcile_subscriptions", request_body = ReconcileBilling,
    responses(
    (status = 200, body = BillingReconciliation),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The provider can't be reached."),
))]
async fn reconcile(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(ReconcileBilling { subscription }): Json<ReconcileBilling>,
) -> Result<Json<BillingReconciliation>, Error> {
    let parts = &subscriptions.0;
    let mut tx = parts.db.all_tenants().begin().await?;
    let known = match subscription {
        Some(id) => match store::get(&mut tx, id).await? {
            Some(row) => Some(row),
            None => {
                tx.rollback().await?;
                return Err(no_such_subscription());
            }
        },
        None => None,
    };
    let entry = AuditEntry::new("subscription.reconciled").actor(&caller).for_app();
    parts.audit.record_in(&mut tx, entry.details(json!({ "subscription": subscription }))).await?;
    if known.is_none() {
        let job = NewJob::new(ReconcileSubscriptions { all: true }).unique("all");
        parts.jobs.enqueue_in(&mut tx, job).await?;
    }
    tx.commit().await?;
    let Some(row) = known else { return Ok(Json(BillingReconciliation { subscription: None })) };
    let read = subscriptions.read_again(row.tenant, row.id).await?;
    Ok(Json(BillingReconciliation { subscription: read.map(Into::into) }))
}
