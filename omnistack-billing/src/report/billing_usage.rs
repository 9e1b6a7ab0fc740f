//! The limits of the plan and what is used of each, for a page about the plan.

use std::collections::{BTreeMap, BTreeSet};

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    identity::TenantId,
    usage::{DataEnvironment, meters},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    current::{limit_of, whole},
    numbers::quantity,
    store::{self, UsageScope},
};
use crate::{meter::Meter, quantity::Quantity};

/// The plan, the current billing period, and what is used of each limit. The field of a limit has its name, such as
/// `projects`; that of `api_requests` is `requests`, and that of `storage_bytes` is `storage`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillingUsage {
    /// The key of the plan.
    plan: String,
    /// The start of the billing period.
    billing_period_start: Timestamp,
    /// The end of the billing period.
    billing_period_end: Timestamp,
    #[serde(flatten)]
    limits: BTreeMap<String, UsedLimit>,
}

/// A limit of the plan, and what is used of it.
#[derive(Debug, Serialize, ToSchema)]
struct UsedLimit {
    /// The amount that is used. `null` if the app does not count it.
    #[schema(required)]
    used: Option<Quantity>,
    /// The limit. `null` is unlimited.
    #[schema(required)]
    limit: Option<Quantity>,
}

impl UsageReports {
    /// Returns what is used of each limit of a tenant's plan, and of each limited resource.
    pub(super) async fn billing_usage(&self, tenant: TenantId) -> Result<BillingUsage, Error> {
        let accounts = self.ledger.accounts();
        let entitled = accounts.entitled(tenant).await?;
        let period = accounts.schedule(tenant).await?.schedule.period_at(self.now());
        let of_plan = entitled.definition.limits.keys().map(String::as_str);
        let names: BTreeSet<&str> = of_plan.chain(self.resources.names()).collect();

        let scope = UsageScope { tenant, environment: DataEnvironment::Live };
        let meters: Vec<&Meter> = names.iter().filter_map(|name| self.meters().get(name)).collect();
        let mut tx = self.db().tenant(tenant).begin_read().await?;
        let windows = store::limit_windows(&mut tx, scope, &meters, period.start).await?;
        tx.commit().await?;

        let mut limits = BTreeMap::new();
        for name in names {
            let used = match self.meters().get(name) {
                Some(meter) => Some(quantity(meter, windows.get(name).map_or(0, |window| window.value(meter)))),
                None => self.resources.count(name, tenant).await.map_err(Error::internal)?.map(whole),
            };
            let limit = limit_of(&entitled, name).map(whole);
            limits.insert(field_of(name).to_owned(), UsedLimit { used, limit });
        }
        Ok(BillingUsage {
            plan: entitled.plan.key.clone(),
            billing_period_start: period.start,
            billing_period_end: period.end,
            limits,
        })
    }
}

/// Returns the name of the field of a limit.
fn field_of(limit: &str) -> &str {
    match limit {
        meters::API_REQUESTS => "requests",
        meters::STORAGE_BYTES => "storage",
        _ => limit,
    }
}
