//! Routes: flags for callers, and for operators.

mod admin;
mod app;

use crate::app::{Mount, Registry};

use super::Flags;

/// An import may hold thousands of flags.
const LARGEST_IMPORT: u64 = 8 * 1024 * 1024;

pub(super) fn register(registry: &mut Registry) {
    registry
        .routes(Mount::app("/feature-flags"), app::api(), |ctx| ctx.get::<Flags>())
        .routes(Mount::admin("/feature-flags").body_limit(LARGEST_IMPORT), admin::api(), |ctx| ctx.get::<Flags>())
        .routes(Mount::admin("/feature-segments"), admin::segments(), |ctx| ctx.get::<Flags>());
}
