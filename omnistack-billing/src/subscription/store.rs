//! The SQL of subscriptions, and of the changes of their revenue.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, ErrorKind, FromRow, Tx},
    id::Id,
    identity::{TenantId, UserId},
    payment::ProviderSubscriptionStatus,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    cleanup::{CleanupState, StoredCleanup},
    discounts::first_end,
    machine::SubscriptionState,
    model::{Subscription, SubscriptionId},
};

const COLUMNS: &str = "id, tenant_id, environment, provider, external_id, reference, customer, state, cleanup,
    cleanup_attempts, cleanup_round, cleanup_error, request, version, provider_created_at, checked_at, created_at";

/// The identity of a subscription at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalKey {
    pub(super) provider: String,
    pub(super) environment: DataEnvironment,
    pub(super) id: String,
}

/// A change that a provider is asked for. It is stored before the call, and removed when its result is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChangeRequest {
    /// The idempotency key.
    pub(super) key: String,
    /// The action, such as `change`.
    pub(super) action: RequestedAction,
    /// When the provider was first asked.
    pub(super) requested_at: Timestamp,
}

/// The action of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum RequestedAction {
    /// Another price or quantity. `proration_at` is `None` for a change at the end of the period.
    Change { price: String, quantity: u64, proration_at: Option<Timestamp> },
    /// A cancellation.
    Cancel { now: bool },
    /// The end of a planned cancellation or of a pause.
    Resume,
    /// The removal of the coupon.
    RemoveCoupon,
}

impl RequestedAction {
    /// Returns whether another action asks for the same, whatever the time of the proration is.
    pub(super) fn asks_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Change { price, quantity, proration_at },
                Self::Change { price: other_price, quantity: other_quantity, proration_at: other_at },
            ) => (price, quantity, proration_at.is_some()) == (other_price, other_quantity, other_at.is_some()),
            _ => self == other,
        }
    }
}

/// A subscription as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredSubscription {
    pub(super) id: SubscriptionId,
    pub(super) tenant: TenantId,
    pub(super) external: ExternalKey,
    pub(super) reference: Option<String>,
    pub(super) customer: Option<String>,
    pub(super) state: SubscriptionState,
    pub(super) cleanup: Option<StoredCleanup>,
    pub(super) request: Option<ChangeRequest>,
    /// Zero until the row is inserted.
    pub(super) version: i64,
    pub(super) provider_created_at: Timestamp,
    pub(super) checked_at: Timestamp,
    pub(super) created_at: Timestamp,
}

#[derive(FromRow)]
struct SubscriptionRow {
    id: SubscriptionId,
    tenant_id: TenantId,
    environment: String,
    provider: String,
    external_id: String,
    reference: Option<String>,
    customer: Option<String>,
    state: String,
    cleanup: Option<String>,
    cleanup_attempts: i32,
    cleanup_round: i32,
    cleanup_error: Option<String>,
    request: Option<String>,
    version: i64,
    provider_created_at: Timestamp,
    checked_at: Timestamp,
    created_at: Timestamp,
}

impl SubscriptionRow {
    fn read(self) -> Result<StoredSubscription, Error> {
        let unreadable = |column| Error::unreadable("omni_subscriptions", self.id, column);
        let environment = self.environment.parse().map_err(|_| unreadable("environment"))?;
        let request = self.request.map(|text| serde_json::from_str(&text)).transpose();
        let state = self.cleanup.map(|text| serde_json::from_value(Value::String(text))).transpose();
        let state: Option<CleanupState> = state.map_err(|_| unreadable("cleanup"))?;
        let (attempts, round, error) = (self.cleanup_attempts, self.cleanup_round, self.cleanup_error);
        Ok(StoredSubscription {
            id: self.id,
            tenant: self.tenant_id,
            external: ExternalKey { provider: self.provider, environment, id: self.external_id },
            reference: self.reference,
            customer: self.customer,
            state: serde_json::from_str(&self.state).map_err(|_| unreadable("state"))?,
            cleanup: state.map(|state| StoredCleanup { state, attempts, round, error }),
            request: request.map_err(|_| unreadable("request"))?,
            version: self.version,
            provider_created_at: self.provider_created_at,
            checked_at: self.checked_at,
            created_at: self.created_at,
        })
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Other, Box::new(error)))
}

