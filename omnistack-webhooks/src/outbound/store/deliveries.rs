//! The SQL of delivery: which endpoints have something to send, their leases, and the results of attempts.
//!
//! A delivery that is not finished is due at its `next_at`. A delivery that is being sent is due again when its own
//! lease ends; so `next_at` is set to that time before it is sent, and one index serves both states.

mod results;

use std::time::Duration;

use omnistack_core::{
    audit::AuditLog,
    clock::{Clock, Timestamp},
    crypto::KeyRing,
    db::{self, Db, Sql},
    events::Events,
    id::{Id, TenantId},
    trace::TraceContext,
};
use uuid::Uuid;

use super::{hex, json};
use crate::outbound::endpoint::{self, SealedEndpoint, SigningEndpoint};

pub(crate) use results::{AttemptOutcome, FinishedAttempt, METRICS_PROVIDER, skip};

/// Finds endpoints that have due deliveries, and no lease unless they are disabled. Visits one entry of the partial
/// index for each endpoint with unfinished deliveries, however many those are. Of each tenant, it returns the endpoints
/// that wait longest, failing ones and others; the first of each tenant come first.
const FIND_WORK: Sql = Sql {
    postgres: "with recursive waiting as (
    (select endpoint_id, next_at from omni_webhook_deliveries where state in ('pending', 'sending')
        order by endpoint_id, next_at limit 1)
    union all
    select following.endpoint_id, following.next_at from waiting, lateral (
        select deliveries.endpoint_id, deliveries.next_at from omni_webhook_deliveries as deliveries
        where deliveries.state in ('pending', 'sending') and deliveries.endpoint_id > waiting.endpoint_id
        order by deliveries.endpoint_id, deliveries.next_at limit 1) as following),
due as (
    select endpoints.id, endpoints.tenant_id, endpoints.status, endpoints.failing_since, waiting.next_at,
        row_number() over (partition by endpoints.tenant_id, endpoints.failing_since is null
            order by waiting.next_at) as place
    from waiting join omni_webhook_endpoints as endpoints on endpoints.id = waiting.endpoint_id
    where waiting.next_at <= $1 and (endpoints.status = 'disabled' or (endpoints.status = 'enabled'
        and (endpoints.lease_until is null or endpoints.lease_until <= $1))))
select id, tenant_id, status, failing_since from due where place <= $2 order by place, next_at limit $3",
    // SQLite has no lateral subqueries.
    sqlite: "with recursive waiting (endpoint_id) as (
    select (select endpoint_id from omni_webhook_deliveries where state in ('pending', 'sending')
        order by endpoint_id limit 1)
    union all
    select (select deliveries.endpoint_id from omni_webhook_deliveries as deliveries
        where deliveries.state in ('pending', 'sending') and deliveries.endpoint_id > waiting.endpoint_id
        order by deliveries.endpoint_id limit 1)
    from waiting where waiting.endpoint_id is not null),
earliest as (
    select endpoint_id, (select min(deliveries.next_at) from omni_webhook_deliveries as deliveries
        where deliveries.endpoint_id = waiting.endpoint_id and deliveries.state in ('pending', 'sending')) as next_at
    from waiting where endpoint_id is not null),
due as (
    select endpoints.id, endpoints.tenant_id, endpoints.status, endpoints.failing_since, earliest.next_at,
        row_number() over (partition by endpoints.tenant_id, endpoints.failing_since is null
            order by earliest.next_at) as place
    from earliest join omni_webhook_endpoints as endpoints on endpoints.id = earliest.endpoint_id
    where earliest.next_at <= $1 and (endpoints.status = 'disabled' or (endpoints.status = 'enabled'
        and (endpoints.lease_until is null or endpoints.lease_until <= $1))))
select id, tenant_id, status, failing_since from due where place <= $2 order by place, next_at limit $3",
};

/// Leases endpoints, in the order of their ids, unless another process has leased them meanwhile.
const LEASE: Sql = Sql {
    postgres: "with free as (
    select id from omni_webhook_endpoints
    where id in (select value::uuid from json_array_elements_text($1::json) as value)
        and status = 'enabled' and (lease_until is null or lease_until <= $2)
    order by id for no key update skip locked)
update omni_webhook_endpoints as endpoints set lease = endpoints.lease + 1, lease_until = $3
from free where endpoints.id = free.id
returning endpoints.id, endpoints.tenant_id, endpoints.lease, endpoints.failing_since",
    sqlite: "update omni_webhook_endpoints set lease = lease + 1, lease_until = $3
where id in (select unhex(value) from json_each($1))
    and status = 'enabled' and (lease_until is null or lease_until <= $2)
returning id, tenant_id, lease, failing_since",
};

