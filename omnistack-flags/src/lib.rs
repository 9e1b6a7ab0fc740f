//! Feature flags, evaluated in memory in this process.
//!
//! ```
//! use omnistack_core::clock::Clock;
//! use omnistack_flags::{Constraint, EvaluationContext, FlagDefinition, FlagSet, Operator, FlagRule, FlagVariant};
//!
//! let flags = FlagSet::new([
//!     FlagDefinition::new("new-ui").rule(FlagRule::tenants(["0190a7c8-0000-7000-8000-000000000001"])).rule(FlagRule::percent(20.0)),
//!     FlagDefinition::new("prices")
//!         .rule(FlagRule::default().constraint(Constraint::new("country", Operator::In, ["NO", "SE"])))
//!         .variant(FlagVariant::new("low", 1).text("9"))
//!         .variant(FlagVariant::new("high", 1).text("12")),
//! ]);
//! let clock = Clock::system();
//! let context = EvaluationContext::now(&clock).user("7").attributes(&[("country", "NO")]);
//! assert!(flags.evaluate("prices", &context).variant.is_some());
//! assert!(!flags.is_on("prices", &EvaluationContext::now(&clock).user("7")));
//! ```
//!
//! With [`FeatureFlags`] among the app's modules, flags are rows of the app's database that operators change at
//! `/api/v1/admin/feature-flags`. [`Flags`] holds all of them in memory, so evaluating a flag does no I/O. A
//! change reaches every replica over [`PubSub`](omnistack_core::pubsub::PubSub) immediately, or with the next
//! poll. While the database is unavailable, the last state that was read stays in force.
//!
//! A handler evaluates flags for its caller with the extractor [`CallerFlags`]. A route can require a flag:
//!
//! ```
//! use omnistack_core::module::Api;
//! use omnistack_flags::flag;
//! use utoipa_axum::routes;
//!
//! /// Shows the new page.
//! #[utoipa::path(get, path = "/new", responses((status = 204)))]
//! async fn new_page() {}
//!
//! let api: Api<()> = Api::new().require(flag("new-ui"), routes!(new_page));
//! ```
//!
//! A flag is decided by these, in this order: its kill switch, its expiry date, the tenant's override, the
//! switch `enabled`, its schedule, its prerequisites, its rules. Rollouts and variants are assigned with the
//! hash of Unleash, bit for bit. [`UnleashImport`] reads flags of Unleash.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bucket;
mod caller;
mod change;
mod client;
mod context;
mod definition;
mod error;
mod export;
mod exposure;
mod gate;
mod http;
mod matcher;
mod module;
#[cfg(feature = "openfeature")]
mod openfeature;
mod references;
mod rule;
mod set;
mod store;
mod unleash;
mod validate;
mod variant_source;

pub use bucket::{unleash_share, unleash_variant};
pub use caller::CallerFlags;
pub use client::Flags;
pub use context::EvaluationContext;
pub use definition::{
    Constraint, FlagDefinition, FlagRule, FlagVariant, Operator, Payload, PayloadKind, Prerequisite, Rollout, Segment,
    VariantOverride,
};
pub use error::FlagError;
pub use exposure::FlagExposure;
pub use gate::{FlagGate, flag, flag_gate};
pub use module::{FeatureFlags, FlagSettings, MIGRATIONS};
#[cfg(feature = "openfeature")]
pub use openfeature::OpenFeatureProvider;
pub use set::{Evaluation, FlagSet, TenantOverride};
pub use store::{FlagChange, FlagRecord, TenantOverrideRecord};
pub use unleash::UnleashImport;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reason why a flag is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagReason)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlagReason {
    /// The flag does not exist: off.
    Unknown,
    /// The flag can't be evaluated, for example because its prerequisites form a cycle: off.
    Broken,
    /// The kill switch is set: off.
    Killed,
    /// The date in `expires_at` has passed: off.
    Expired,
    /// The caller's tenant has an override, which decides.
    Override,
    /// The flag is not `enabled`: off.
    Off,
    /// The date in `from` has not been reached: off.
    NotStarted,
    /// The date in `until` has passed: off.
    Ended,
    /// A prerequisite is not met: off.
    Parent,
    /// The flag has no rules: on.
    On,
    /// A rule matches: on.
    Rule,
    /// No rule matches: off.
    NoRule,
}
