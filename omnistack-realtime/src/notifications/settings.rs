//! The settings of notifications.

use std::time::Duration;

omnistack_core::settings! {
    /// Notifications.
    pub(crate) struct NotificationSettings {
        /// The time after which notifications that a user has not read, and that were not mailed, are sent as one mail.
        /// `0s` sends no such mails.
        pub(crate) digest_after: Duration = "NOTIFICATIONS_DIGEST_AFTER", default "30m", range "0s"..="30d";
        /// The time for which notifications are kept, read or not.
        pub(crate) keep: Duration = "NOTIFICATIONS_KEEP", default "90d", range "1d"..="3650d";
    }
}
