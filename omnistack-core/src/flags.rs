//! Feature flags: what is on for whom, decided in this process.
//!
//! ```
//! use omnistack_core::{clock::Clock, flags::{Constraint, Context, Definition, FlagSet, Operator, Rule, Variant}};
//!
//! let flags = FlagSet::new([
//!     Definition::new("new-ui").rule(Rule::tenants(["0190a7c8-0000-7000-8000-000000000001"])).rule(Rule::percent(20.0)),
//!     Definition::new("prices")
//!         .rule(Rule::default().and(Constraint::new("country", Operator::In, ["NO", "SE"])))
//!         .variant(Variant::new("low", 1).text("9"))
//!         .variant(Variant::new("high", 1).text("12")),
//! ]);
//! let clock = Clock::system();
//! let context = Context::now(&clock).user("7").attributes(&[("country", "NO")]);
//! assert!(flags.evaluate("prices", &context).variant.is_some());
//! assert!(!flags.is_on("prices", &Context::now(&clock).user("7")));
//! ```
//!
//! With [`FeatureFlags`] among the app's modules, flags are rows of its database that operators change at
//! `/api/v1/admin/feature-flags`, and [`Flags`] holds all of them in memory. Evaluating one asks nobody: it is a lookup, and
//! what its rules need. A change reaches every replica over [`Publisher`](crate::pubsub::Publisher) at once, or with the next
//! poll; while the database is away the last state stays in force.
//!
//! A handler asks with the extractor [`CallerFlags`]; a route that exists only for those who have a flag says so:
//!
//! ```
//! use omnistack_core::{app::Api, flags::flag};
//! use utoipa_axum::routes;
//!
//! /// Shows the new page.
//! #[utoipa::path(get, path = "/new", responses((status = 204)))]
//! async fn new_page() {}
//!
//! let api: Api<()> = Api::new().guarded(flag("new-ui"), routes!(new_page));
//! ```
//!
//! What decides, in this order: a kill switch, the date a flag expires, a tenant's override, the switch, its schedule, its
//! parents, its rules. Shares and variants are dealt out as Unleash does it, to the last bit, or as GrowthBook does
//! ([`Hashing`]); [`UnleashImport`] takes over flags of Unleash.

mod bucket;
mod caller;
mod change;
mod check;
mod context;
mod definition;
mod error;
mod exposure;
mod handle;
mod http;
mod matcher;
mod module;
#[cfg(feature = "openfeature")]
mod openfeature;
mod references;
mod route;
mod rule;
mod set;
mod store;
mod unleash;

pub use bucket::{Hashing, growthbook_hash, growthbook_ranges, unleash_share, unleash_variant};
pub use caller::CallerFlags;
pub use context::Context;
pub use definition::{
    Constraint, Definition, Operator, Parent, Payload, PayloadKind, Rollout, Rule, Segment, Variant, VariantOverride,
};
pub use error::FlagError;
pub use exposure::FlagExposed;
pub use handle::Flags;
pub use module::{FeatureFlags, FlagSettings};
#[cfg(feature = "openfeature")]
pub use openfeature::OpenFeatureProvider;
pub(crate) use route::behind;
pub use route::{FlagLayer, FlagService};
pub use set::{Evaluation, FlagSet, TenantOverride};
pub use store::{FlagChange, FlagRecord, OverrideRecord};
pub use unleash::UnleashImport;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::identity::Require;

/// Asks of a route that a flag is on for its caller: `Api::new().guarded(flag("new-ui"), routes!(…))`.
///
/// To others the route is not there: they get 404, so that nobody learns of what is not released. Without
/// [`FeatureFlags`] among its modules the app is not built.
pub fn flag(key: impl Into<Cow<'static, str>>) -> Require {
    Require::flag(key)
}

/// Why a flag is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagReason)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// There is no such flag: off.
    Unknown,
    /// It can't be carried out, as one that depends on itself: off.
    Broken,
    /// Its kill switch: off.
    Killed,
    /// Its time is over for good: off.
    Expired,
    /// The caller's tenant has an override.
    Override,
    /// Its switch: off.
    Off,
    /// Its schedule has not begun: off.
    NotYet,
    /// Its schedule has ended: off.
    Over,
    /// A parent is not as it must be: off.
    Parent,
    /// It has no rules: on.
    On,
    /// A rule holds: on.
    Rule,
    /// No rule holds: off.
    NoRule,
}
