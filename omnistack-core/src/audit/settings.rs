//! Settings of the audit log.

use std::time::Duration;

crate::settings! {
    /// The audit log.
    ///
    /// ```
    /// use std::time::Duration;
    /// use omnistack_core::{audit::AuditSettings, config::Config};
    ///
    /// let settings: AuditSettings = Config::from_pairs([("AUDIT_RETENTION", "365d")]).read_settings()?;
    /// assert_eq!(settings.retention, Some(Duration::from_secs(365 * 24 * 60 * 60)));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct AuditSettings {
        /// Time for which audit entries are kept, such as `365d`. Older entries are deleted every night at 3:00 UTC.
        /// If unset, entries are kept forever.
        pub retention: Option<Duration> = "AUDIT_RETENTION", range "1h"..="36500d";
    }
}
