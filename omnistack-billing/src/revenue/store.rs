//! The SQL of revenue. Transactions must be of all tenants.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
    usage::DataEnvironment,
};

/// The present revenue in a currency.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct CurrentRevenue {
    pub(super) currency: String,
    pub(super) mrr: i64,
    /// The number of tenants that pay.
    pub(super) customers: i64,
    pub(super) subscriptions: i64,
}

/// Returns the present revenue, by currency.
pub(super) async fn current(tx: &mut Tx, environment: DataEnvironment) -> Result<Vec<CurrentRevenue>, Error> {
    let sql = "select currency, cast(sum(mrr) as bigint) as mrr, count(distinct tenant_id) as customers,
        count(*) as subscriptions from omni_subscriptions
        where environment = $1 and mrr > 0 group by currency order by currency";
    tx.query(sql).bind(environment.as_str()).fetch_all().await
}

/// The changes of one kind in a currency.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct ChangedRevenue {
    pub(super) currency: String,
    /// `new`, `expansion`, `contraction`, `churn` or `reactivation`.
    pub(super) kind: String,
    /// The sum of the differences: negative for `contraction` and `churn`.
    pub(super) difference: i64,
    pub(super) changes: i64,
}

/// Returns the changes from `start`, which is included, to `end`, which is not.
pub(super) async fn changes(
    tx: &mut Tx,
    environment: DataEnvironment,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<ChangedRevenue>, Error> {
    let sql = "select currency, kind, cast(sum(mrr_after - mrr_before) as bigint) as difference, count(*) as changes
        from omni_subscription_changes where environment = $1 and at >= $2 and at < $3
        group by currency, kind order by currency, kind";
    tx.query(sql).bind(environment.as_str()).bind(start).bind(end).fetch_all().await
}

/// The subscriptions in a currency whose payment has failed.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct FailedRevenue {
    pub(super) currency: String,
    pub(super) subscriptions: i64,
    /// The recurring revenue of those that are still counted.
    pub(super) mrr: i64,
    /// The payments that have failed since the last that was made.
    pub(super) payments: i64,
}

/// Returns the subscriptions whose payment has failed and was not made up for, by currency.
pub(super) async fn failed(tx: &mut Tx, environment: DataEnvironment) -> Result<Vec<FailedRevenue>, Error> {
    let sql = "select currency, count(*) as subscriptions, cast(sum(mrr) as bigint) as mrr,
        cast(sum(failed_payments) as bigint) as payments from omni_subscriptions
        where environment = $1 and status in ('past_due', 'unpaid') group by currency order by currency";
    tx.query(sql).bind(environment.as_str()).fetch_all().await
}
