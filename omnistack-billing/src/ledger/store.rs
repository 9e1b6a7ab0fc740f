//! The SQL of the ledger.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use jiff::tz::TimeZone;
use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BulkInsert, Dialect, Error, Tx},
    identity::{ApiKeyId, TenantId, UserId},
    usage::{DataEnvironment, UsageEvent},
};

use super::{
    aggregate::{DimensionDelta, DimensionKey, LateKey, UsageSums, WindowDelta},
    event::NewUsage,
    record::Candidate,
};
use crate::{
    meter::MeterSet,
    window::{Grain, WindowChange, WindowKey, WindowNumbers},
};

/// The key of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EventKey<'a> {
    tenant: TenantId,
    environment: DataEnvironment,
    source: &'a str,
    id: &'a str,
}

impl<'a> EventKey<'a> {
    pub(super) fn of(event: &'a UsageEvent) -> Self {
        Self {
            tenant: event.tenant,
            environment: event.environment,
            source: &event.source,
            id: event.id.as_deref().unwrap_or_default(),
        }
    }
}

/// The key of a stored event.
#[derive(omnistack_core::db::FromRow)]
struct StoredKey {
    tenant_id: TenantId,
    environment: String,
    source: String,
    event_id: String,
}

impl StoredKey {
    fn key(&self) -> EventKey<'_> {
        // The statement has just written the row, or has found it by an environment.
        let environment = self.environment.parse().unwrap_or_default();
        EventKey { tenant: self.tenant_id, environment, source: &self.source, id: &self.event_id }
    }
}

/// A row of `omni_usage_events`.
pub(super) struct EventRow<'a> {
    new: &'a NewUsage,
    units: Option<i64>,
    billed_in: Option<Timestamp>,
    received_at: Timestamp,
}

impl<'a> EventRow<'a> {
    pub(super) fn new(candidate: &'a Candidate<'_>, now: Timestamp) -> Self {
        Self {
            new: candidate.new,
            units: candidate.counted.map(|(_, units)| units),
            billed_in: candidate.billing.billed_in(),
            received_at: now,
        }
    }

    fn bind(row: &mut Arguments, Self { new, units, billed_in, received_at }: &Self) {
        let NewUsage { event, quantity, hash, .. } = new;
        row.push(event.tenant);
        row.push(event.environment.as_str());
        row.push(&*event.source);
        row.push(new.id());
        row.push(hash.as_slice());
        row.push(&*event.meter);
        row.push(quantity.as_str());
        row.push(*units);
        row.push(event.category.as_deref().map(str::to_owned));
        row.push(event.user);
        row.push(event.api_key);
        row.push(event.at);
        row.push(*received_at);
        row.push(*billed_in);
    }
}

macro_rules! insert_events {
    ($returning:literal) => {
        BulkInsert::new(
            "insert into omni_usage_events (tenant_id, environment, source, event_id, hash, meter, quantity, units,
            category, user_id, api_key_id, at, received_at, billed_in) values",
            concat!("on conflict (tenant_id, environment, source, event_id) do nothing", $returning),
        )
    };
}

static INSERT_EVENTS: BulkInsert<14> = insert_events!("");
static INSERT_EVENTS_RETURNING_KEYS: BulkInsert<14> =
    insert_events!(" returning tenant_id, environment, source, event_id");

/// The keys of the newest events, on SQLite. Row ids ascend.
const NEWEST_KEYS: &str =
    "select tenant_id, environment, source, event_id from omni_usage_events order by rowid desc limit $1";