/// Extends the lease, if it is still the newest, and locks the endpoint until the transaction ends.
const EXTEND_LEASE: &str = "update omni_webhook_endpoints
set lease_until = case when lease = $2 then $3 else lease_until end where id = $1
returning lease, url, headers, scheme, secrets, rate_per_second, status, failing_since";

const RELEASE: &str = "update omni_webhook_endpoints set lease_until = $3 where id = $1 and lease = $2";

/// Reads the status of an endpoint, and keeps other transactions from enabling it. On SQLite no other transaction
/// writes anyway.
const LOCK_STATUS: Sql = Sql {
    postgres: "select status from omni_webhook_endpoints where id = $1 for no key update",
    sqlite: "select status from omni_webhook_endpoints where id = $1",
};

/// Counts the attempts before anything is sent, so that an attempt that a killed process began is counted.
const CLAIM: &str = "update omni_webhook_deliveries
set state = 'sending', attempts = attempts + 1, next_at = $3, lease_until = $3
where id in (select id from omni_webhook_deliveries where endpoint_id = $1 and state in ('pending', 'sending')
    and next_at <= $2 order by next_at, id limit $4) and state in ('pending', 'sending')
returning id, message_id, attempts, (select payload from omni_webhook_messages
    where omni_webhook_messages.id = omni_webhook_deliveries.message_id) as payload, (select trace
    from omni_webhook_messages where omni_webhook_messages.id = omni_webhook_deliveries.message_id) as trace,
    (select trace_state from omni_webhook_messages
    where omni_webhook_messages.id = omni_webhook_deliveries.message_id) as trace_state";

/// An endpoint that has due deliveries.
#[derive(Clone, Debug, db::FromRow)]
pub(crate) struct EndpointWork {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: TenantId,
    status: String,
    /// First failure since the last success.
    pub(crate) failing_since: Option<Timestamp>,
}

impl EndpointWork {
    /// Returns whether the endpoint is disabled, so that its unfinished deliveries are skipped.
    pub(crate) fn is_disabled(&self) -> bool {
        self.status == "disabled"
    }
}

/// A process's lease of an endpoint. No other process sends to the endpoint until it ends.
#[derive(Clone, Copy, Debug, db::FromRow)]
pub(crate) struct EndpointLease {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: TenantId,
    /// Number of the lease, by which a process finds out that it has lost it.
    lease: i64,
    /// First failure since the last success, when the lease began.
    pub(crate) failing_since: Option<Timestamp>,
}

/// The columns of a leased endpoint.
#[derive(db::FromRow)]
struct LeasedEndpointRow {
    lease: i64,
    url: String,
    headers: Option<String>,
    scheme: String,
    secrets: String,
    rate_per_second: Option<i64>,
    status: String,
    failing_since: Option<Timestamp>,
}

impl LeasedEndpointRow {
    fn sealed(self, lease: &EndpointLease) -> SealedEndpoint {
        let Self { url, headers, scheme, secrets, .. } = self;
        SealedEndpoint { id: Id::from_uuid(lease.id), url, headers, scheme, secrets }
    }
}

/// A delivery that is being sent.
#[derive(Clone, Debug, db::FromRow)]
pub(crate) struct ClaimedDelivery {
    pub(crate) id: Uuid,
    pub(crate) message_id: Uuid,
    /// The number of this attempt, counted from 1.
    pub(crate) attempts: i64,
    pub(crate) payload: String,
    trace: Option<String>,
    trace_state: Option<String>,
}

impl ClaimedDelivery {
    /// Returns the trace in which the message was published.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        TraceContext::from_stored(self.trace.as_deref()?, self.trace_state.as_deref())
    }
}

/// A step of a lane: the results to store, and the deliveries to claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneStep {
    pub(crate) finished: Vec<FinishedAttempt>,
    /// Whether the lane ends after this step.
    pub(crate) is_last: bool,
    /// Until when nothing may be sent because of the endpoint's rate limit. The lease is kept until then.
    pub(crate) free_at: Option<Timestamp>,
}

/// The result of a step.
pub(crate) enum LaneTurn {
    /// Deliveries to send.
    Send { endpoint: SigningEndpoint, rate_per_second: Option<i64>, deliveries: Vec<ClaimedDelivery> },
    /// The lane ends: nothing is due, the endpoint rests, is paused, disabled or deleted, or another process has the
    /// lease.
    End,
    /// The lane ends, because the endpoint's secrets can't be opened. Its lease is kept, as a pause.
    Unreadable(String),
}

/// The limits of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneLimits {
    /// Most deliveries that are sent at once.
    pub(crate) batch: i64,
    /// Duration of the lease of an endpoint.
    pub(crate) lease: Duration,
    /// Time after which a claimed delivery is due again.
    pub(crate) delivery_lease: Duration,
}

