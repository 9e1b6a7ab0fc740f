//! The app's handle on the queue.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    BatchId, Draft, FailureInfo, JobFilter, JobId, JobInfo, QueueInfo,
    draft::Row,
    store::{self, Store},
};
use crate::{
    clock::Clock,
    db::{self, Db, Tx},
    relay,
};

/// A job that was enqueued, or that was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id.
    pub id: JobId,
    /// Whether a job with the same unique key was there and this one was not added.
    pub duplicate: bool,
}

/// A job was not enqueued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// It can't be written as JSON.
    #[error("the job can't be written as JSON")]
    Payload(#[source] serde_json::Error),
    /// It is too large.
    #[error(
        "the payload of `{name}` has {bytes} bytes, more than the {} a job may have; keep what is large in a file or a table \
         and its id in the job",
        super::LARGEST_PAYLOAD
    )]
    TooLarge {
        /// Its kind.
        name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Its queue or its unique key is too long to be found by.
    #[error(
        "a queue or a unique key of `{name}` has {bytes} bytes, more than {}; hash what is longer",
        super::draft::LONGEST_KEY
    )]
    KeyTooLong {
        /// Its kind.
        name: &'static str,
        /// The length.
        bytes: usize,
    },
    /// A batch can't be enqueued in a transaction of a tenant's own database.
    #[error(
        "a batch can't be enqueued in a transaction of a tenant's own database; enqueue one job there, and let it enqueue the batch"
    )]
    BatchElsewhere,
    /// The database refused it.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl EnqueueError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<EnqueueError> for crate::http::Error {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Database(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    pub(super) store: Store,
    /// Wakes this process's worker.
    pub(super) wake: Arc<Notify>,
}

