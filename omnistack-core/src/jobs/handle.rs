//! The handle of the job queue.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    BatchId, FailureInfo, JobFilter, JobId, JobInfo, NewJob, QueueInfo,
    new_job::JobRow,
    store::{self, JobStore},
};
use async_trait::async_trait;

use crate::{
    clock::Clock,
    db::{self, Db, ErrorKind, OutboxReceiver, Tx},
    trace::{self, Span, SpanKind},
};

/// A job that was enqueued, or an existing one with the same unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Id of the job.
    pub id: JobId,
    /// Whether a job with the same unique key existed, so that no job was added.
    pub duplicate: bool,
}

/// An error that kept a job from being enqueued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The job can't be serialized as JSON.
    #[error("the job can't be serialized as JSON")]
    Payload(#[source] serde_json::Error),
    /// The payload is too large.
    #[error(
        "the payload of `{name}` has {bytes} bytes, more than the limit of {}; store large data in a file or a table \
         and its id in the job",
        super::MAX_PAYLOAD_BYTES
    )]
    TooLarge {
        /// Name of the job.
        name: &'static str,
        /// Size of the payload, in bytes.
        bytes: usize,
    },
    /// The name of the queue or the unique key is too long to be indexed.
    #[error(
        "the queue or unique key of `{name}` has {bytes} bytes, more than the limit of {}; use a hash of it",
        super::new_job::MAX_KEY_BYTES
    )]
    KeyTooLong {
        /// Name of the job.
        name: &'static str,
        /// Length of the queue's name or the key, in bytes.
        bytes: usize,
    },
    /// A batch can't be enqueued in a transaction of a tenant database.
    #[error("a batch can't be enqueued in a transaction of a tenant database; enqueue a job that enqueues the batch")]
    BatchInTenantDatabase,
    /// The error of the database.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl EnqueueError {
    /// Returns whether the same call may succeed later.
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

impl From<EnqueueError> for db::Error {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Database(error) => error,
            EnqueueError::BatchInTenantDatabase => Self::new(ErrorKind::Other, error.into()),
            error => Self::new(ErrorKind::InvalidValue, error.into()),
        }
    }
}

/// The job queue. Cheap to clone.
#[doc(alias("background job", "queue"))]
#[derive(Clone, Debug)]
pub struct Jobs {
    pub(super) store: JobStore,
    /// Notifies the worker of this process.
    pub(super) wake: Arc<Notify>,
}

