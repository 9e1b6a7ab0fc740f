//! Claims of jobs by workers.

use std::time::Duration;

use uuid::Uuid;

use super::{JobStore, json};
use crate::{
    db::{Error, Sql},
    http::{CompiledRate, Rate, TimeUnit},
    identity::TenantId,
    jobs::{BatchId, JobId},
    trace::TraceContext,
};

/// A leased job.
#[derive(Debug, crate::db::FromRow)]
pub(in crate::jobs) struct LeasedJob {
    pub(in crate::jobs) id: JobId,
    pub(in crate::jobs) name: String,
    pub(in crate::jobs) payload: String,
    pub(in crate::jobs) attempt: i32,
    pub(in crate::jobs) max_attempts: i32,
    pub(in crate::jobs) lease: i32,
    pub(in crate::jobs) timeout: Option<i64>,
    pub(in crate::jobs) batch: Option<BatchId>,
    pub(in crate::jobs) tenant: Option<TenantId>,
    trace: Option<String>,
    trace_state: Option<String>,
    pub(in crate::jobs) run_at: i64,
    rank: i64,
}

impl LeasedJob {
    pub(in crate::jobs) fn trace(&self) -> Option<TraceContext> {
        TraceContext::from_stored(self.trace.as_deref()?, self.trace_state.as_deref())
    }
}

/// The parameters of a claim.
#[derive(Clone, Debug)]
pub(in crate::jobs) struct JobClaim<'a> {
    pub(in crate::jobs) queue: &'a str,
    /// JSON array of the names the worker has handlers for. Jobs with other names are left for other versions of
    /// the app.
    pub(in crate::jobs) names: &'a str,
    pub(in crate::jobs) worker: Uuid,
    pub(in crate::jobs) limit: usize,
    pub(in crate::jobs) lease: Duration,
    pub(in crate::jobs) rate: Option<Rate>,
}

const CLAIM: Sql = Sql {
    postgres: "with picked as (
    select id from omni_jobs where queue = $1 and state = 'ready'
        and name in (select json_array_elements_text($2::json))
        and not exists (select 1 from omni_job_queues where omni_job_queues.name = $1 and paused)
    order by rank limit $3 for update skip locked)
update omni_jobs set state = 'running', attempt = attempt + 1, lease = lease + 1, lease_until = $4, worker = $5, started_at = $6
from picked where omni_jobs.id = picked.id
returning omni_jobs.id, name, payload, attempt, max_attempts, lease, timeout, batch, tenant, trace, trace_state, run_at,
    rank",
    sqlite: "update omni_jobs set state = 'running', attempt = attempt + 1, lease = lease + 1, lease_until = $4, worker = $5,
    started_at = $6
where id in (select id from omni_jobs where queue = $1 and state = 'ready' and name in (select value from json_each($2))
    and not exists (select 1 from omni_job_queues where omni_job_queues.name = $1 and paused) order by rank limit $3)
returning id, name, payload, attempt, max_attempts, lease, timeout, batch, tenant, trace, trace_state, run_at, rank",
};

impl JobStore {
    /// Leases jobs that are due, ordered by due time and priority.
    pub(in crate::jobs) async fn claim(&self, claim: &JobClaim<'_>) -> Result<Vec<LeasedJob>, Error> {
        let now = self.clock.now().as_micros();
        let lease = i64::try_from(claim.lease.as_micros()).unwrap_or(i64::MAX);
        let mut tx = match claim.rate {
            None => None,
            Some(_) => Some(self.db.begin().await?),
        };
        let mut limit = i64::try_from(claim.limit).unwrap_or(i64::MAX);
        let mut earned = 0;
        let terms = claim.rate.map(|rate| CompiledRate::new(rate.token_bucket(), TimeUnit::Micro));
        if let (Some(tx), Some(terms)) = (&mut tx, &terms) {
            earned = locked(tx, claim.queue).await?;
            limit = limit.min(terms.remaining_at(micros(now), micros(earned)).into());
        }
        if limit == 0 {
            return Ok(Vec::new());
        }
        let query = match &mut tx {
            Some(tx) => tx.query(CLAIM),
            None => self.db.query(CLAIM),
        };
        let query = query.bind(claim.queue.to_owned()).bind(claim.names.to_owned()).bind(limit);
        let query = query.bind(now.saturating_add(lease)).bind(claim.worker).bind(now);
        let mut claimed: Vec<LeasedJob> = query.fetch_all().await?;
        if let (Some(mut tx), Some(terms)) = (tx, terms) {
            let used = terms.charge(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
            let earned = earned.max(now).saturating_add_unsigned(used);
            let update = tx.query("update omni_job_queues set earned = $2 where name = $1");
            update.bind(claim.queue.to_owned()).bind(earned).execute().await?;
            tx.commit().await?;
        }
        claimed.sort_unstable_by_key(|job| job.rank);
        Ok(claimed)
    }

    /// Extends leases. Returns the jobs that are still leased to the worker, each with whether it is to be
    /// cancelled.
    pub(in crate::jobs) async fn heartbeat(
        &self,
        held: &[(JobId, i32)],
        lease: Duration,
    ) -> Result<Vec<(JobId, bool)>, Error> {
        #[derive(serde::Serialize)]
        struct Held {
            id: String,
            lease: i32,
        }
        let held: Vec<_> = held.iter().map(|(id, lease)| Held { id: super::hex(id.uuid()), lease: *lease }).collect();
        let until = self.clock.now().as_micros().saturating_add(i64::try_from(lease.as_micros()).unwrap_or(0));
        self.db.query(HEARTBEAT).bind(json(&held)).bind(until).fetch_all().await
    }
}

const HEARTBEAT: Sql = Sql {
    postgres: "update omni_jobs set lease_until = $2
from json_to_recordset($1::json) as held(id text, lease integer)
where omni_jobs.id = held.id::uuid and omni_jobs.lease = held.lease and omni_jobs.state = 'running' returning omni_jobs.id, cancel",
    sqlite: "update omni_jobs set lease_until = $2 from json_each($1) as held
where omni_jobs.id = unhex(held.value ->> 'id') and omni_jobs.lease = held.value ->> 'lease' and omni_jobs.state = 'running'
returning omni_jobs.id, cancel",
};

/// Locks the row of a queue until the transaction ends, so that only one replica at a time claims from a queue
/// with a rate. Returns the time up to which its tokens are used.
async fn locked(tx: &mut crate::db::Tx, queue: &str) -> Result<i64, Error> {
    let lock = "insert into omni_job_queues (name) values ($1) on conflict (name) do update set name = excluded.name
        returning earned";
    let (earned,): (i64,) = tx.query(lock).bind(queue.to_owned()).fetch_one().await?;
    Ok(earned)
}

fn micros(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}
