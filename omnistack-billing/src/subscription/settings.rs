//! The settings of subscriptions.

use std::time::Duration;

use omnistack_core::config::SettingValue;

omnistack_core::settings! {
    /// Subscriptions.
    pub(crate) struct SubscriptionSettings {
        /// The time for which a tenant keeps its plan while a payment is due.
        pub(crate) grace: Duration = "BILLING_GRACE", default "7d", range "0s"..="90d";
        /// Whether a user has one trial of each group of plans, in whichever tenant. Else each tenant has one.
        pub(crate) one_trial_per_user: bool = "BILLING_ONE_TRIAL_PER_USER", default "false";
        /// The consequence of a lost dispute: `cancel` ends the subscription at the provider at once. With `keep` the
        /// tenant has no plan, but the provider goes on billing until an operator or the tenant cancels.
        pub(crate) lost_dispute: LostDisputeAction = "BILLING_LOST_DISPUTE", default "cancel";
    }
}

/// The consequence of a lost dispute for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostDisputeAction {
    Cancel,
    Keep,
}

impl SettingValue for LostDisputeAction {
    const EXPECTED: &'static str = "cancel or keep";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "cancel" => Ok(Self::Cancel),
            "keep" => Ok(Self::Keep),
            _ => Err(format!("`{text}` is neither cancel nor keep")),
        }
    }
}
