//! The numbers of subscriptions, for metrics and dashboards: those that are live.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    BoxError,
    clock::Timestamp,
    dashboard::{Count, DayCount},
    db::{Db, Sql},
    id::Id,
    metrics::{ACTIVE_SUBSCRIPTIONS, ACTIVE_SUBSCRIPTIONS_TOTAL},
    module::Registry,
    usage::DataEnvironment,
};

use crate::account::BillingAccounts;

/// Registers the numbers.
pub(super) fn register(registry: &mut Registry) {
    registry.count(|ctx| {
        // Subscriptions are the app's, also if each tenant has a database.
        let (db, accounts) = (ctx.get::<Db>()?.app_database(), ctx.get::<BillingAccounts>()?);
        Ok(move || count(db.clone(), accounts.clone()))
    });
    registry.count_by_day("subscriptions", |ctx| {
        let db = ctx.get::<Db>()?.app_database();
        Ok(move |from| new_subscriptions(db.clone(), from))
    });
}

/// Counts the subscriptions whose tenants have the plan, by plan. A plan without any has 0.
async fn count(db: Db, accounts: BillingAccounts) -> Result<Vec<Count>, BoxError> {
    let mut plans: BTreeMap<String, i64> = accounts.catalogue().plans().map(|plan| (plan.key.clone(), 0)).collect();
    let mut tx = db.all_tenants().begin_read().await?;
    let sql = "select plan, count(*) from omni_subscriptions where environment = $1 and entitled group by plan";
    let found: Vec<(String, i64)> = tx.query(sql).bind(DataEnvironment::Live.as_str()).fetch_all().await?;
    tx.commit().await?;
    plans.extend(found);
    let counts = plans.iter().flat_map(|(plan, subscriptions)| {
        [&ACTIVE_SUBSCRIPTIONS, &ACTIVE_SUBSCRIPTIONS_TOTAL]
            .map(|metric| Count::new(metric, [plan.as_str()], *subscriptions))
    });
    Ok(counts.collect())
}

/// Counts the subscriptions that were created on each day since `from`, in UTC.
async fn new_subscriptions(db: Db, from: Timestamp) -> Result<Vec<DayCount>, BoxError> {
    // Ids are ordered by time, so the rows are a range of an index.
    const NEW: Sql = Sql {
        postgres: "select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*) from omni_subscriptions
            where environment = $1 and id >= $2 and created_at >= $3 group by 1 order by 1",
        sqlite: "select substr(created_at, 1, 10) as day, count(*) from omni_subscriptions
            where environment = $1 and id >= $2 and created_at >= $3 group by 1 order by 1",
    };
    let first = Id::<()>::new(from - Duration::from_secs(1)).uuid();
    let mut tx = db.all_tenants().begin_read().await?;
    let days = tx.query(NEW).bind(DataEnvironment::Live.as_str()).bind(first).bind(from);
    let days: Vec<(String, i64)> = days.fetch_all().await?;
    tx.commit().await?;
    Ok(days.into_iter().map(|(day, count)| DayCount::new(day, count)).collect())
}
