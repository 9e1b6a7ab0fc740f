//! The queue, for operators: `/api/v1/admin/jobs`.

#![expect(unused_qualifications, reason = "what the macros make of a query's type")]

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{FailureInfo, JobFilter, JobId, JobInfo, JobState, Jobs, QueueInfo, draft::LONGEST_KEY};
use crate::{
    app::{Api, Mount, Registry},
    http::{Error, FieldProblem, Json, Page, Path, Query},
    identity::TenantId,
};

pub(crate) fn register(registry: &mut Registry) {
    let api = Api::new()
        .routes(routes!(list))
        .routes(routes!(queues))
        .routes(routes!(retry_all))
        .routes(routes!(cancel_all))
        .routes(routes!(discard_all))
        .routes(routes!(get))
        .routes(routes!(retry))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume));
    registry.routes(Mount::admin("/jobs"), api, |ctx| ctx.get::<Jobs>());
}

/// Which jobs to list.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// In this state.
    #[garde(skip)]
    state: Option<JobState>,
    /// Of this queue.
    #[garde(length(max = 200))]
    queue: Option<String>,
    /// Of this name.
    #[garde(length(max = 200))]
    name: Option<String>,
    /// Of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// At most this many.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// What the page before said comes next.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    cursor: Option<JobId>,
}

/// Lists jobs, the newest first.
#[utoipa::path(get, path = "/", operation_id = "list_jobs", params(ListQuery), responses((status = 200, body = Page<JobInfo>)))]
async fn list(State(jobs): State<Jobs>, Query(query): Query<ListQuery>) -> Result<Json<Page<JobInfo>>, Error> {
    let ListQuery { state, queue, name, tenant, limit, cursor } = query;
    let limit = limit.unwrap_or(20);
    let filter = JobFilter { state, queue, name, tenant, id: None };
    let mut items = jobs.list(&filter, cursor, limit + 1).await?;
    let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// Counts the jobs of each queue by state, up to 10,000.
#[utoipa::path(get, path = "/queues", operation_id = "list_job_queues", responses((status = 200, body = Vec<QueueInfo>)))]
async fn queues(State(jobs): State<Jobs>) -> Result<Json<Vec<QueueInfo>>, Error> {
    Ok(Json(jobs.queues().await?))
}

/// One job, with what went wrong so far.
#[derive(Serialize, ToSchema)]
struct JobDetails {
    #[serde(flatten)]
    job: JobInfo,
    /// Its failed attempts, the first first.
    failures: Vec<FailureInfo>,
}

/// Shows a job and its failed attempts.
#[utoipa::path(get, path = "/{id}", operation_id = "get_job", params(("id" = String, Path, format = "uuid")),
    responses((status = 200, body = JobDetails)))]
async fn get(State(jobs): State<Jobs>, Path(id): Path<JobId>) -> Result<Json<JobDetails>, Error> {
    let (job, failures) = jobs.get(id).await?.ok_or_else(|| Error::not_found("the job"))?;
    Ok(Json(JobDetails { job, failures }))
}

/// How many jobs were changed.
#[derive(Serialize, ToSchema)]
#[schema(as = JobsChanged)]
struct Changed {
    /// Jobs changed.
    changed: u64,
}

async fn one(jobs: &Jobs, id: JobId, changed: u64, refused: &str) -> Result<Json<Changed>, Error> {
    if changed > 0 {
        return Ok(Json(Changed { changed }));
    }
    match jobs.get(id).await? {
        None => Err(Error::not_found("the job")),
        Some((job, _)) => Err(Error::conflict("JOB_STATE", format!("the job is {}; {refused}", job.state))),
    }
}

/// Runs a dead, cancelled or scheduled job now.
#[utoipa::path(post, path = "/{id}/retry", operation_id = "retry_job", params(("id" = String, Path, format = "uuid")),
    responses((status = 200, body = Changed)))]
