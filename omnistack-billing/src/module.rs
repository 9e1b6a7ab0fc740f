//! The module [`Billing`].

/// The module of plans, entitlements, usage and credits: `.with(Billing::from_env().plans(plans))`.
#[derive(Debug, Default)]
#[must_use]
pub struct Billing {}