impl Jobs {
    /// Creates the queue in a database in which core's migrations have run.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { store: JobStore { db, clock }, wake: Arc::default() }
    }

    /// Enqueues a job or a [`NewJob`].
    ///
    /// # Errors
    /// See [`EnqueueError`]. Nothing is enqueued then.
    pub async fn enqueue(&self, job: impl Into<NewJob>) -> Result<Enqueued, EnqueueError> {
        let mut all = self.enqueue_all([job]).await?;
        Ok(all.swap_remove(0))
    }

    /// Enqueues a job in the caller's transaction. The job exists when the transaction commits.
    ///
    /// From a transaction of a tenant database the job is relayed to the queue after the commit. Jobs with the
    /// same unique key are only detected then, so [`Enqueued::duplicate`] is always `false`.
    ///
    /// # Errors
    /// See [`EnqueueError`]. Roll back the transaction after a database error.
    pub async fn enqueue_in(&self, tx: &mut Tx, job: impl Into<NewJob>) -> Result<Enqueued, EnqueueError> {
        let mut all = self.enqueue_all_in(tx, [job]).await?;
        Ok(all.swap_remove(0))
    }

    /// Enqueues several jobs in one statement: either all or none.
    ///
    /// # Errors
    /// See [`EnqueueError`].
    pub async fn enqueue_all<D: Into<NewJob>>(
        &self,
        jobs: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let jobs = new_jobs(jobs);
        let send = send_span(&jobs);
        send.run(async {
            let rows = self.rows(jobs, None)?;
            let mut tx = self.store.db.begin().await?;
            let enqueued = self.insert(&mut tx, &rows).await?;
            tx.commit().await?;
            Ok(enqueued)
        })
        .await
    }

    /// Like [`enqueue_all`](Self::enqueue_all), in the caller's transaction.
    ///
    /// # Errors
    /// See [`EnqueueError`].
    pub async fn enqueue_all_in<D: Into<NewJob>>(
        &self,
        tx: &mut Tx,
        jobs: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let jobs = new_jobs(jobs);
        let send = send_span(&jobs);
        send.run(async {
            let rows = self.rows(jobs, None)?;
            self.insert(tx, &rows).await
        })
        .await
    }

    /// Enqueues a batch of jobs. When each of them is done, dead or cancelled, `then` is enqueued and due at
    /// once. If no job of the batch is new, `then` is enqueued immediately.
    ///
    /// # Errors
    /// See [`EnqueueError`]. [`EnqueueError::BatchInTenantDatabase`] in a transaction of a tenant database.
    pub async fn enqueue_batch_in<D: Into<NewJob>>(
        &self,
        tx: &mut Tx,
        jobs: impl IntoIterator<Item = D>,
        then: impl Into<NewJob>,
    ) -> Result<BatchId, EnqueueError> {
        if tx.in_tenant_database() {
            return Err(EnqueueError::BatchInTenantDatabase);
        }
        let (jobs, then) = (new_jobs(jobs), then.into());
        let send = send_span(&jobs);
        send.run(async {
            let now = self.store.clock.now();
            let batch = BatchId::new(now);
            let rows = self.rows(jobs, Some(batch))?;
            let then = then.into_row(now, None)?;
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
            JobStore::open_batch(tx, batch, added, Some(callback)).await?;
            Ok(batch)
        })
        .await
    }

    fn rows(&self, jobs: Vec<NewJob>, batch: Option<BatchId>) -> Result<Vec<JobRow>, EnqueueError> {
        let now = self.store.clock.now();
        jobs.into_iter().map(|job| job.into_row(now, batch)).collect()
    }

    async fn insert(&self, tx: &mut Tx, rows: &[JobRow]) -> Result<Vec<Enqueued>, EnqueueError> {
        if let Some(tenant) = tx.tenant().filter(|_| tx.in_tenant_database() && !rows.is_empty()) {
            db::add_to_outbox(tx, tenant, OUTBOX_KIND, rows, self.store.clock.now()).await?;
            return Ok(rows.iter().map(|row| Enqueued { id: row.job, duplicate: false }).collect());
        }
        let enqueued = store::insert(tx, rows, self.store.clock.now().as_micros()).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(enqueued)
    }

    /// Returns the newest jobs that match, at most `limit`. With `before`, only jobs older than that one.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Result<Vec<JobInfo>, db::Error> {
        self.store.list(filter, before, limit).await
    }

    /// Returns a job with its failed attempts, or `None` if the job does not exist or was deleted.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn get(&self, id: JobId) -> Result<Option<(JobInfo, Vec<FailureInfo>)>, db::Error> {
        match self.list(&JobFilter::id(id), None, 1).await?.pop() {
            None => Ok(None),
            Some(job) => Ok(Some((job, self.store.failures(id).await?))),
        }
    }

    /// Returns all queues, with their jobs counted by state.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>, db::Error> {
        self.store.queues().await
    }

    /// Pauses a queue in all processes: no more of its jobs start. Running jobs continue.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn pause(&self, queue: &str) -> Result<(), db::Error> {
        self.store.pause(queue, true).await
    }

    /// Resumes a queue: its jobs start again.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn resume(&self, queue: &str) -> Result<(), db::Error> {
        self.store.pause(queue, false).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Makes dead, cancelled and scheduled jobs that match due now, with at least one attempt left. Returns their
    /// number.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn retry(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        let retried = self.store.retry(filter).await?;
        self.wake.notify_one();
        Ok(retried)
    }

    /// Cancels jobs that match and are not finished, and returns their number. A running job is stopped within a
    /// third of its lease.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn cancel(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        self.store.cancel(filter).await
    }

    /// Deletes jobs that match and are finished, including dead letters, and returns their number. Works in
    /// transactions of 500 jobs: if it is interrupted, the remaining jobs are kept.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn delete(&self, filter: &JobFilter) -> Result<u64, db::Error> {
        self.store.discard(filter).await
    }
}

fn new_jobs<D: Into<NewJob>>(jobs: impl IntoIterator<Item = D>) -> Vec<NewJob> {
    jobs.into_iter().map(Into::into).collect()
}

/// Starts the span in which jobs are enqueued, named by the first of them. The jobs continue its trace.
fn send_span(jobs: &[NewJob]) -> Span {
    match jobs.first() {
        Some(job) => trace::messaging_span(SpanKind::Producer, "send", job.name()),
        None => Span::none(),
    }
}

/// Outbox kind of jobs from tenant databases.
const OUTBOX_KIND: &str = "jobs";

#[async_trait]
impl OutboxReceiver for Jobs {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    /// Inserts the jobs, unless they were inserted before.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let rows: Vec<JobRow> =
            serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        store::insert_relayed(tx, &rows, self.store.clock.now().as_micros()).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(())
    }
}
