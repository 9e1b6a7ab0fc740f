//! Routes of flags for callers and operators.

mod admin;
mod app;

use omnistack_core::module::{Mount, Registry};

use crate::Flags;

/// Largest body of an import in bytes: an import may contain thousands of flags.
const MAX_IMPORT_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn register(registry: &mut Registry) {
    registry
        .routes(Mount::app("/feature-flags"), app::api(), |ctx| ctx.get::<Flags>())
        .routes(Mount::admin("/feature-flags").body_limit(MAX_IMPORT_BYTES), admin::api(), |ctx| ctx.get::<Flags>())
        .routes(Mount::admin("/feature-segments"), admin::segments(), |ctx| ctx.get::<Flags>());
}