impl Jobs {
    /// The queue in this database, whose core migrations have run.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { store: Store { db, clock }, wake: Arc::default() }
    }

    /// Enqueues a job, or a [`Draft`] of one.
    ///
    /// # Errors
    /// See [`EnqueueError`]; nothing is enqueued then.
    pub async fn enqueue(&self, job: impl Into<Draft>) -> Result<Enqueued, EnqueueError> {
        let mut all = self.enqueue_all([job]).await?;
        Ok(all.swap_remove(0))
    }

    /// Enqueues a job in the caller's transaction: it exists when that commits.
    ///
    /// From a tenant's own database it is carried into the queue right after. There, what has its unique key is known then and
    /// not before: what is [`Enqueued`] says nothing of a duplicate.
    ///
    /// # Errors
    /// See [`EnqueueError`]. After a database error the transaction is best rolled back.
    pub async fn enqueue_in(&self, tx: &mut Tx, job: impl Into<Draft>) -> Result<Enqueued, EnqueueError> {
        let mut all = self.enqueue_all_in(tx, [job]).await?;
        Ok(all.swap_remove(0))
    }

    /// Enqueues many jobs in one statement: all or none.
    ///
    /// # Errors
    /// See [`EnqueueError`].
    pub async fn enqueue_all<D: Into<Draft>>(
        &self,
        jobs: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let rows = self.rows(jobs, None)?;
        let mut tx = self.store.db.begin().await?;
        let enqueued = self.insert(&mut tx, &rows).await?;
        tx.commit().await?;
        Ok(enqueued)
    }

    /// As [`enqueue_all`](Self::enqueue_all), in the caller's transaction.
    ///
    /// # Errors
    /// See [`EnqueueError`].
    pub async fn enqueue_all_in<D: Into<Draft>>(
        &self,
        tx: &mut Tx,
        jobs: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let rows = self.rows(jobs, None)?;
        self.insert(tx, &rows).await
    }

    /// Enqueues jobs that belong together, and `then` when each of them is done, dead or cancelled, due at that moment. Without
    /// any job that is new, `then` is enqueued at once.
    ///
    /// # Errors
    /// See [`EnqueueError`]; [`EnqueueError::BatchElsewhere`] in a transaction of a tenant's own database.
    pub async fn enqueue_batch_in<D: Into<Draft>>(
        &self,
        tx: &mut Tx,
        jobs: impl IntoIterator<Item = D>,
        then: impl Into<Draft>,
    ) -> Result<BatchId, EnqueueError> {
        if tx.is_apart() {
            return Err(EnqueueError::BatchElsewhere);
        }
        let now = self.store.clock.now();
        let batch = BatchId::new(now);
        let rows = self.rows(jobs, Some(batch))?;
        let then = then.into().into_row(now, None)?;
        if rows.is_empty() {
            self.insert(tx, &[then]).await?;
            return Ok(batch);
        }
        let added = self.insert(tx, &rows).await?.iter().filter(|job| !job.duplicate).count();
        if added == 0 {
            self.insert(tx, &[then]).await?;
            return Ok(batch);
        }
        let callback = serde_json::to_string(&then).map_err(EnqueueError::Payload)?;
        Store::open_batch(tx, batch, added, Some(callback)).await?;
        Ok(batch)
    }

    fn rows<D: Into<Draft>>(
        &self,
        jobs: impl IntoIterator<Item = D>,
        batch: Option<BatchId>,
    ) -> Result<Vec<Row>, EnqueueError> {
        let now = self.store.clock.now();
        jobs.into_iter().map(|job| job.into().into_row(now, batch)).collect()
    }

    async fn insert(&self, tx: &mut Tx, rows: &[Row]) -> Result<Vec<Enqueued>, EnqueueError> {
        if let Some(tenant) = tx.tenant().filter(|_| tx.is_apart() && !rows.is_empty()) {
            relay::put(tx, tenant, relay::Kind::Jobs, rows, self.store.clock.now()).await?;
            return Ok(rows.iter().map(|row| Enqueued { id: row.job, duplicate: false }).collect());
        }
        let enqueued = store::insert(tx, rows, self.store.clock.now().as_micros()).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(enqueued)
    }

    /// Inserts what was put into the outbox of a tenant's database, unless it was before.
    pub(crate) async fn carry_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let rows: Vec<Row> = serde_json::from_str(content).map_err(|error| relay::unreadable(&error.to_string()))?;
        store::carry(tx, &rows, self.store.clock.now().as_micros()).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(())
    }

    /// The newest jobs that match, at most `limit` of them, older than `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Result<Vec<JobInfo>, db::Error> {
        self.store.list(filter, before, limit).await
    }

    /// One job with its failed attempts; none when there is no such job, or no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: JobId) -> Result<Option<(JobInfo, Vec<FailureInfo>)>, db::Error> {
        match self.list(&JobFilter::id(id), None, 1).await?.pop() {
            None => Ok(None),
            Some(job) => Ok(Some((job, self.store.failures(id).await?))),
        }
    }

    /// Every queue, with its jobs by state.
    ///
    /// # Errors
    /// The database's.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>, db::Error> {
        self.store.queues().await
    }

    /// Lets no more jobs of a queue begin, in any process; those that run go on.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause(&self, queue: &str) -> Result<(), db::Error> {
        self.store.pause(queue, true).await
    }

    /// Lets jobs of a queue begin again.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume(&self, queue: &str) -> Result<(), db::Error> {
        self.store.pause(queue, false).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Runs dead, cancelled and scheduled jobs that match now, with at least one attempt left; returns how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn retry(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        let retried = self.store.retry(filter).await?;
        self.wake.notify_one();
        Ok(retried)
    }

    /// Gives up jobs that match and are not finished; returns how many. One that runs is stopped within a third of its lease.
    ///
    /// # Errors
    /// The database's.
    pub async fn cancel(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        self.store.cancel(filter).await
    }

    /// Deletes jobs that match and are finished, dead letters too; returns how many. Works in transactions of 500 jobs: cut off in
    /// between, the rest is still there.
    ///
    /// # Errors
    /// The database's.
    pub async fn discard(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        self.store.discard(filter).await
    }
}
