//! The settings of accounts.

use std::time::Duration;

omnistack_core::settings! {
    /// Accounts of calls to language models.
    pub(crate) struct AiAccountingSettings {
        /// Whether tenants pay for calls with the credits of their wallets. It needs the module of the feature
        /// `billing`.
        pub(crate) charge_credits: bool = "AI_CHARGE_CREDITS", default "false";
        /// The credits that a tenant pays for models that cost one US dollar.
        pub(crate) credits_per_usd: u32 = "AI_CREDITS_PER_USD", default "100", range "1"..="1000000";
        /// The time for which the ledger keeps calls.
        pub(crate) calls_retention: Duration = "AI_CALLS_RETENTION", default "400d", range "62d"..="3650d";
    }
}
