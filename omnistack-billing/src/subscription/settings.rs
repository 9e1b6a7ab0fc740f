//! The settings of subscriptions.

use std::time::Duration;

omnistack_core::settings! {
    /// Subscriptions.
    pub(crate) struct SubscriptionSettings {
        /// The time for which a tenant keeps its plan while a payment is due.
        pub(crate) grace: Duration = "BILLING_GRACE", default "7d", range "0s"..="90d";
        /// Whether a user has one trial of each group of plans, in whichever tenant. Else each tenant has one.
        pub(crate) one_trial_per_user: bool = "BILLING_ONE_TRIAL_PER_USER", default "false";
    }
}
