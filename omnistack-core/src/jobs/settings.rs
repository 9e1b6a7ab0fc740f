//! Settings of the job queue.

use std::time::Duration;

crate::settings! {
    /// Background jobs.
    pub struct JobSettings {
        /// Whether `serve` also runs jobs. Turn it off if there are `worker` processes.
        pub serve: bool = "JOBS_IN_SERVE", default "true";
        /// Jobs of one queue that a process runs at once, unless the queue has a limit of its own.
        pub concurrency: u32 = "JOBS_CONCURRENCY", default "50", range "1"..="10000";
        /// Duration of a lease without a heartbeat, after which other workers take over its job. Workers send
        /// heartbeats three times as often.
        pub lease: Duration = "JOBS_LEASE", default "30s", range "10ms"..="1h";
        /// Interval at which a worker looks for jobs that it was not notified of.
        pub poll: Duration = "JOBS_POLL", default "1s", range "1ms"..="1h";
        /// Time for which running jobs may continue after SIGTERM; then they are released for other workers. Must be
        /// shorter than `SHUTDOWN_GRACE`.
        pub drain: Duration = "JOBS_DRAIN", default "20s", range "0s"..="1h";
        /// Time for which finished jobs are kept.
        pub keep_done: Duration = "JOBS_KEEP_DONE", default "1d", range "0s"..="3650d";
        /// Time for which dead letters are kept.
        pub keep_dead: Duration = "JOBS_KEEP_DEAD", default "30d", range "0s"..="3650d";
    }
}

/// The defaults of the settings.
impl Default for JobSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            serve: true,
            concurrency: 50,
            lease: seconds(30),
            poll: seconds(1),
            drain: seconds(20),
            keep_done: seconds(24 * 60 * 60),
            keep_dead: seconds(30 * 24 * 60 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let read: JobSettings = Config::from_pairs([("APP_ENV", "test")]).read_settings().unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", JobSettings::default()));
    }
}