/// Inserts events whose ids are new. Returns for each whether it was inserted.
pub(super) async fn insert_events(tx: &mut Tx, rows: &[EventRow<'_>]) -> Result<Vec<bool>, Error> {
    let keys: Vec<StoredKey> = match tx.dialect() {
        Dialect::Postgres => INSERT_EVENTS_RETURNING_KEYS.fetch_all(tx, rows, EventRow::bind).await?,
        // It would copy all rows to a temporary table before it returns any. No other transaction inserts meanwhile, so
        // the newest rows are those of this one.
        Dialect::Sqlite => {
            let inserted =
                usize::try_from(INSERT_EVENTS.execute(tx, rows, EventRow::bind).await?).unwrap_or(usize::MAX);
            if inserted == 0 || inserted >= rows.len() {
                return Ok(vec![inserted > 0; rows.len()]);
            }
            tx.query(NEWEST_KEYS).bind(i64::try_from(inserted).unwrap_or(i64::MAX)).fetch_all().await?
        }
    };
    let keys: HashSet<EventKey<'_>> = keys.iter().map(StoredKey::key).collect();
    Ok(rows.iter().map(|row| keys.contains(&EventKey::of(&row.new.event))).collect())
}

/// Finds stored events with the ids of given ones and other content.
static FIND_CONFLICTS: BulkInsert<5> = BulkInsert::new(
    "select stored.tenant_id, stored.environment, stored.source, stored.event_id, stored.hash from (values",
    ") as given cross join omni_usage_events as stored
    where stored.tenant_id = given.column1 and stored.environment = given.column2 and stored.source = given.column3
    and stored.event_id = given.column4 and stored.hash <> given.column5",
);

/// Returns which of these candidates have the ids of stored events with other content, and the hashes of that content.
/// The candidates are in the order of their keys.
pub(super) async fn conflicts<'c, 'e>(
    tx: &mut Tx,
    known: &[&'c Candidate<'e>],
) -> Result<Vec<(&'c Candidate<'e>, [u8; 16])>, Error> {
    #[derive(omnistack_core::db::FromRow)]
    struct HashRow {
        #[sqlx(flatten)]
        key: StoredKey,
        hash: Vec<u8>,
    }
    let rows = FIND_CONFLICTS.fetch_all::<HashRow, _>(tx, known, |row, candidate| {
        let NewUsage { event, hash, .. } = candidate.new;
        row.push(event.tenant);
        row.push(event.environment.as_str());
        row.push(&*event.source);
        row.push(candidate.new.id());
        row.push(hash.as_slice());
    });
    let rows = rows.await?;
    let mut found = Vec::with_capacity(rows.len());
    for HashRow { key, hash } in rows {
        let key = key.key();
        let place = known.binary_search_by(|candidate| EventKey::of(&candidate.new.event).cmp(&key));
        if let (Ok(place), Ok(hash)) = (place, hash.try_into()) {
            found.push((known[place], hash));
        }
    }
    Ok(found)
}

macro_rules! upsert_windows {
    ($returning:literal) => {
        BulkInsert::new(
            "insert into omni_usage_windows (tenant_id, environment, meter, grain, start, sum, events, max, last,
            last_at, last_id, uniques) values",
            concat!(
                "on conflict (tenant_id, environment, meter, grain, start) do update set
                sum = omni_usage_windows.sum + excluded.sum,
                events = omni_usage_windows.events + excluded.events,
                uniques = omni_usage_windows.uniques + excluded.uniques,
                max = case when omni_usage_windows.events = 0 or excluded.max > omni_usage_windows.max
                    then excluded.max else omni_usage_windows.max end,
                last = case when omni_usage_windows.events = 0 or excluded.last_at > omni_usage_windows.last_at
                    or (excluded.last_at = omni_usage_windows.last_at and excluded.last_id > omni_usage_windows.last_id)
                    then excluded.last else omni_usage_windows.last end,
                last_id = case when omni_usage_windows.events = 0 or excluded.last_at > omni_usage_windows.last_at
                    or (excluded.last_at = omni_usage_windows.last_at and excluded.last_id > omni_usage_windows.last_id)
                    then excluded.last_id else omni_usage_windows.last_id end,
                last_at = case when omni_usage_windows.events = 0 or excluded.last_at > omni_usage_windows.last_at
                    then excluded.last_at else omni_usage_windows.last_at end",
                $returning
            ),
        )
    };
}

