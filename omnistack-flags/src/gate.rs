//! Routes that exist only for callers with a flag.

use std::borrow::Cow;

use http::request::Parts;
use omnistack_core::{
    async_trait,
    identity::{Gate, GateSource, Require},
};

use crate::{CallerFlags, Flags};

/// Gate that is open while a flag is on for the caller. [`flag`] puts it before a route of a module; a plain axum app
/// applies it with a [`GateLayer`](omnistack_core::identity::GateLayer).
#[derive(Clone, Debug)]
pub struct FlagGate {
    flags: Flags,
    key: Cow<'static, str>,
}

impl FlagGate {
    /// Creates a gate that requires this flag.
    pub fn new(flags: Flags, key: impl Into<Cow<'static, str>>) -> Self {
        Self { flags, key: key.into() }
    }
}

#[async_trait]
impl Gate for FlagGate {
    async fn is_open(&self, request: &Parts) -> bool {
        CallerFlags::for_request(&self.flags, request).await.is_on(&self.key)
    }
}

/// Returns the gate of a flag, for routes that also require something else:
/// `Require::permission("reports:read").and_gate(flag_gate("new-ui"))`.
pub fn flag_gate(key: impl Into<Cow<'static, str>>) -> GateSource {
    let key = key.into();
    GateSource::new(format!("flag {key}"), move |ctx| Ok(FlagGate::new(ctx.get()?, key.clone())))
}

/// Requires that a flag is on for the caller of a route: `Api::new().require(flag("new-ui"), routes!(…))`.
///
/// Other callers get the same 404 response as for an unknown path, so that the route stays hidden. The app is not built
/// if [`FeatureFlags`](crate::FeatureFlags) is not among its modules.
pub fn flag(key: impl Into<Cow<'static, str>>) -> Require {
    Require::gate(flag_gate(key))
}
