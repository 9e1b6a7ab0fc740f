//! Settings of events.

use std::time::Duration;

crate::settings! {
    /// Events.
    pub struct EventSettings {
        /// Whether `serve` also delivers events. Turn it off if there are `worker` processes.
        pub serve: bool = "EVENTS_IN_SERVE", default "true";
        /// Deliveries that a process makes at once. If there are several subscribers, each can use at most half
        /// of them. A delivery may use a database connection, so the value should be less than
        /// `DATABASE_MAX_CONNECTIONS`.
        pub concurrency: u32 = "EVENTS_CONCURRENCY", default "6", range "1"..="1000";
        /// Interval at which a process looks for events that it was not notified of.
        pub poll: Duration = "EVENTS_POLL", default "1s", range "1ms"..="1h";
        /// Time for which running deliveries may continue after SIGTERM; then they are released. Must be shorter than
        /// `SHUTDOWN_GRACE`.
        pub drain: Duration = "EVENTS_DRAIN", default "20s", range "0s"..="1h";
        /// Time for which events are kept after all subscribers have finished them. Dead letters are kept until an
        /// operator retries or skips them.
        pub keep: Duration = "EVENTS_KEEP", default "1d", range "0s"..="3650d";
    }
}

/// The defaults of the settings.
impl Default for EventSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { serve: true, concurrency: 6, poll: seconds(1), drain: seconds(20), keep: seconds(24 * 60 * 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let read: EventSettings = Config::from_pairs([("APP_ENV", "test")]).read_settings().unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", EventSettings::default()));
    }
}
