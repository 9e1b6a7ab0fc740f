//! Work done later, in the background, kept in the app's own database.
//!
//! A [`Job`] is a serde struct that knows how to run. [`Jobs::enqueue_in`] writes it in the caller's transaction, so that the
//! job exists exactly when the rows it is about do. Workers lease jobs that are due, run them, and store how each attempt
//! ended.
//!
//! ```
//! use omnistack_core::{app::{Module, Registry}, jobs::{Cron, Job, JobCtx, JobError, Queue}};
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
//!     async fn run(self, _: &(), ctx: &JobCtx) -> Result<(), JobError> {
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
//!             .cron(Cron::new("0 6 * * MON", SendReport { to: "team".into() }).zone("Europe/Berlin"));
//!     }
//! }
//! ```
//!
//! # What is promised
//!
//! - **At least once.** What was enqueued runs, until it is done, cancelled or out of attempts. It may run twice: when its
//!   process dies between the work and the acknowledgement, or freezes for longer than its lease.
//! - **One lease at a time.** A lease has a number. Who comes back with an older one can't acknowledge, lengthen or fail what
//!   another has taken over.
//! - **A crash counts.** An attempt is counted when it begins, so a job that kills its worker ends among the dead letters.
//! - **Nothing is in memory only.** Backoff, progress, errors and cron ticks are rows.
//!
//! Jobs of a name this app has no handler for are left alone, for another version of it. A payload that can't be read is a
//! dead letter at once, with the reason.

mod context;
mod cron;
mod draft;
mod handle;
pub(crate) mod http;
mod job;
mod listen;
mod queue;
mod runner;
mod service;
mod settings;
mod store;

pub use context::JobCtx;
pub use cron::{Cron, CronInfo, Missed};
pub use draft::{Draft, LARGEST_PAYLOAD, Priority};
pub use handle::{EnqueueError, Enqueued, Jobs};
pub use job::{Job, JobError};
pub use queue::Queue;
pub use runner::Runner;
pub use service::{JobRequest, JobService};
pub use settings::JobSettings;
pub use store::{FailureInfo, JobFilter, JobInfo, JobState, QueueInfo};

pub(crate) use cron::CronSpec;
pub(crate) use draft::LONGEST_KEY;
pub(crate) use job::{Kind, exponential};
pub(crate) use listen::listen;
pub(crate) use runner::{Trouble, is_due, storable};
pub(crate) use service::{Handler, wait};
pub(crate) use store::{hex, json};

use crate::id::Id;

/// The id of a job.
pub type JobId = Id<JobInfo>;

/// Jobs that belong together.
#[derive(Clone, Copy, Debug)]
pub enum Batch {}

/// The id of a batch.
pub type BatchId = Id<Batch>;
