//! The plan of every tenant, without the module `Billing`.

use std::sync::Arc;

use omnistack::{
    identity::{Entitlements, Plan, PlanSource},
    prelude::*,
};

/// The plan of every tenant, with at most three rooms.
#[derive(Debug)]
pub struct Plans;

impl Module for Plans {
    fn name(&self) -> &'static str {
        "plans"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide(Entitlements::new(Self));
    }
}

#[async_trait]
impl PlanSource for Plans {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("free").limit("rooms", 3)))
    }
}