fn read_all(rows: Vec<SubscriptionRow>) -> Result<Vec<StoredSubscription>, Error> {
    rows.into_iter().map(SubscriptionRow::read).collect()
}

/// Returns a subscription by its id. The transaction sees its tenant.
pub(super) async fn get(tx: &mut Tx, id: SubscriptionId) -> Result<Option<StoredSubscription>, Error> {
    let sql = format!("select {COLUMNS} from omni_subscriptions where id = $1");
    let row: Option<SubscriptionRow> = tx.query(AssertSqlSafe(sql)).bind(id).fetch_optional().await?;
    row.map(SubscriptionRow::read).transpose()
}

/// Returns a subscription by its id at the provider, whatever its tenant is. The transaction sees all tenants, or the
/// right one.
pub(super) async fn find(tx: &mut Tx, key: &ExternalKey) -> Result<Option<StoredSubscription>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_subscriptions where provider = $1 and environment = $2 and external_id = $3"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(key.provider.clone()).bind(key.environment.as_str());
    let row: Option<SubscriptionRow> = select.bind(key.id.clone()).fetch_optional().await?;
    row.map(SubscriptionRow::read).transpose()
}

/// Returns the subscriptions of a tenant, the oldest first: those that have not ended, and the last one that has.
pub(super) async fn of_tenant(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
) -> Result<Vec<StoredSubscription>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_subscriptions where tenant_id = $1 and environment = $2 and (ended_at is null
        or id = (select id from omni_subscriptions where tenant_id = $1 and environment = $2 and ended_at is not null
            order by ended_at desc, id desc limit 1))
        order by provider_created_at, id limit 100"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(environment.as_str());
    read_all(select.fetch_all().await?)
}

/// Returns the subscriptions that give a tenant a plan.
pub(super) async fn entitling(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
) -> Result<Vec<StoredSubscription>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_subscriptions where tenant_id = $1 and environment = $2 and entitled
        order by provider_created_at, id limit 100"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(environment.as_str());
    read_all(select.fetch_all().await?)
}

/// Inserts a subscription, or updates it and raises its version.
pub(super) async fn save(tx: &mut Tx, row: &StoredSubscription, now: Timestamp) -> Result<(), Error> {
    let StoredSubscription { id, tenant, external, reference, customer, state, cleanup, request, .. } = row;
    let (terms, period) = (&state.terms, state.period);
    let sql = "insert into omni_subscriptions (id, tenant_id, environment, provider, external_id, reference, customer,
        state, status, plan, plan_version, plan_group, period, quantity, period_start, period_end, trial_end, cancel_at,
        ended_at, past_due_since, failed_payments, grace_until, entitled, is_duplicate, mrr, currency, cleanup, request,
        version, provider_created_at, checked_at, created_at, updated_at, cleanup_attempts, cleanup_round, cleanup_error,
        discount_end)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
        $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)
        on conflict (provider, environment, external_id) do update set reference = excluded.reference,
        customer = excluded.customer, state = excluded.state, status = excluded.status, plan = excluded.plan,
        plan_version = excluded.plan_version, plan_group = excluded.plan_group, period = excluded.period,
        quantity = excluded.quantity, period_start = excluded.period_start, period_end = excluded.period_end,
        trial_end = excluded.trial_end, cancel_at = excluded.cancel_at, ended_at = excluded.ended_at,
        past_due_since = excluded.past_due_since, failed_payments = excluded.failed_payments,
        grace_until = excluded.grace_until, entitled = excluded.entitled, is_duplicate = excluded.is_duplicate,
        mrr = excluded.mrr, currency = excluded.currency, cleanup = excluded.cleanup,
        cleanup_attempts = excluded.cleanup_attempts, cleanup_round = excluded.cleanup_round,
        cleanup_error = excluded.cleanup_error, request = excluded.request, discount_end = excluded.discount_end,
        version = excluded.version, checked_at = excluded.checked_at, updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(*id).bind(*tenant).bind(external.environment.as_str());
    let insert = insert.bind(external.provider.clone()).bind(external.id.clone()).bind(reference.clone());
    let insert = insert.bind(customer.clone()).bind(to_json(state)?).bind(state.status.as_str());
    let insert = insert.bind(terms.plan.clone()).bind(i32::try_from(terms.version).unwrap_or(i32::MAX));
    let insert = insert.bind(terms.group.clone()).bind(terms.interval.clone());
    let insert = insert.bind(i64::try_from(terms.quantity).unwrap_or(i64::MAX));
    let insert = insert.bind(period.map(|(start, _)| start)).bind(period.map(|(_, end)| end));
    let insert = insert.bind(state.trial_end).bind(state.cancel_at).bind(state.ended_at).bind(state.past_due_since);
    let insert = insert.bind(i32::try_from(state.failed_payments).unwrap_or(i32::MAX)).bind(state.grace_until);
    let insert = insert.bind(state.entitled).bind(state.is_duplicate).bind(state.mrr);
    let cleanup = cleanup.as_ref();
    let insert = insert.bind(terms.currency.clone()).bind(cleanup.map(|cleanup| cleanup.state.as_str().to_owned()));
    let insert = insert.bind(request.as_ref().map(to_json).transpose()?).bind(row.version + 1);
    let insert = insert.bind(row.provider_created_at).bind(row.checked_at).bind(row.created_at).bind(now);
    let insert = insert.bind(cleanup.map_or(0, |cleanup| cleanup.attempts));
    let insert = insert.bind(cleanup.map_or(0, |cleanup| cleanup.round));
    let insert = insert.bind(cleanup.and_then(|cleanup| cleanup.error.clone())).bind(first_end(&state.discounts));
    insert.execute().await.map(drop)
}

