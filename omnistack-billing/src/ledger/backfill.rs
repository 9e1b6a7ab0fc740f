//! Counts events that were stored before their meter existed.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Sql, Tx},
    identity::{ApiKeyId, TenantId, UserId},
    jobs::{Job, JobContext, JobError},
    usage::{Decimal, UsageEvent},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Ledger,
    aggregate::UsageDelta,
    event::{EventPolicy, NewUsage, REPORTED_SOURCE_PREFIX},
    record::BilledAccount,
};
use crate::{account::schedule::AccountLock, meter::Meter};

/// Number of events that one transaction counts.
const BATCH: i64 = 500;

/// Locks events of an unknown meter, in the order of their keys. Those that another transaction counts are skipped.
const SELECT: Sql = Sql {
    postgres: "select tenant_id, environment, source, event_id, quantity, category, user_id, api_key_id, at
        from omni_usage_events where units is null and meter = $1 and at >= $2
        and (tenant_id, environment, source, event_id) > ($4, $5, $6, $7)
        order by tenant_id, environment, source, event_id limit $3 for update skip locked",
    sqlite: "select tenant_id, environment, source, event_id, quantity, category, user_id, api_key_id, at
        from omni_usage_events where units is null and meter = $1 and at >= $2
        and (tenant_id, environment, source, event_id) > ($4, $5, $6, $7)
        order by tenant_id, environment, source, event_id limit $3",
};

const SET_COUNTED: &str = "update omni_usage_events set units = $5, billed_in = $6
    where tenant_id = $1 and environment = $2 and source = $3 and event_id = $4";

#[derive(omnistack_core::db::FromRow)]
struct UnmatchedRow {
    tenant_id: TenantId,
    environment: String,
    source: String,
    event_id: String,
    quantity: String,
    category: Option<String>,
    user_id: Option<UserId>,
    api_key_id: Option<ApiKeyId>,
    at: Timestamp,
}

impl UnmatchedRow {
    fn into_event(self, meter: &str) -> Result<UsageEvent, db::Error> {
        let unreadable = |column| {
            let id = format!("{} of {} of the tenant {}", self.event_id, self.source, self.tenant_id);
            db::Error::unreadable("omni_usage_events", id, column)
        };
        let quantity = Decimal::from_str_exact(&self.quantity).map_err(|_| unreadable("quantity"))?;
        let environment = self.environment.parse().map_err(|_| unreadable("environment"))?;
        let event = UsageEvent::new(self.tenant_id, meter.to_owned(), quantity, self.at);
        let event = event.once(self.source, self.event_id).environment(environment);
        let mut event = event.api_key(self.api_key_id);
        (event.category, event.user) = (self.category.map(Into::into), self.user_id);
        Ok(event)
    }
}

impl Ledger {
    /// Counts a batch of events of a meter that were stored before it existed, after the event `after`. Returns the
    /// number of events that were counted, and the last event of the batch, or `None` if there are no more.
    async fn count_unmatched(
        &self,
        meter: &Meter,
        since: Timestamp,
        billed: bool,
        after: Option<UsageEvent>,
    ) -> Result<(usize, Option<UsageEvent>), db::Error> {
        let (tenant, environment, source, id) = match after {
            Some(event) => {
                (event.tenant, event.environment.as_str(), event.source.into_owned(), event.id.unwrap_or_default())
            }
            None => (TenantId::from_uuid(Uuid::nil()), "", String::new(), String::new()),
        };
        // The events are of several tenants.
        let mut tx = self.0.db.all_tenants().begin().await?;
        let select = tx.query(SELECT).bind(meter.name()).bind(since).bind(BATCH);
        let rows: Vec<UnmatchedRow> = select.bind(tenant).bind(environment).bind(source).bind(id).fetch_all().await?;
        let events = rows.into_iter().map(|row| row.into_event(meter.name()));
        let events = events.collect::<Result<Vec<UsageEvent>, _>>()?;
        let last = events.last().cloned();
        let counted = self.count_in(&mut tx, meter, events, billed).await?;
        tx.commit().await?;
        Ok((counted, last))
    }

    async fn count_in(
        &self,
        tx: &mut Tx,
        meter: &Meter,
        events: Vec<UsageEvent>,
        billed: bool,
    ) -> Result<usize, db::Error> {
        let now = self.0.clock.now();
        let mut tenants: Vec<TenantId> = events.iter().map(|event| event.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let accounts = self.lock_accounts(tx, &tenants, now, AccountLock::Shared).await?;
        let mut accounts = BilledAccount::all(accounts);
        let policy = EventPolicy::Backfill { billed };
        let mut counted = Vec::with_capacity(events.len());
        for event in events {
            if event.source.starts_with(REPORTED_SOURCE_PREFIX) && !meter.reported_by_tenants {
                continue;
            }
            let Some(account) = accounts.get_mut(&event.tenant).filter(|account| !account.is_deleted) else { continue };
            let billing = account.billing(meter, event.at, policy, now, self.0.settings.grace);
            let new = NewUsage::new(event, false);
            let units = new.check(Some(meter), policy, now, self.0.settings.max_age);
            // What the meter can't count, or does not count late, stays unmatched.
            let (Ok(Some(units)), Ok(billing)) = (units, billing) else { continue };
            let event = &new.event;
            let update = tx.query(SET_COUNTED).bind(event.tenant).bind(event.environment.as_str());
            let update = update.bind(event.source.to_string()).bind(event.id.clone().unwrap_or_default()).bind(units);
            update.bind(billing.billed_in()).execute().await?;
            counted.push((new, units, billing));
        }
        let mut delta = UsageDelta::default();
        for (new, units, billing) in &counted {
            delta.add(&new.event, meter, *units, *billing)?;
        }
        self.add(tx, delta).await?;
        Ok(counted.len())
    }
}

/// The job that counts the events of a meter that were stored before it existed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CountUnmatched {
    pub(super) meter: String,
    /// Events before this time stay unmatched.
    pub(super) since: Timestamp,
    /// Whether events of closed billing periods are billed in the current one.
    pub(super) billed: bool,
}

#[async_trait]
impl Job for CountUnmatched {
    const NAME: &'static str = "usage.count_unmatched";

    type State = Ledger;

    async fn run(self, ledger: &Ledger, _: &JobContext) -> Result<(), JobError> {
        let Some(meter) = ledger.0.meters.get(&self.meter) else {
            return Err(JobError::fatal(format!("there is no meter `{}` any more", self.meter)));
        };
        let (mut all, mut after) = (0, None);
        loop {
            let (counted, last) = ledger.count_unmatched(meter, self.since, self.billed, after).await?;
            all += counted;
            if last.is_none() {
                tracing::info!(target: "omnistack::usage", meter = self.meter, events = all,
                    "events that were stored before their meter existed were counted");
                return Ok(());
            }
            after = last;
        }
    }
}
