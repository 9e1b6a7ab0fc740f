//! The statements of reservations. In those with a window's key, `$1` to `$5` are its columns.

/// Reserves units on PostgreSQL, in one round trip. It returns no row if the window does not exist. `$6` and `$7` are
/// the factors of `sum` and `events`, `$8` is the limit, `$9` to `$11` are the requested units, `$12` to `$14` the id,
/// the time and the expiry.
///
/// `locked` waits for other transactions and then has the newest numbers. The parts after it work on the row that it
/// has locked: PostgreSQL evaluates their conditions again if the row is newer than the statement.
pub(super) const RESERVE: &str = "with locked as (
        select sum * $6 + events * $7 as used, reserved from omni_usage_windows
        where tenant_id = $1 and environment = $2 and meter = $3 and grain = $4 and start = $5 for update
    ), decided as (
        select used, reserved, case when $8 - used - reserved < $9 then 0
            else least($8 - used - reserved, greatest($10, least($11, ($8 - used - reserved) / 8))) end as granted
        from locked
    ), held as (
        update omni_usage_windows as w set reserved = w.reserved + decided.granted from decided
        where w.tenant_id = $1 and w.environment = $2 and w.meter = $3 and w.grain = $4 and w.start = $5
        and decided.granted > 0
    ), stored as (
        insert into omni_usage_reservations as r
        (id, tenant_id, environment, meter, grain, start, units, created_at, expires_at)
        select $12, $1, $2, $3, $4, $5, granted, $13, $14 from decided where granted > 0
        on conflict (id) do update set units = r.units + excluded.units,
        expires_at = greatest(r.expires_at, excluded.expires_at)
        returning units
    )
    select used, reserved, granted, coalesce((select units from stored), 0) as held from decided";

/// Reads what is used of a limit and reserved. `$6` and `$7` are the factors of `sum` and `events`.
pub(super) const SELECT_WINDOW: &str = "select sum * $6 + events * $7, reserved from omni_usage_windows
    where tenant_id = $1 and environment = $2 and meter = $3 and grain = $4 and start = $5";

/// Creates a window, which has counted nothing.
pub(super) const CREATE_WINDOW: &str = "insert into omni_usage_windows
    (tenant_id, environment, meter, grain, start, sum, events, max, last, last_at, last_id)
    values ($1, $2, $3, $4, $5, 0, 0, 0, 0, $5, '')
    on conflict (tenant_id, environment, meter, grain, start) do nothing";

/// Adds `$6` to the reserved units of a window.
pub(super) const CHANGE_RESERVED: &str = "update omni_usage_windows set reserved = reserved + $6
    where tenant_id = $1 and environment = $2 and meter = $3 and grain = $4 and start = $5";

/// Inserts a reservation, or adds units to it. `$6` are the units, `$7` to `$9` the id, the time and the expiry.
pub(super) const ADD_RESERVATION: &str = "insert into omni_usage_reservations as r
    (id, tenant_id, environment, meter, grain, start, units, created_at, expires_at)
    values ($7, $1, $2, $3, $4, $5, $6, $8, $9)
    on conflict (id) do update set units = r.units + excluded.units,
    expires_at = case when r.expires_at > excluded.expires_at then r.expires_at else excluded.expires_at end
    returning units";

/// Reads a reservation. `$1` is the id, `$2` the tenant.
pub(super) const SELECT_RESERVATION: &str = "select tenant_id, environment, meter, grain, start, units
    from omni_usage_reservations where id = $1 and tenant_id = $2";

/// Takes `$3` units out of the reservation `$1` of the tenant `$2` on PostgreSQL, in one round trip. Returns the number
/// of units.
pub(super) const SHRINK: &str = "with locked as (
        select w.environment, w.meter, w.grain, w.start from omni_usage_reservations r
        join omni_usage_windows w on w.tenant_id = r.tenant_id and w.environment = r.environment and w.meter = r.meter
        and w.grain = r.grain and w.start = r.start
        where r.id = $1 and r.tenant_id = $2 for update of w
    ), found as (
        select r.units from omni_usage_reservations r, locked
        where r.id = $1 and r.tenant_id = $2 for update of r
    ), ended as (
        delete from omni_usage_reservations r using found
        where r.id = $1 and r.tenant_id = $2 and found.units <= $3
    ), lessened as (
        update omni_usage_reservations as r set units = found.units - $3 from found
        where r.id = $1 and r.tenant_id = $2 and found.units > $3
    ), given_back as (
        update omni_usage_windows as w set reserved = w.reserved - least(found.units, $3) from found, locked
        where w.tenant_id = $2 and w.environment = locked.environment and w.meter = locked.meter
        and w.grain = locked.grain and w.start = locked.start
    )
    select least(units, $3) from found";

/// Deletes the reservations of a window that have expired at `$6`.
pub(super) const DELETE_EXPIRED_OF_WINDOW: &str = "delete from omni_usage_reservations
    where tenant_id = $1 and environment = $2 and meter = $3 and grain = $4 and start = $5 and expires_at <= $6
    returning units";

/// Deletes at most `$2` reservations that have expired at `$1` on PostgreSQL, without those of windows that are locked.
/// Returns their number.
pub(super) const DELETE_EXPIRED: &str = "with oldest as (
        select distinct tenant_id, environment, meter, grain, start from (
            select tenant_id, environment, meter, grain, start from omni_usage_reservations
            where expires_at <= $1 order by expires_at limit $2
        ) as expired
    ), locked as (
        select w.tenant_id, w.environment, w.meter, w.grain, w.start from omni_usage_windows w
        join oldest on w.tenant_id = oldest.tenant_id and w.environment = oldest.environment
        and w.meter = oldest.meter and w.grain = oldest.grain and w.start = oldest.start
        for update of w skip locked
    ), deleted as (
        delete from omni_usage_reservations r using locked
        where r.tenant_id = locked.tenant_id and r.environment = locked.environment and r.meter = locked.meter
        and r.grain = locked.grain and r.start = locked.start and r.expires_at <= $1
        returning r.tenant_id, r.environment, r.meter, r.grain, r.start, r.units
    ), added_up as (
        select tenant_id, environment, meter, grain, start, cast(sum(units) as bigint) as units from deleted
        group by tenant_id, environment, meter, grain, start
    ), given_back as (
        update omni_usage_windows as w set reserved = w.reserved - added_up.units from added_up
        where w.tenant_id = added_up.tenant_id and w.environment = added_up.environment
        and w.meter = added_up.meter and w.grain = added_up.grain and w.start = added_up.start
    )
    select count(*) from deleted";

/// Deletes at most `$2` reservations that have expired at `$1` on SQLite.
pub(super) const DELETE_OLDEST: &str = "delete from omni_usage_reservations where id in (
        select id from omni_usage_reservations where expires_at <= $1 order by expires_at limit $2)
    returning tenant_id, environment, meter, grain, start, units";
