//! Inserts the usage of the past year, faster than the ledger would.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Sql},
    identity::TenantId,
};
use uuid::Uuid;

use crate::METERS;

const DAY_SECONDS: i64 = 86_400;
/// Number of tenants whose rows one transaction inserts.
const TENANTS_PER_TRANSACTION: usize = 20;

/// Inserts a window for each of 365 days. `$3` is the first day, in seconds since 1970.
const DAYS: Sql = Sql {
    postgres: "insert into omni_usage_windows
            (tenant_id, environment, meter, grain, start, sum, events, max, last, last_at, last_id)
        select $1, 'live', $2, 'day', to_timestamp($3 + n * 86400), 1000 + n, 20 + n % 10, 90, 1,
            to_timestamp($3 + n * 86400), ''
        from generate_series(0, 364) as n",
    sqlite: "with recursive numbers (n) as (select 0 union all select n + 1 from numbers where n < 364)
        insert into omni_usage_windows
            (tenant_id, environment, meter, grain, start, sum, events, max, last, last_at, last_id)
        select $1, 'live', $2, 'day', strftime('%Y-%m-%dT%H:%M:%S.000000Z', $3 + n * 86400, 'unixepoch'),
            1000 + n, 20 + n % 10, 90, 1, strftime('%Y-%m-%dT%H:%M:%S.000000Z', $3 + n * 86400, 'unixepoch'), ''
        from numbers",
};

/// Inserts the billing periods of the days.
const PERIODS: Sql = Sql {
    postgres: "insert into omni_usage_windows
            (tenant_id, environment, meter, grain, start, sum, events, max, last, last_at, last_id)
        select tenant_id, environment, meter, 'period', date_trunc('month', start, 'UTC'), sum(sum), sum(events),
            max(max), 1, max(start), ''
        from omni_usage_windows where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'day'
        group by 1, 2, 3, 5",
    sqlite: "insert into omni_usage_windows
            (tenant_id, environment, meter, grain, start, sum, events, max, last, last_at, last_id)
        select tenant_id, environment, meter, 'period', strftime('%Y-%m-01T00:00:00.000000Z', start), sum(sum),
            sum(events), max(max), 1, max(start), ''
        from omni_usage_windows where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'day'
        group by 1, 2, 3, 5",
};

/// Inserts a dimension of each day, of ten categories in turn. `$3` is the id of no user and no API key.
const DAY_DIMENSIONS: &str = "insert into omni_usage_dimensions
        (tenant_id, environment, meter, grain, start, category, user_id, api_key_id, sum, events, max)
    select tenant_id, environment, meter, 'day', start, 'category-' || (events % 10), $3, $3, sum, events, max
    from omni_usage_windows where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'day'";

/// Inserts the dimensions of the months.
const MONTH_DIMENSIONS: Sql = Sql {
    postgres: "insert into omni_usage_dimensions
            (tenant_id, environment, meter, grain, start, category, user_id, api_key_id, sum, events, max)
        select tenant_id, environment, meter, 'month', date_trunc('month', start, 'UTC'), category, user_id, api_key_id,
            sum(sum), sum(events), max(max)
        from omni_usage_dimensions where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'day'
        group by 1, 2, 3, 5, 6, 7, 8",
    sqlite: "insert into omni_usage_dimensions
            (tenant_id, environment, meter, grain, start, category, user_id, api_key_id, sum, events, max)
        select tenant_id, environment, meter, 'month', strftime('%Y-%m-01T00:00:00.000000Z', start), category, user_id,
            api_key_id, sum(sum), sum(events), max(max)
        from omni_usage_dimensions where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'day'
        group by 1, 2, 3, 5, 6, 7, 8",
};

/// Inserts `$4` events of the 364 days from `$3` on, in seconds since 1970.
const EVENTS: Sql = Sql {
    postgres: "insert into omni_usage_events (tenant_id, environment, source, event_id, hash, meter, quantity, units,
            category, at, received_at, billed_in)
        select $1, 'live', 'bench', replace(cast(gen_random_uuid() as text), '-', ''), uuid_send(gen_random_uuid()), $2,
            '1', 1, 'category-' || (n % 10), used, used, date_trunc('month', used, 'UTC')
        from (select n, to_timestamp($3 + (n * 7919) % 31449600) as used from generate_series(1, $4) as n) as events",
    sqlite: "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < $4)
        insert into omni_usage_events (tenant_id, environment, source, event_id, hash, meter, quantity, units,
            category, at, received_at, billed_in)
        select $1, 'live', 'bench', lower(hex(randomblob(16))), randomblob(16), $2, '1', 1, 'category-' || (n % 10),
            strftime('%Y-%m-%dT%H:%M:%S.000000Z', used, 'unixepoch'),
            strftime('%Y-%m-%dT%H:%M:%S.000000Z', used, 'unixepoch'),
            strftime('%Y-%m-01T00:00:00.000000Z', used, 'unixepoch')
        from (select n, $3 + (n * 7919) % 31449600 as used from numbers) as events",
};

/// Inserts the windows and dimensions of 365 days, the last of which is today, for each tenant and meter.
pub(crate) async fn add_year(db: &Db, tenants: &[TenantId], now: Timestamp) {
    let first = first_day(now);
    for tenants in tenants.chunks(TENANTS_PER_TRANSACTION) {
        // The rows are those of several tenants.
        let mut tx = db.all_tenants().begin().await.unwrap();
        for tenant in tenants {
            for meter in METERS {
                tx.query(DAYS).bind(*tenant).bind(meter).bind(first).execute().await.unwrap();
                tx.query(PERIODS).bind(*tenant).bind(meter).execute().await.unwrap();
                tx.query(DAY_DIMENSIONS).bind(*tenant).bind(meter).bind(Uuid::nil()).execute().await.unwrap();
                tx.query(MONTH_DIMENSIONS).bind(*tenant).bind(meter).execute().await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }
    clean_up(db).await;
}

/// Inserts `count` events of the year before today, as many for each tenant and meter.
pub(crate) async fn add_events(db: &Db, tenants: &[TenantId], count: usize, now: Timestamp) {
    let each = count / tenants.len() / METERS.len();
    assert_eq!(each * tenants.len() * METERS.len(), count, "the same number for each tenant and meter");
    let (each, first) = (i64::try_from(each).unwrap(), first_day(now));
    for tenants in tenants.chunks(TENANTS_PER_TRANSACTION) {
        // The rows are those of several tenants.
        let mut tx = db.all_tenants().begin().await.unwrap();
        for tenant in tenants {
            for meter in METERS {
                let insert = tx.query(EVENTS).bind(*tenant).bind(meter).bind(first).bind(each);
                assert_eq!(insert.execute().await.unwrap(), each.unsigned_abs());
            }
        }
        tx.commit().await.unwrap();
    }
    clean_up(db).await;
}

/// Returns the day 364 days before today, in seconds since 1970.
fn first_day(now: Timestamp) -> i64 {
    (now.as_seconds().div_euclid(DAY_SECONDS) - 364) * DAY_SECONDS
}

/// Does what a database does by itself some time after large inserts.
async fn clean_up(db: &Db) {
    match db.postgres() {
        Some(pool) => {
            let mut connection = pool.acquire().await.unwrap();
            sqlx::query("set statement_timeout = 0").execute(&mut *connection).await.unwrap();
            sqlx::query("vacuum analyze").execute(&mut *connection).await.unwrap();
            connection.close().await.unwrap();
        }
        None => _ = db.query("pragma wal_checkpoint(truncate)").execute().await.unwrap(),
    }
}
