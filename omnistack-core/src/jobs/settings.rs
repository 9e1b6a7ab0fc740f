//! Settings of the job queue.

use std::time::Duration;

crate::section! {
    /// Background jobs.
    pub struct JobSettings {
        /// Whether `serve` runs jobs too. Off where `worker` processes do.
        pub serve: bool = "JOBS_IN_SERVE", default "true";
        /// Jobs of one queue a process runs at once, unless the queue says otherwise.
        pub concurrency: u32 = "JOBS_CONCURRENCY", default "50", range "1"..="10000";
        /// How long a worker may be silent before others take its jobs. It speaks three times as often.
        pub lease: Duration = "JOBS_LEASE", default "30s", range "10ms"..="1h";
        /// How often a worker looks for jobs nobody told it about.
        pub poll: Duration = "JOBS_POLL", default "1s", range "1ms"..="1h";
        /// How long running jobs may go on after SIGTERM; then they are given back. Shorter than `SHUTDOWN_GRACE`.
        pub drain: Duration = "JOBS_DRAIN", default "20s", range "0s"..="1h";
        /// How long finished jobs are kept.
        pub keep_done: Duration = "JOBS_KEEP_DONE", default "1d", range "0s"..="3650d";
        /// How long dead letters are kept.
        pub keep_dead: Duration = "JOBS_KEEP_DEAD", default "30d", range "0s"..="3650d";
    }
}
