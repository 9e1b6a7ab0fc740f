//! The number of calls of each day, for dashboards.

use omnistack_core::{
    BoxError,
    clock::Timestamp,
    dashboard::DayCount,
    db::{Db, Sql},
};

use crate::accounting::first_id;

/// Counts the calls that have started on each day since `from`, in UTC.
pub(super) async fn calls_by_day(db: &Db, from: Timestamp) -> Result<Vec<DayCount>, BoxError> {
    const CALLS: Sql = Sql {
        postgres: "select to_char(started_at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*) from omni_ai_calls
            where id >= $1 group by 1 order by 1",
        sqlite: "select substr(started_at, 1, 10) as day, count(*) from omni_ai_calls
            where id >= $1 group by 1 order by 1",
    };
    // Operators see the numbers of all tenants.
    let mut tx = db.all_tenants().begin_read().await?;
    let days: Vec<(String, i64)> = tx.query(CALLS).bind(first_id(from)).fetch_all().await?;
    tx.commit().await?;
    Ok(days.into_iter().map(|(day, count)| DayCount::new(day, count)).collect())
}
