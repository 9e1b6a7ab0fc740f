//! Settings of idempotency keys.

use std::time::Duration;

crate::section! {
    /// Idempotency keys.
    pub struct IdempotencySettings {
        /// How long a key and its answer are kept, from the request on.
        pub retention: Duration = "IDEMPOTENCY_RETENTION", default "24h", range "1m"..="365d";
        /// How long a request waits for another with the same key before it is answered 409.
        pub wait: Duration = "IDEMPOTENCY_WAIT", default "5s", range "0s"..="5m";
        /// How long a request with a key may be carried out; a route's longer timeout counts instead. After a crash, a retry
        /// waits for as long.
        pub lease: Duration = "IDEMPOTENCY_LEASE", default "60s", range "1ms"..="1d";
    }
}

/// As when nothing is set.
impl Default for IdempotencySettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { retention: seconds(24 * 60 * 60), wait: seconds(5), lease: seconds(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let read: IdempotencySettings = Config::from_pairs([("APP_ENV", "test")]).section().unwrap();
        let made = IdempotencySettings::default();
        assert_eq!((read.retention, read.wait, read.lease), (made.retention, made.wait, made.lease));
    }
}