/// The database access of delivery.
#[derive(Clone)]
pub(crate) struct DeliveryQueue {
    /// The app's database, without tenant databases: the rows of all tenants are in it.
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) keys: KeyRing,
    pub(crate) events: Events,
    pub(crate) audit: AuditLog,
}

impl DeliveryQueue {
    /// Returns endpoints that have due deliveries, at most `limit`. Of each tenant, at most `per_tenant` failing ones
    /// and as many others.
    pub(crate) async fn find_work(&self, per_tenant: usize, limit: usize) -> Result<Vec<EndpointWork>, db::Error> {
        // The dispatcher serves all tenants.
        let mut tx = self.db.all_tenants().begin_read().await?;
        let found = tx.query(FIND_WORK).bind(self.clock.now()).bind(to_i64(per_tenant)).bind(to_i64(limit));
        let found = found.fetch_all().await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Leases endpoints. Returns the leases of those that no other process has leased.
    pub(crate) async fn lease(&self, endpoints: &[Uuid], lease: Duration) -> Result<Vec<EndpointLease>, db::Error> {
        let now = self.clock.now();
        let ids: Vec<_> = endpoints.iter().map(|id| hex(*id)).collect();
        // The dispatcher serves all tenants.
        let mut tx = self.db.all_tenants().begin().await?;
        let leased = tx.query(LEASE).bind(json(&ids)).bind(now).bind(now + lease).fetch_all().await?;
        tx.commit().await?;
        Ok(leased)
    }

    /// Skips unfinished deliveries of a disabled endpoint, up to a limit. Returns whether there were any.
    pub(crate) async fn skip_disabled(&self, work: &EndpointWork) -> Result<bool, db::Error> {
        let mut tx = self.db.tenant(work.tenant_id).begin().await?;
        let status: Option<(String,)> = tx.query(LOCK_STATUS).bind(work.id).fetch_optional().await?;
        let skipped = match status {
            Some((status,)) if status == "disabled" => skip(&mut tx, work.id, self.clock.now()).await?,
            _ => 0,
        };
        tx.commit().await?;
        Ok(skipped > 0)
    }

    /// Stores the results of a lane's last deliveries, disables the endpoint if they require it, and claims the next
    /// deliveries, in one transaction. The step can be repeated if it fails.
    pub(crate) async fn advance(
        &self,
        lease: &EndpointLease,
        step: &LaneStep,
        limits: LaneLimits,
    ) -> Result<LaneTurn, db::Error> {
        let now = self.clock.now();
        let mut tx = self.db.tenant(lease.tenant_id).begin().await?;
        let row = tx.query(EXTEND_LEASE).bind(lease.id).bind(lease.lease).bind(now + limits.lease);
        let Some(row): Option<LeasedEndpointRow> = row.fetch_optional().await? else {
            // The endpoint is deleted, so its deliveries are not sent.
            tx.rollback().await?;
            return Ok(LaneTurn::End);
        };
        let (is_disabled, failing_since) = self.store_results(&mut tx, lease, &row, &step.finished, now).await?;
        if is_disabled || row.lease != lease.lease {
            tx.commit().await?;
            return Ok(LaneTurn::End);
        }
        let rest = results::rest(&step.finished, failing_since, now);
        let mut turn = LaneTurn::End;
        if !step.is_last && rest.is_zero() && row.status == "enabled" {
            let rate_per_second = row.rate_per_second;
            match endpoint::open(row.sealed(lease), &self.keys, now) {
                Ok(endpoint) => {
                    // A failing endpoint is probed: it doesn't hold many connections until they time out.
                    let batch = if failing_since.is_some() { 1 } else { limits.batch };
                    let batch = rate_per_second.map_or(batch, |rate| batch.min(rate)).max(1);
                    let again = now + limits.delivery_lease;
                    let claim = tx.query(CLAIM).bind(lease.id).bind(now).bind(again).bind(batch);
                    let mut deliveries: Vec<ClaimedDelivery> = claim.fetch_all().await?;
                    deliveries.sort_unstable_by_key(|delivery| delivery.id);
                    if !deliveries.is_empty() {
                        turn = LaneTurn::Send { endpoint, rate_per_second, deliveries };
                    }
                }
                Err(error) => turn = LaneTurn::Unreadable(error.to_string()),
            }
        }
        if matches!(turn, LaneTurn::End) {
            let until = step.free_at.max(Some(now + rest)).filter(|until| *until > now);
            tx.query(RELEASE).bind(lease.id).bind(lease.lease).bind(until).execute().await?;
        }
        tx.commit().await?;
        Ok(turn)
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
