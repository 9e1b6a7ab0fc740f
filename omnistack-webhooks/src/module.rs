//! The module [`Webhooks`].

use omnistack_core::{
    migrations,
    module::{Module, Registry},
};

use crate::{bridge, dashboard, inbox, outbound, sources};

/// The module of webhooks: `.with(Webhooks::from_env())`. See the [crate's documentation](crate).
#[doc(alias = "webhook")]
#[derive(Debug, Default)]
#[must_use]
pub struct Webhooks {}

impl Webhooks {
    /// Creates the module, which reads its settings.
    pub fn from_env() -> Self {
        Self::default()
    }
}

impl Module for Webhooks {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations!["0001_inbox", "0002_outbound"]);
        sources::register(registry);
        inbox::register(registry);
        outbound::register(registry);
        bridge::register(registry);
        dashboard::register(registry);
    }
}