/// A search for subscriptions by a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueSearch {
    /// The subscriptions whose grace has ended.
    GraceEnded,
    /// The subscriptions of which a discount has ended.
    DiscountEnded,
    /// The subscriptions whose trial ends before a time and whose owners were not told.
    TrialEnding,
    /// The subscriptions that run and were read from the provider before a time.
    Unchecked,
    /// The subscriptions that wait for the result of a change since a time.
    Requested,
    /// The subscriptions whose end at the provider is not done since a time.
    Unended,
    /// The subscriptions that renew before a time.
    Renewing,
}

/// Returns the tenants and the ids of subscriptions that are due at a time, after an id, at most `limit`.
pub(super) async fn due(
    tx: &mut Tx,
    search: DueSearch,
    at: Timestamp,
    after: Option<SubscriptionId>,
    limit: i64,
) -> Result<Vec<(TenantId, SubscriptionId)>, Error> {
    let condition = match search {
        DueSearch::GraceEnded => "grace_until is not null and entitled and grace_until <= $1",
        DueSearch::DiscountEnded => "ended_at is null and discount_end <= $1",
        DueSearch::TrialEnding => "status = 'trialing' and trial_end <= $1",
        DueSearch::Unchecked => "ended_at is null and checked_at <= $1",
        DueSearch::Requested => "request is not null and updated_at <= $1",
        DueSearch::Unended => "cleanup in ('canceling', 'refunding') and updated_at <= $1",
        DueSearch::Renewing => "status = 'active' and ended_at is null and cancel_at is null and period_end <= $1",
    };
    let sql =
        format!("select tenant_id, id from omni_subscriptions where {condition} and id > $2 order by id limit $3");
    let after = after.unwrap_or_else(|| Id::from_uuid(Uuid::nil()));
    tx.query(AssertSqlSafe(sql)).bind(at).bind(after).bind(limit).fetch_all().await
}

/// Returns subscriptions of all tenants, the newest first, after an id, for operators.
pub(super) async fn list(
    tx: &mut Tx,
    filter: &SubscriptionFilter,
    before: Option<SubscriptionId>,
    limit: i64,
) -> Result<Vec<StoredSubscription>, Error> {
    let SubscriptionFilter { tenant, status, plan, environment, cleanup } = filter;
    let mut conditions = vec!["environment = $1 and id < $2".to_owned()];
    let mut args = Arguments::new(tx.dialect());
    args.push(environment.as_str());
    args.push(before.unwrap_or_else(|| Id::from_uuid(Uuid::max())));
    for (column, value) in [("status", status.map(ProviderSubscriptionStatus::as_str)), ("plan", plan.as_deref())] {
        if let Some(value) = value {
            conditions.push(format!("{column} = ${}", args.push(value.to_owned())));
        }
    }
    if let Some(cleanup) = cleanup {
        // As text, so that the index of those that have failed is used.
        conditions.push(format!("cleanup = '{}'", cleanup.as_str()));
    }
    if let Some(tenant) = tenant {
        conditions.push(format!("tenant_id = ${}", args.push(*tenant)));
    }
    let (conditions, limit) = (conditions.join(" and "), args.push(limit));
    let sql = format!("select {COLUMNS} from omni_subscriptions where {conditions} order by id desc limit ${limit}");
    read_all(tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?)
}

