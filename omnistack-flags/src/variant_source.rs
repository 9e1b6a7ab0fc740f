//! The variants of flags for other modules, by core's port.

use omnistack_core::flag_variant::{FlagSubject, FlagVariantSource};

use crate::Flags;

impl FlagVariantSource for Flags {
    /// Evaluates a flag. Rollouts and variants of the stickiness `default` are assigned by the user, or else by the
    /// tenant.
    fn variant(&self, flag: &str, subject: FlagSubject<'_>) -> Option<String> {
        let tenant = subject.tenant.to_string();
        let user = subject.user.map(|user| user.to_string());
        let context = self.context().tenant(tenant.as_str()).session(tenant.as_str()).user(user.as_deref());
        let variant = self.evaluate(flag, &context.plan(subject.plan)).variant?;
        Some(variant.name.clone())
    }
}