async fn retry(State(jobs): State<Jobs>, Path(id): Path<JobId>) -> Result<Json<Changed>, Error> {
    let changed = jobs.retry(&JobFilter::id(id)).await?;
    one(&jobs, id, changed, "only dead, cancelled and scheduled ones can be retried").await
}

/// Gives a job up.
#[utoipa::path(post, path = "/{id}/cancel", operation_id = "cancel_job", params(("id" = String, Path, format = "uuid")),
    responses((status = 200, body = Changed)))]
async fn cancel(State(jobs): State<Jobs>, Path(id): Path<JobId>) -> Result<Json<Changed>, Error> {
    let changed = jobs.cancel(&JobFilter::id(id)).await?;
    one(&jobs, id, changed, "finished ones can't be cancelled").await
}

/// Which jobs to change: those of which everything said is true.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = JobSelection)]
struct Selection {
    /// In this state.
    #[garde(skip)]
    state: Option<JobState>,
    /// Of this queue.
    #[garde(length(max = 200))]
    #[schema(pattern = "^[^\\x00]*$")]
    queue: Option<String>,
    /// Of this name.
    #[garde(length(max = 200))]
    #[schema(pattern = "^[^\\x00]*$")]
    name: Option<String>,
    /// Of this tenant.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// All there are, when nothing else is said.
    #[garde(skip)]
    all: bool,
}

impl Selection {
    fn filter(self) -> Result<JobFilter, Error> {
        let Self { state, queue, name, tenant, all } = self;
        let some = state.is_some() || queue.is_some() || name.is_some() || tenant.is_some();
        if !some && !all {
            return Err(Error::invalid([FieldProblem::new("all", "must be true when nothing else says which jobs")]));
        }
        Ok(JobFilter { state, queue, name, tenant, id: None })
    }
}

/// Runs all dead, cancelled and scheduled jobs that match now.
#[utoipa::path(post, path = "/retry", operation_id = "retry_jobs", request_body = Selection,
    responses((status = 200, body = Changed)))]
async fn retry_all(State(jobs): State<Jobs>, Json(selection): Json<Selection>) -> Result<Json<Changed>, Error> {
    Ok(Json(Changed { changed: jobs.retry(&selection.filter()?).await? }))
}

/// Gives up all jobs that match and are not finished.
#[utoipa::path(post, path = "/cancel", operation_id = "cancel_jobs", request_body = Selection,
    responses((status = 200, body = Changed)))]
async fn cancel_all(State(jobs): State<Jobs>, Json(selection): Json<Selection>) -> Result<Json<Changed>, Error> {
    Ok(Json(Changed { changed: jobs.cancel(&selection.filter()?).await? }))
}

/// Deletes all finished jobs that match, dead letters too.
#[utoipa::path(post, path = "/discard", operation_id = "discard_jobs", request_body = Selection,
    responses((status = 200, body = Changed)))]
async fn discard_all(State(jobs): State<Jobs>, Json(selection): Json<Selection>) -> Result<Json<Changed>, Error> {
    Ok(Json(Changed { changed: jobs.discard(&selection.filter()?).await? }))
}

/// No queue has a longer name.
fn known(queue: &str) -> Result<(), Error> {
    if queue.len() > LONGEST_KEY { Err(Error::not_found("the queue")) } else { Ok(()) }
}

/// Lets no more jobs of a queue begin.
#[utoipa::path(post, path = "/queues/{queue}/pause", operation_id = "pause_job_queue", params(("queue" = String, Path)),
    responses((status = 204)))]
async fn pause(State(jobs): State<Jobs>, Path(queue): Path<String>) -> Result<StatusCode, Error> {
    known(&queue)?;
    jobs.pause(&queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets jobs of a queue begin again.
#[utoipa::path(post, path = "/queues/{queue}/resume", operation_id = "resume_job_queue", params(("queue" = String, Path)),
    responses((status = 204)))]
async fn resume(State(jobs): State<Jobs>, Path(queue): Path<String>) -> Result<StatusCode, Error> {
    known(&queue)?;
    jobs.resume(&queue).await?;
    Ok(StatusCode::NO_CONTENT)
}
