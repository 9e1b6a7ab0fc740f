//! The settings of webhooks to tenants.

use std::time::Duration;

omnistack_core::settings! {
    /// Webhooks to tenants.
    pub(crate) struct OutboundSettings {
        /// Most endpoints of a tenant.
        pub(crate) max_endpoints: u32 = "WEBHOOKS_MAX_ENDPOINTS", default "50", range "1"..="1000";
        /// Time for which the previous secret of an endpoint still signs after a rotation.
        pub(crate) secret_overlap: Duration = "WEBHOOKS_SECRET_OVERLAP", default "24h", range "0s"..="30d";
        /// Time for which messages and their deliveries are kept, delivered or not.
        pub(crate) keep: Duration = "WEBHOOKS_KEEP", default "30d", range "1d"..="3650d";
        /// Longest duration of an attempt, from its start to the end of the response.
        pub(crate) timeout: Duration = "WEBHOOKS_TIMEOUT", default "15s", range "10ms"..="5m";
        /// Time between two searches for deliveries that are due. Those of this process are noticed at once.
        pub(crate) poll: Duration = "WEBHOOKS_POLL", default "1s", range "10ms"..="1m";
        /// Most endpoints that a process serves at the same time.
        pub(crate) concurrency: u32 = "WEBHOOKS_CONCURRENCY", default "256", range "1"..="10000";
    }
}
