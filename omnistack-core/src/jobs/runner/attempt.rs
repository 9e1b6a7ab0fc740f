//! One attempt, from its lease to its result.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use tower::ServiceExt as _;
use tracing::{Instrument as _, field};

use crate::{
    clock::Clock,
    error_event::{ErrorOrigin, ErrorReporter},
    jobs::{
        JobContext, JobError, JobId, JobRequest,
        job::JobErrorKind,
        progress_feed::ProgressFeed,
        service::JobHandler,
        store::{AttemptResult, FinishedAttempt, JobStore, LeasedJob},
    },
    metrics::{BACKGROUND_JOB_DURATION, BACKGROUND_JOBS, ERRORS},
    realtime::RealtimePublisher,
    run_error::{PANICKED, panic_text},
    trace::{attribute, processing_span},
};

/// Runs a job once and returns the result. A panic or timeout of the job does not end the worker.
pub(super) async fn attempt(
    handler: JobHandler,
    job: LeasedJob,
    store: JobStore,
    reporter: Option<ErrorReporter>,
    realtime: RealtimePublisher,
) -> FinishedAttempt {
    let (clock, trace) = (store.clock.clone(), job.trace());
    let span = processing_span(trace.clone(), handler.name, job.id.uuid());
    let feed = ProgressFeed::new(realtime, job.tenant, job.id, clock.clone());
    let ctx = JobContext {
        id: job.id,
        name: job.name,
        attempt: job.attempt.unsigned_abs(),
        max_attempts: job.max_attempts.unsigned_abs(),
        lease: job.lease,
        tenant: job.tenant,
        trace,
        store,
        feed: feed.clone(),
    };
    span.set(attribute::OMNISTACK_ATTEMPT, i64::from(ctx.attempt));
    if let Some(tenant) = ctx.tenant {
        span.set(attribute::OMNISTACK_TENANT_ID, tenant.to_string());
    }
    let log = tracing::info_span!(target: "omnistack::jobs", "job", name = ctx.name, id = %ctx.id, attempt = ctx.attempt,
        tenant = ctx.tenant.map(field::display));
    let timeout = job.timeout.map_or(handler.timeout, |micros| Duration::from_micros(micros.unsigned_abs()));
    let (last, number) = (ctx.is_last_attempt(), ctx.attempt);
    let waiting = handler.clone();
    let began = clock.elapsed();
    let run = AssertUnwindSafe(handler.service.oneshot(JobRequest { payload: job.payload, ctx })).catch_unwind();
    let ended = tokio::time::timeout(timeout, span.run(run).instrument(log.clone())).await;
    {
        let _attached = span.attach();
        let _entered = log.enter();
        let result = match ended {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(JobError::retry(format!("{PANICKED}{}", panic_text(panic.as_ref())))),
            Err(_) => Err(JobError::retry(format!("took longer than {timeout:?}"))),
        };
        let outcome = match result {
            Ok(()) => AttemptResult::Done,
            Err(error) => outcome_of_error(&error, last, || waiting.wait(number, job.id), &clock),
        };
        if let AttemptResult::Retry { error, .. } | AttemptResult::Dead { error } = &outcome {
            span.set_error(outcome.as_str());
            ERRORS.counter(["job"]).increment(1);
            if let Some(reporter) = reporter {
                let last = matches!(outcome, AttemptResult::Dead { .. });
                let origin = ErrorOrigin::Job { name: waiting.name, last };
                reporter.report_background(origin, "JOB_FAILED", error, job.tenant, clock.now());
            }
        }
        BACKGROUND_JOB_DURATION.histogram([waiting.name]).record(clock.elapsed().saturating_sub(began));
        BACKGROUND_JOBS.counter([waiting.name, outcome.as_str()]).increment(1);
        FinishedAttempt { id: job.id, lease: job.lease, attempt: job.attempt, batch: job.batch, outcome, feed }
    }
}

/// Returns the ends of attempts of which clients are to be told, once the results are stored. `lost` are the jobs whose
/// results were not stored.
pub(super) fn ends_to_tell(finished: &[FinishedAttempt], lost: &[JobId]) -> Vec<(ProgressFeed, &'static str)> {
    let ended = finished.iter().filter(|job| job.feed.has_progress() && !lost.contains(&job.id));
    ended.map(|job| (job.feed.clone(), job.outcome.as_str())).collect()
}

/// Tells connected clients of the ends of attempts.
pub(super) async fn tell_ends(ends: Vec<(ProgressFeed, &'static str)>) {
    let told = ends.into_iter().map(|(feed, state)| async move { feed.end(state).await });
    join_all(told).await;
}

fn outcome_of_error(error: &JobError, last: bool, wait: impl FnOnce() -> Duration, clock: &Clock) -> AttemptResult {
    let at = |wait: Duration| {
        let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        clock.now().as_micros().saturating_add(wait)
    };
    match error.kind {
        JobErrorKind::Snooze(wait) => AttemptResult::Snooze { at: at(wait) },
        JobErrorKind::Retry if !last => {
            let wait = wait();
            tracing::warn!(target: "omnistack::jobs", %error, ?wait, "failed; will retry");
            AttemptResult::Retry { at: at(wait), error: error_text(error) }
        }
        JobErrorKind::Retry | JobErrorKind::Fatal => {
            tracing::error!(target: "omnistack::jobs", %error, "failed permanently");
            AttemptResult::Dead { error: error_text(error) }
        }
    }
}

/// Returns the text of an error to store, without NUL, which PostgreSQL can't store, and at most 4,000 characters
/// long.
pub(crate) fn error_text(error: &JobError) -> String {
    const MAX_ERROR_CHARS: usize = 4000;
    error.to_string().replace('\0', "\u{fffd}").chars().take(MAX_ERROR_CHARS).collect()
}