/// A filter of subscriptions.
#[derive(Clone, Debug, Default)]
pub(super) struct SubscriptionFilter {
    pub(super) tenant: Option<TenantId>,
    pub(super) status: Option<ProviderSubscriptionStatus>,
    pub(super) plan: Option<String>,
    pub(super) environment: DataEnvironment,
    pub(super) cleanup: Option<CleanupState>,
}

/// A change of the recurring revenue of a subscription.
#[derive(Debug)]
pub(super) struct RevenueChange<'a> {
    pub(super) subscription: &'a StoredSubscription,
    pub(super) before: i64,
    pub(super) after: i64,
    pub(super) at: Timestamp,
}

/// Inserts a change of the recurring revenue.
pub(super) async fn insert_change(tx: &mut Tx, change: &RevenueChange<'_>) -> Result<(), Error> {
    let RevenueChange { subscription, before, after, at } = change;
    let (tenant, environment) = (subscription.tenant, subscription.external.environment);
    let kind = match (before, after) {
        // A tenant that a discount relieves of the whole price has not left.
        (_, 0) if subscription.state.has_revenue() => "contraction",
        (_, 0) => "churn",
        (0, _) => {
            let sql = "select kind, subscription_id from omni_subscription_changes where tenant_id = $1
                and environment = $2 order by at desc, id desc limit 1";
            let select = tx.query(sql).bind(tenant).bind(environment.as_str());
            let last: Option<(String, SubscriptionId)> = select.fetch_optional().await?;
            match last {
                None => "new",
                Some((kind, id)) if kind != "churn" && id == subscription.id => "expansion",
                Some(_) => "reactivation",
            }
        }
        (before, after) if after > before => "expansion",
        _ => "contraction",
    };
    let terms = &subscription.state.terms;
    let sql =
        "insert into omni_subscription_changes (id, tenant_id, environment, subscription_id, kind, plan, mrr_before,
        mrr_after, currency, at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let insert = tx.query(sql).bind(Id::<Subscription>::new(*at)).bind(tenant).bind(environment.as_str());
    let insert = insert.bind(subscription.id).bind(kind).bind(terms.plan.clone()).bind(*before).bind(*after);
    insert.bind(terms.currency.clone()).bind(*at).execute().await.map(drop)
}

/// Notes that a tenant has used the trial of a plan group.
pub(super) async fn record_trial(
    tx: &mut Tx,
    subscription: &StoredSubscription,
    user: Option<UserId>,
    now: Timestamp,
) -> Result<(), Error> {
    let StoredSubscription { tenant, external, state, .. } = subscription;
    let sql =
        "insert into omni_trials (tenant_id, environment, plan_group, provider, subscription, user_id, started_at)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant_id, environment, plan_group) do nothing";
    let insert = tx.query(sql).bind(*tenant).bind(external.environment.as_str()).bind(state.terms.group.clone());
    let insert = insert.bind(external.provider.clone()).bind(external.id.clone()).bind(user).bind(now);
    insert.execute().await.map(drop)
}

/// Returns whether the trial of a plan group was used by a tenant, or by a user if there is one. The transaction sees all
/// tenants if there is one.
pub(super) async fn has_used_trial(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    group: &str,
    user: Option<UserId>,
) -> Result<bool, Error> {
    let sql = "select plan_group from omni_trials where environment = $1 and plan_group = $2
        and (tenant_id = $3 or user_id = $4) limit 1";
    let select = tx.query(sql).bind(environment.as_str()).bind(group.to_owned()).bind(tenant).bind(user);
    let found: Option<(String,)> = select.fetch_optional().await?;
    Ok(found.is_some())
}

/// Locks a row for a change, on PostgreSQL. On SQLite no other transaction writes anyway.
pub(super) async fn lock(tx: &mut Tx, id: SubscriptionId) -> Result<Option<StoredSubscription>, Error> {
    let locking = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
    let sql = format!("select {COLUMNS} from omni_subscriptions where id = $1{locking}");
    let row: Option<SubscriptionRow> = tx.query(AssertSqlSafe(sql)).bind(id).fetch_optional().await?;
    row.map(SubscriptionRow::read).transpose()
}
