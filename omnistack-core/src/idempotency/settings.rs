//! Settings of idempotency keys.

use std::time::Duration;

crate::settings! {
    /// Idempotency keys.
    pub struct IdempotencySettings {
        /// Time for which a key and its response are stored, from the time of the request.
        pub retention: Duration = "IDEMPOTENCY_RETENTION", default "24h", range "1m"..="365d";
        /// Time that a request waits for another with the same key before it fails with 409.
        pub wait: Duration = "IDEMPOTENCY_WAIT", default "5s", range "0s"..="5m";
        /// Longest time of a request with a key. A longer timeout of the route takes precedence. After a crash, a
        /// retry waits up to this long.
        pub lease: Duration = "IDEMPOTENCY_LEASE", default "60s", range "1ms"..="1d";
    }
}

/// The defaults of the settings.
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
        let read: IdempotencySettings = Config::from_pairs([("APP_ENV", "test")]).read_settings().unwrap();
        let made = IdempotencySettings::default();
        assert_eq!((read.retention, read.wait, read.lease), (made.retention, made.wait, made.lease));
    }
}