static ADD_TO_WINDOWS: BulkInsert<12> = upsert_windows!("");
/// The same for windows that limits apply to, with their new numbers.
static ADD_TO_LIMITED_WINDOWS: BulkInsert<12> = upsert_windows!(
    " returning tenant_id, environment, meter, grain, start, sum, events, max, last, uniques, reserved"
);

static ADD_TO_DIMENSIONS: BulkInsert<11> = BulkInsert::new(
    "insert into omni_usage_dimensions (tenant_id, environment, meter, grain, start, category, user_id, api_key_id, sum,
    events, max) values",
    "on conflict (tenant_id, environment, meter, grain, start, category, user_id, api_key_id) do update set
    sum = omni_usage_dimensions.sum + excluded.sum,
    events = omni_usage_dimensions.events + excluded.events,
    max = case when excluded.max > omni_usage_dimensions.max then excluded.max else omni_usage_dimensions.max end",
);

static ADD_LATE: BulkInsert<7> = BulkInsert::new(
    "insert into omni_usage_late (tenant_id, environment, meter, billed_in, used_in, sum, events) values",
    "on conflict (tenant_id, environment, meter, billed_in, used_in) do update set
    sum = omni_usage_late.sum + excluded.sum, events = omni_usage_late.events + excluded.events",
);

static INSERT_UNIQUES: BulkInsert<6> = BulkInsert::new(
    "insert into omni_usage_uniques (tenant_id, environment, meter, grain, start, value) values",
    "on conflict (tenant_id, environment, meter, grain, start, value) do nothing
    returning tenant_id, environment, meter, grain, start",
);

/// A window with its numbers.
#[derive(omnistack_core::db::FromRow)]
struct LimitedWindowRow {
    #[sqlx(flatten)]
    key: WindowKeyRow,
    #[sqlx(flatten)]
    numbers: WindowNumbers,
}

#[derive(omnistack_core::db::FromRow)]
struct WindowKeyRow {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    grain: String,
    start: Timestamp,
}

impl WindowKeyRow {
    fn into_key(self) -> WindowKey {
        let grain = [Grain::Minute, Grain::Hour, Grain::Day, Grain::Period, Grain::Total];
        WindowKey {
            tenant: self.tenant_id,
            // The statement has just written the row.
            environment: self.environment.parse().unwrap_or_default(),
            meter: self.meter,
            grain: grain.into_iter().find(|grain| grain.as_str() == self.grain).unwrap_or(Grain::Total),
            start: self.start,
        }
    }
}

/// Adds what events have added. Returns the windows that limits apply to, with what they have counted now.
pub(super) async fn add(tx: &mut Tx, sums: UsageSums<'_>, meters: &MeterSet) -> Result<Vec<WindowChange>, Error> {
    let UsageSums { windows, dimensions, late, uniques } = sums;
    let mut uniques_of: HashMap<WindowKey, i64> = HashMap::new();
    let uniques: Vec<_> = uniques.into_iter().collect();
    for key in insert_uniques(tx, &uniques).await? {
        *uniques_of.entry(key).or_default() += 1;
    }
    let rows = windows.into_iter().map(|(key, delta)| {
        let uniques = uniques_of.get(&key).copied().unwrap_or(0);
        (key, delta, uniques)
    });
    let (limited, others): (Vec<_>, Vec<_>) =
        rows.partition(|(key, ..)| matches!(key.grain, Grain::Period | Grain::Total));
    let limited: Vec<LimitedWindowRow> = ADD_TO_LIMITED_WINDOWS.fetch_all(tx, &limited, bind_window).await?;
    ADD_TO_WINDOWS.execute(tx, &others, bind_window).await?;
    let dimensions: Vec<_> = dimensions.into_iter().collect();
    ADD_TO_DIMENSIONS.execute(tx, &dimensions, bind_dimension).await?;
    let late: Vec<_> = late.into_iter().collect();
    ADD_LATE.execute(tx, &late, bind_late).await?;
    let changes = limited.into_iter().filter_map(|LimitedWindowRow { key, numbers }| {
        let key = key.into_key();
        let meter = meters.get(&key.meter)?;
        let is_limited = meter.lifetime == (key.grain == Grain::Total);
        is_limited.then(|| WindowChange { after: numbers.value(meter), key, before: 0 })
    });
    Ok(changes.collect())
}

