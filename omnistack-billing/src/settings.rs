//! The settings.

use std::time::Duration;

use jiff::tz::TimeZone;
use omnistack_core::config::SettingValue;

/// The name of a time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneName(pub(crate) TimeZone);

impl SettingValue for ZoneName {
    const EXPECTED: &'static str = "name of a time zone, such as `Europe/Berlin`";

    fn parse(text: &str) -> Result<Self, String> {
        // The default doesn't need the database of time zones, which takes long to open.
        if text == "UTC" {
            return Ok(Self(TimeZone::UTC));
        }
        TimeZone::get(text).map(Self).map_err(|_| format!("there is no time zone `{}`", text.escape_debug()))
    }
}

omnistack_core::settings! {
    /// Plans, billing periods and usage.
    pub(crate) struct BillingSettings {
        /// The TOML file with the plans, instead of those in the code.
        pub(crate) plans_file: Option<std::path::PathBuf> = "BILLING_PLANS_FILE";
        /// The time zone of tenants that have not set one: the IANA name.
        pub(crate) zone: ZoneName = "BILLING_ZONE", default "UTC";
    }
}

omnistack_core::settings! {
    /// The ledger of usage.
    pub(crate) struct UsageSettings {
        /// The time after which counters of requests are stored. A crash loses what is counted since.
        pub(crate) flush: Duration = "USAGE_FLUSH", default "2s", range "10ms"..="1m";
        /// The time after the end of a billing period for which events still count in it. Later ones are late.
        pub(crate) grace: Duration = "USAGE_GRACE", default "1h", range "0s"..="7d";
        /// The age from which on events are rejected.
        pub(crate) max_age: Duration = "USAGE_MAX_AGE", default "35d", range "1h"..="366d";
        /// The time for which events are kept; their sums are kept for ever. An event that is sent again afterwards is
        /// too old to be counted twice, if it states its time.
        pub(crate) keep_events: Duration = "USAGE_KEEP_EVENTS", default "400d", range "1d"..="3650d";
        /// The time for which the usage of each minute is kept.
        pub(crate) keep_minutes: Duration = "USAGE_KEEP_MINUTES", default "2d", range "1h"..="366d";
        /// The time for which the usage of each hour is kept.
        pub(crate) keep_hours: Duration = "USAGE_KEEP_HOURS", default "90d", range "2d"..="3650d";
        /// Whether each request of a signed-in caller is counted as `api_requests`.
        pub(crate) count_requests: bool = "USAGE_COUNT_REQUESTS", default "true";
    }
}
