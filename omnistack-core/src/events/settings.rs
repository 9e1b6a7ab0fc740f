//! Settings of events.

use std::time::Duration;

crate::section! {
    /// Events.
    pub struct EventSettings {
        /// Whether `serve` delivers events too. Off where `worker` processes do.
        pub serve: bool = "EVENTS_IN_SERVE", default "true";
        /// Deliveries a process makes at once; of several subscribers one takes half of them at most. Each may use a connection
        /// of the database, so fewer than `DATABASE_MAX_CONNECTIONS`.
        pub concurrency: u32 = "EVENTS_CONCURRENCY", default "6", range "1"..="1000";
        /// How often a process looks for events nobody told it about.
        pub poll: Duration = "EVENTS_POLL", default "1s", range "1ms"..="1h";
        /// How long deliveries may go on after SIGTERM; then they are given back. Shorter than `SHUTDOWN_GRACE`.
        pub drain: Duration = "EVENTS_DRAIN", default "20s", range "0s"..="1h";
        /// How long events are kept that every subscriber is done with. Dead letters are kept until somebody deals with them.
        pub keep: Duration = "EVENTS_KEEP", default "1d", range "0s"..="3650d";
    }
}
