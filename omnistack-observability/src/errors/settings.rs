//! The settings of error analytics.

use std::time::Duration;

use omnistack_core::{SecretString, email::Address};

omnistack_core::settings! {
    /// Error analytics.
    pub struct ErrorSettings {
        /// Whether the app records its errors.
        pub enabled: bool = "ERRORS_ENABLED", default "true";
        /// The time for which errors are kept before they are deleted.
        pub keep: Duration = "ERRORS_KEEP", default "90d", range "1d"..="3650d";
        /// The addresses that get a mail about each new, regressed or escalating group, separated by commas.
        pub alert_email: Vec<Address> = "ERRORS_ALERT_EMAIL";
        /// The URL to which each new, regressed or escalating group is posted: `https`, or `http` on this machine. In
        /// production it must lead to a public address, or to a network in `HTTP_CLIENT_ALLOWED_NETWORKS`.
        pub alert_webhook: Option<SecretString> = "ERRORS_ALERT_WEBHOOK";
    }
}
