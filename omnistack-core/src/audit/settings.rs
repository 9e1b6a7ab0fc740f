//! Settings of the audit log.

use std::time::Duration;

crate::section! {
    /// The audit log.
    pub struct AuditSettings {
        /// How long entries are kept, e.g. `365d`: older ones are removed every night, at 3:00 UTC. Unset, they are kept for
        /// ever.
        pub retention: Option<Duration> = "AUDIT_RETENTION";
    }
}
