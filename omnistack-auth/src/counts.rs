//! The numbers of users, tenants and sessions, for metrics and dashboards.

use std::time::Duration;

use omnistack_core::{
    BoxError,
    clock::{Clock, Timestamp},
    dashboard::{Count, DayCount},
    db::{Db, Sql},
    metrics::{ACTIVE_SESSIONS, ACTIVE_USERS, TENANTS, USERS, USERS_TOTAL},
    module::Registry,
};

/// The periods in which active users are counted, in days.
const PERIODS: [(&str, u64); 3] = [("1d", 1), ("7d", 7), ("30d", 30)];

/// Registers the numbers.
pub(crate) fn register(registry: &mut Registry) {
    registry.count(|ctx| {
        let (db, clock) = (ctx.get::<Db>()?.app_database(), ctx.get::<Clock>()?);
        Ok(move || count(db.clone(), clock.clone()))
    });
    registry.count_by_day("users", |ctx| {
        let db = ctx.get::<Db>()?.app_database();
        Ok(move |from| new_users(db.clone(), from))
    });
}

async fn count(db: Db, clock: Clock) -> Result<Vec<Count>, BoxError> {
    let now = clock.now();
    let (users,): (i64,) = db.query("select count(*) from omni_users").fetch_one().await?;
    let (tenants,): (i64,) = db.query("select count(*) from omni_tenants").fetch_one().await?;
    let sessions = db.query("select count(*) from omni_sessions where ended_at is null and expires_at > $1").bind(now);
    let (sessions,): (i64,) = sessions.fetch_one().await?;
    let mut counts = vec![
        Count::new(&USERS, [], users),
        Count::new(&USERS_TOTAL, [], users),
        Count::new(&TENANTS, [], tenants),
        Count::new(&ACTIVE_SESSIONS, [], sessions),
    ];
    for (period, days) in PERIODS {
        let since = now - Duration::from_hours(24 * days);
        let active = db.query("select count(distinct user_id) from omni_sessions where rotated_at > $1").bind(since);
        let (active,): (i64,) = active.fetch_one().await?;
        counts.push(Count::new(&ACTIVE_USERS, [period], active));
    }
    Ok(counts)
}

/// Counts the users who were created on each day since `from`, in UTC.
async fn new_users(db: Db, from: Timestamp) -> Result<Vec<DayCount>, BoxError> {
    const NEW_USERS: Sql = Sql {
        postgres: "select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*) from omni_users
            where created_at >= $1 group by 1 order by 1",
        sqlite: "select substr(created_at, 1, 10) as day, count(*) from omni_users
            where created_at >= $1 group by 1 order by 1",
    };
    let days: Vec<(String, i64)> = db.query(NEW_USERS).bind(from).fetch_all().await?;
    Ok(days.into_iter().map(|(day, count)| DayCount::new(day, count)).collect())
}
