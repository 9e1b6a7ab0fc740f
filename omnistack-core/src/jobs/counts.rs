//! The numbers of jobs, for metrics and dashboards.

use super::{JobState, Jobs};
use crate::{
    BoxError,
    clock::Timestamp,
    dashboard::Count,
    metrics::{BACKGROUND_JOB_OLDEST_AGE, BACKGROUND_JOB_QUEUE_SIZE},
};

/// Counts the jobs of each queue that are not finished, and the time for which the oldest of them has waited.
pub(super) async fn count(jobs: Jobs) -> Result<Vec<Count>, BoxError> {
    let now = jobs.store.clock.now();
    let mut counts = Vec::new();
    for queue in jobs.queues().await? {
        for state in [JobState::Ready, JobState::Running, JobState::Scheduled, JobState::Dead] {
            let jobs = queue.jobs.get(&state).copied().unwrap_or_default();
            let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
            counts.push(Count::new(&BACKGROUND_JOB_QUEUE_SIZE, [&queue.queue, state.as_str()], jobs));
        }
    }
    let oldest = jobs.store.db.query("select queue, min(run_at) from omni_jobs where state = 'ready' group by queue");
    let oldest: Vec<(String, i64)> = oldest.fetch_all().await?;
    for (queue, due) in oldest {
        let age = now.duration_since(Timestamp::from_micros(due));
        counts.push(Count::new(&BACKGROUND_JOB_OLDEST_AGE, [&queue], i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    }
    Ok(counts)
}
