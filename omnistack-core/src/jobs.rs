//! Background jobs, stored in the app's own database.
//!
//! A [`Job`] is a serde struct with a `run` method. [`Jobs::enqueue_in`] stores it in the caller's transaction,
//! so that the job exists exactly if the rows it refers to do. Workers lease jobs that are due, run them, and
//! store the result of each attempt.
//!
//! ```
//! use omnistack_core::{module::{Module, Registry}, jobs::{Cron, Job, JobContext, JobError, Queue}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct SendReport { to: String }
//!
//! #[async_trait::async_trait]
//! impl Job for SendReport {
//!     const NAME: &'static str = "send_report";
//!     const QUEUE: &'static str = "mail";
//!     type State = ();
//!
//!     async fn run(self, _: &(), ctx: &JobContext) -> Result<(), JobError> {
//!         ctx.progress(50, "rendered").await;
//!         Ok(())
//!     }
//! }
//!
//! struct Reports;
//!
//! impl Module for Reports {
//!     fn name(&self) -> &'static str {
//!         "reports"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry
//!             .queue(Queue::new("mail").concurrency(4))
//!             .job::<SendReport>(|_| Ok(()))
//!             .cron(Cron::new("0 6 * * MON", SendReport { to: "team".into() }).time_zone("Europe/Berlin"));
//!     }
//! }
//! ```
//!
//! # Guarantees
//!
//! - **At least once.** An enqueued job runs until it is done, is cancelled or has used up its attempts. It may
//!   run twice: if its process dies between the work and the acknowledgement, or freezes for longer than its
//!   lease.
//! - **One lease at a time.** A lease has a number. A worker with an older lease can't acknowledge, extend or
//!   fail a job that another worker has taken over.
//! - **A crash counts.** An attempt is counted when it starts, so a job that crashes its worker becomes a dead
//!   letter.
//! - **Nothing is only in memory.** Backoff, progress, errors and ticks of schedules are rows.
//!
//! Jobs whose name has no handler in this app are left for another version of it. A job with an unreadable
//! payload becomes a dead letter at once, with the reason.

mod context;
mod counts;
mod cron;
mod handle;
mod http;
mod job;
mod listen;
mod new_job;
mod progress_feed;
mod queue;
mod registration;
mod runner;
mod service;
mod settings;
mod store;

pub use context::JobContext;
pub use cron::{Cron, CronInfo, MissedTickBehavior};
pub use handle::{EnqueueError, Enqueued, Jobs};
pub use job::{Job, JobError};
pub use new_job::{MAX_PAYLOAD_BYTES, NewJob, Priority};
pub use queue::Queue;
pub use runner::{Runner, RunnerBuilder};
pub use service::{JobRequest, JobService};
pub use settings::JobSettings;
pub use store::{FailureInfo, JobFilter, JobInfo, JobState, QueueInfo};

pub(crate) use cron::CronSpec;
pub(crate) use http::JobsModule;
pub(crate) use job::{JobErrorKind, exponential_backoff};
pub(crate) use listen::listen;
pub(crate) use new_job::MAX_KEY_BYTES;
pub(crate) use registration::JobRegistrations;
pub(crate) use runner::{Outage, error_text, is_due};
pub(crate) use service::{JobHandler, jittered_backoff};
pub(crate) use store::{hex, json};

use crate::id::Id;

/// The id of a job.
pub type JobId = Id<JobInfo>;

/// Marker type of batch ids: see [`BatchId`]. A batch is a set of jobs with one callback.
#[derive(Clone, Copy, Debug)]
pub enum Batch {}

/// The id of a batch.
pub type BatchId = Id<Batch>;
