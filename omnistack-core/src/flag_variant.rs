//! The port for the variants of feature flags.
//!
//! The module of the feature `flags` implements it. A module that has different ways to do something, such as models
//! that are compared with each other, asks [`FlagVariants`] for the variant of a caller:
//!
//! ```
//! use omnistack_core::{flag_variant::{FlagSubject, FlagVariants}, identity::{Plan, TenantId}};
//!
//! fn layout(flags: &FlagVariants, tenant: TenantId, plan: &Plan) -> String {
//!     let subject = FlagSubject { tenant, user: None, plan };
//!     flags.variant("layout-of-reports", subject).unwrap_or_else(|| "plain".to_owned())
//! }
//! # let _ = layout;
//! ```

use std::{fmt, sync::Arc};

use crate::{
    id::{TenantId, UserId},
    identity::Plan,
};

/// The caller that gets a variant of a flag.
#[derive(Clone, Copy, Debug)]
pub struct FlagSubject<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The user. Without one, all users of the tenant get the same variant.
    pub user: Option<UserId>,
    /// The plan of the tenant.
    pub plan: &'a Plan,
}

/// A source of the variants of flags: the contract of the module with the flags. Apps use [`FlagVariants`].
pub trait FlagVariantSource: Send + Sync + 'static {
    /// Returns the name of the variant that a flag gives to a caller, without I/O. Returns `None` if the flag does not
    /// exist, is off for the caller, or has no variants.
    fn variant(&self, flag: &str, subject: FlagSubject<'_>) -> Option<String>;
}

/// The variants of the app's flags. It is in the [`Context`](crate::module::Context) of each app. By default, no flag
/// has variants. Cheap to clone.
#[derive(Clone)]
pub struct FlagVariants(Arc<dyn FlagVariantSource>);

/// The source of an app without flags.
struct NoFlags;

impl FlagVariantSource for NoFlags {
    fn variant(&self, _: &str, _: FlagSubject<'_>) -> Option<String> {
        None
    }
}

impl FlagVariants {
    /// Creates the variants of this source.
    pub fn new(source: impl FlagVariantSource) -> Self {
        Self(Arc::new(source))
    }

    /// Returns the name of the variant that a flag gives to a caller. Returns `None` if the flag does not exist, is off
    /// for the caller, or has no variants.
    pub fn variant(&self, flag: &str, subject: FlagSubject<'_>) -> Option<String> {
        self.0.variant(flag, subject)
    }
}

impl Default for FlagVariants {
    fn default() -> Self {
        Self::new(NoFlags)
    }
}

impl fmt::Debug for FlagVariants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlagVariants")
    }
}
