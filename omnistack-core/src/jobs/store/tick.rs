//! Progress of jobs, creation of batches, and ticks of schedules.

use super::JobStore;
use crate::{
    db::{Error, Tx},
    jobs::{BatchId, JobId},
};

impl JobStore {
    /// Stores the progress of a running job. Returns `false` if another worker has taken over the job.
    pub(in crate::jobs) async fn progress(
        &self,
        id: JobId,
        lease: i32,
        percent: u8,
        note: &str,
    ) -> Result<bool, Error> {
        let sql = "update omni_jobs set progress = $3, note = $4 where id = $1 and lease = $2 and state = 'running'";
        let query = self.db.query(sql).bind(id).bind(lease).bind(i32::from(percent.min(100))).bind(note.to_owned());
        Ok(query.execute().await? == 1)
    }

    /// Creates a batch with this number of jobs.
    pub(in crate::jobs) async fn open_batch(
        tx: &mut Tx,
        batch: BatchId,
        jobs: usize,
        callback: Option<String>,
    ) -> Result<(), Error> {
        let sql = "insert into omni_job_batches (id, pending, callback) values ($1, $2, $3)";
        tx.query(sql).bind(batch).bind(i32::try_from(jobs).unwrap_or(i32::MAX)).bind(callback).execute().await.map(drop)
    }

    /// Claims a tick of a schedule for this process. Returns `true` in exactly one of all replicas.
    pub(in crate::jobs) async fn claim_tick(tx: &mut Tx, cron: &str, tick: i64) -> Result<bool, Error> {
        let sql = "insert into omni_job_crons (name, last_tick) values ($1, $2)
            on conflict (name) do update set last_tick = excluded.last_tick where omni_job_crons.last_tick < excluded.last_tick";
        Ok(tx.query(sql).bind(cron.to_owned()).bind(tick).execute().await? == 1)
    }

    /// Returns the last tick that any replica has claimed. Stores and returns the current time for a new
    /// schedule.
    pub(in crate::jobs) async fn last_tick(&self, cron: &str) -> Result<i64, Error> {
        let sql = "insert into omni_job_crons (name, last_tick) values ($1, $2)
            on conflict (name) do update set last_tick = omni_job_crons.last_tick returning last_tick";
        let query = self.db.query(sql).bind(cron.to_owned()).bind(self.clock.now().as_micros());
        Ok(query.fetch_one::<(i64,)>().await?.0)
    }
}