/// Inserts users or categories of windows. Returns the window of each that is new in it.
async fn insert_uniques(tx: &mut Tx, uniques: &[(WindowKey, Cow<'_, str>)]) -> Result<Vec<WindowKey>, Error> {
    let rows: Vec<WindowKeyRow> = INSERT_UNIQUES
        .fetch_all(tx, uniques, |row, (key, value)| {
            bind_key(row, key);
            row.push(&**value);
        })
        .await?;
    Ok(rows.into_iter().map(WindowKeyRow::into_key).collect())
}

fn bind_key(row: &mut Arguments, key: &WindowKey) {
    row.push(key.tenant);
    row.push(key.environment.as_str());
    row.push(key.meter.as_str());
    row.push(key.grain.as_str());
    row.push(key.start);
}

fn bind_window(row: &mut Arguments, (key, delta, uniques): &(WindowKey, WindowDelta<'_>, i64)) {
    bind_key(row, key);
    row.push(delta.sum);
    row.push(delta.events);
    row.push(delta.max);
    row.push(delta.last);
    row.push(delta.latest.at);
    row.push(delta.last_id());
    row.push(*uniques);
}

fn bind_dimension(row: &mut Arguments, (key, delta): &(DimensionKey<'_>, DimensionDelta)) {
    row.push(key.tenant);
    row.push(key.environment.as_str());
    row.push(key.meter);
    row.push(key.grain);
    row.push(key.start);
    row.push(key.category);
    row.push::<UserId>(key.user);
    row.push::<ApiKeyId>(key.api_key);
    row.push(delta.sum);
    row.push(delta.events);
    row.push(delta.max);
}

fn bind_late(row: &mut Arguments, (key, delta): &(LateKey, DimensionDelta)) {
    row.push(key.tenant);
    row.push(key.environment.as_str());
    row.push(key.meter);
    row.push(key.billed_in);
    row.push(key.used_in);
    row.push(delta.sum);
    row.push(delta.events);
}

static INSERT_ACCOUNTS: BulkInsert<5> = BulkInsert::new(
    "insert into omni_billing_accounts (tenant_id, zone, period, created_at, updated_at) values",
    "on conflict (tenant_id) do nothing",
);

/// Inserts accounts for tenants that have none, so that there is a row to lock.
pub(super) async fn ensure_accounts(
    tx: &mut Tx,
    tenants: &[TenantId],
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(), Error> {
    let zone = zone.iana_name().unwrap_or("UTC");
    let bind = |row: &mut Arguments, tenant: &TenantId| {
        row.push(*tenant);
        row.push(zone.to_owned());
        row.push("month");
        row.push(now);
        row.push(now);
    };
    INSERT_ACCOUNTS.execute(tx, tenants, bind).await.map(drop)
}

/// Closes the usage of a tenant before a time.
pub(super) async fn close(
    tx: &mut Tx,
    tenant: TenantId,
    until: Timestamp,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(), Error> {
    ensure_accounts(tx, &[tenant], now, zone).await?;
    // The update waits for transactions that have locked the account to record usage.
    let sql = "update omni_billing_accounts set closed_until = $2, updated_at = $3
        where tenant_id = $1 and (closed_until is null or closed_until < $2)";
    tx.query(sql).bind(tenant).bind(until).bind(now).execute().await.map(drop)
}
