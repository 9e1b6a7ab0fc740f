//! Events of unknown meters: they are kept, shown, and counted only when an operator says so.

use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    identity::TenantId,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Ledger;

/// Largest number of unknown meters that are listed.
const MAX_UNMATCHED_METERS: i64 = 100;

/// Events of a meter that the app does not have.
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(super) struct UnmatchedMeter {
    /// The name that the events have.
    pub(super) meter: String,
    /// The number of events.
    pub(super) events: i64,
    /// The time of use of the first event.
    pub(super) first_at: Timestamp,
    /// The time of use of the last event.
    pub(super) last_at: Timestamp,
}

/// The events of unknown meters.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct UnmatchedUsage {
    /// The meters, by name. At most 100.
    pub(super) meters: Vec<UnmatchedMeter>,
}

impl Ledger {
    /// Returns the events of unknown meters: those of a tenant, or of all tenants if `None`.
    pub(super) async fn unmatched(&self, tenant: Option<TenantId>) -> Result<UnmatchedUsage, db::Error> {
        let select = "select meter, count(*) as events, min(at) as first_at, max(at) as last_at
            from omni_usage_events where units is null";
        let end = "group by meter order by meter limit";
        let mut tx: Tx;
        let meters = match tenant {
            Some(tenant) => {
                tx = self.0.db.tenant(tenant).begin_read().await?;
                let sql = format!("{select} and tenant_id = $1 {end} $2");
                tx.query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(MAX_UNMATCHED_METERS).fetch_all().await?
            }
            None => {
                // Operators see the events of all tenants.
                tx = self.0.db.all_tenants().begin_read().await?;
                let sql = format!("{select} {end} $1");
                tx.query(sqlx::AssertSqlSafe(sql)).bind(MAX_UNMATCHED_METERS).fetch_all().await?
            }
        };
        tx.commit().await?;
        Ok(UnmatchedUsage { meters })
    }
}
