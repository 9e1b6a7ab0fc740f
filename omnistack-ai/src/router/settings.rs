//! The settings of the router.

use std::path::PathBuf;

use super::strategy::RouteStrategy;

omnistack_core::settings! {
    /// AI routing.
    pub(crate) struct AiRoutingSettings {
        /// The model, alias or route that answers requests without a model, or with the model `default`.
        pub(crate) default_model: String = "AI_DEFAULT_MODEL", default "smart";
        /// A TOML file with named routes. They replace built-in ones of the same name.
        pub(crate) routes_file: Option<PathBuf> = "AI_ROUTES_FILE";
        /// The order in which the models of an alias are tried, and the providers of a model.
        pub(crate) strategy: RouteStrategy = "AI_STRATEGY", default "ordered";
        /// The models that tenants may use, as names or `provider/model`, with `*` for any text. Without it, all.
        pub(crate) allowed_models: Vec<String> = "AI_ALLOWED_MODELS";
        /// Whether the successor of a model answers after the model has ended. Without it, such requests get 410
        /// `MODEL_RETIRED`, unless an alias has the name.
        pub(crate) use_successors: bool = "AI_USE_SUCCESSORS", default "false";
        /// Whether models without a known price are refused.
        pub(crate) require_prices: bool = "AI_REQUIRE_PRICES", default "false";
        /// The number of consecutive failures after which a model at a provider is avoided.
        pub(crate) breaker_failures: u32 = "AI_BREAKER_FAILURES", default "5", range "1"..="1000";
    }
}
