//! Reservations: parts of a limit that are held for work that is not done yet.
//!
//! The units of reservations are added up in the column `reserved` of their window. So one row decides whether a limit
//! allows more, in any process. After every transaction, `reserved` is the sum of the units of the window's
//! reservations.
//!
//! **Locks.** A transaction locks a window before reservations of it, as the ledger does when it adds to the window.
//! Only [`extend`] locks reservations alone, and it skips those that are locked. [`delete_expired`] locks several
//! windows, and skips those that are locked. Neither waits, so there is no circle.
//!
//! **Durability.** PostgreSQL waits for the disk when these transactions commit. Without that, it would forget
//! reservations of the last moments if it crashes. A forgotten reservation is no expired one: its holder still uses it,
//! and the same units would be reserved again.

mod expired;
mod renewal;
mod sql;

use omnistack_core::{
    clock::Timestamp,
    db::{Dialect, Error, ErrorKind, SqlQuery, Tx},
    identity::TenantId,
};
use uuid::Uuid;

use super::WindowKey;
use crate::meter::{Aggregation, Meter};

pub(crate) use expired::delete_expired;
pub(crate) use renewal::extend;

/// Largest limit in units, so that the difference of a limit and a negative sum does not overflow.
const MAX_LIMIT_UNITS: i64 = i64::MAX / 2;
/// The part of what a limit has left that an allowance may have spare.
const SPARE_DIVISOR: i64 = 8;

/// A reservation to make, or to add to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReservation<'a> {
    pub(crate) id: Uuid,
    /// The window that the limit applies to.
    pub(crate) key: &'a WindowKey,
    /// The meter, which adds up quantities or counts events.
    pub(crate) meter: &'a Meter,
    /// The limit in the smallest units of the meter.
    pub(crate) limit: i64,
    pub(crate) now: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// The units to reserve, all positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestedUnits {
    /// If the limit has not so many left, none are reserved.
    pub(crate) least: i64,
    /// If the limit has so many left, they are reserved.
    pub(crate) wanted: i64,
    /// So many are reserved if they are a small part of what the limit has left.
    pub(crate) spare: i64,
}

impl RequestedUnits {
    /// Creates the request for an amount, and no more.
    pub(crate) const fn exactly(units: i64) -> Self {
        Self { least: units, wanted: units, spare: 0 }
    }

    /// Returns the number of units to reserve of those that are left. PostgreSQL computes the same in [`sql::RESERVE`].
    fn granted(self, left: i64) -> i64 {
        if left < self.least { 0 } else { left.min(self.wanted.max(self.spare.min(left / SPARE_DIVISOR))) }
    }
}

/// The units of a limit that are used, and that reservations hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitUse {
    pub(crate) used: i64,
    pub(crate) reserved: i64,
}

/// The result of a request for units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveOutcome {
    Reserved {
        /// The units that are reserved by this request.
        granted: i64,
        /// All units that the reservation holds now.
        held: i64,
    },
    Refused(LimitUse),
}

/// Returns the units that an event takes of a limit: a meter that counts events takes one whole for each, whatever its
/// quantity is.
pub(crate) const fn units_of_event(meter: &Meter, units: i64) -> i64 {
    match meter.aggregation {
        Aggregation::Count => 10_i64.pow(meter.decimals),
        _ => units,
    }
}

/// Reserves units, if the limit allows them together with what is used and reserved. Adds to the reservation if there
/// is one of this id, which must be of the same window. Reservations of the window that have expired are deleted first
/// if it needs their units. Call it in a transaction that locks nothing else, because the window stays locked until its
/// end.
///
/// The meter adds up quantities or counts events: the other aggregations can't be reserved.
pub(crate) async fn reserve(
    tx: &mut Tx,
    new: &NewReservation<'_>,
    units: RequestedUnits,
) -> Result<ReserveOutcome, Error> {
    let mut decision = decide(tx, new, units).await?;
    if decision.granted == 0 && expired::delete_of_window(tx, new.key, new.now).await? > 0 {
        decision = decide(tx, new, units).await?;
    }
    let Decision { used, reserved, granted, held } = decision;
    Ok(match granted {
        0 => ReserveOutcome::Refused(LimitUse { used, reserved }),
        _ => ReserveOutcome::Reserved { granted, held },
    })
}

/// The decision about a request for units.
#[derive(Clone, Copy, Debug, omnistack_core::db::FromRow)]
struct Decision {
    used: i64,
    /// Without what this request has reserved.
    reserved: i64,
    granted: i64,
    held: i64,
}

/// Decides about a request, in a window that is created if it does not exist.
async fn decide(tx: &mut Tx, new: &NewReservation<'_>, units: RequestedUnits) -> Result<Decision, Error> {
    if let Some(decision) = decide_in_window(tx, new, units).await? {
        return Ok(decision);
    }
    bind_key(tx.query(sql::CREATE_WINDOW), new.key).execute().await?;
    let decision = decide_in_window(tx, new, units).await?;
    decision.ok_or_else(|| Error::new(ErrorKind::Other, "the transaction does not see the window of a limit".into()))
}

/// Decides about a request. Returns `None` if the window does not exist.
async fn decide_in_window(
    tx: &mut Tx,
    new: &NewReservation<'_>,
    units: RequestedUnits,
) -> Result<Option<Decision>, Error> {
    let (sum_weight, event_weight) = weights(new.meter);
    let limit = new.limit.min(MAX_LIMIT_UNITS);
    if tx.dialect() == Dialect::Postgres {
        let query = bind_key(tx.query(sql::RESERVE), new.key).bind(sum_weight).bind(event_weight).bind(limit);
        let query = query.bind(units.least).bind(units.wanted).bind(units.spare);
        return query.bind(new.id).bind(new.now).bind(new.expires_at).fetch_optional().await;
    }
    let query = bind_key(tx.query(sql::SELECT_WINDOW), new.key).bind(sum_weight).bind(event_weight);
    let Some((used, reserved)) = query.fetch_optional::<(i64, i64)>().await? else { return Ok(None) };
    let granted = units.granted(limit.saturating_sub(used).saturating_sub(reserved));
    if granted == 0 {
        return Ok(Some(Decision { used, reserved, granted, held: 0 }));
    }
    change_reserved(tx, new.key, granted).await?;
    let insert = bind_key(tx.query(sql::ADD_RESERVATION), new.key).bind(granted);
    let insert = insert.bind(new.id).bind(new.now).bind(new.expires_at);
    let (held,): (i64,) = insert.fetch_one().await?;
    Ok(Some(Decision { used, reserved, granted, held }))
}

/// Returns the factors of the columns `sum` and `events` in what a meter has counted.
const fn weights(meter: &Meter) -> (i64, i64) {
    match meter.aggregation {
        Aggregation::Count => (0, 10_i64.pow(meter.decimals)),
        _ => (1, 0),
    }
}

/// Takes units out of a reservation, at most those that it holds, and ends it if none are left. Returns the number of
/// units; zero if the reservation has ended or expired.
pub(crate) async fn shrink(tx: &mut Tx, tenant: TenantId, id: Uuid, units: i64) -> Result<i64, Error> {
    if units <= 0 {
        return Ok(0);
    }
    if tx.dialect() == Dialect::Postgres {
        let query = tx.query(sql::SHRINK).bind(id).bind(tenant).bind(units);
        return Ok(query.fetch_optional::<(i64,)>().await?.map_or(0, |(taken,)| taken));
    }
    let query = tx.query(sql::SELECT_RESERVATION).bind(id).bind(tenant);
    let Some(reservation) = query.fetch_optional::<ReservationRow>().await? else { return Ok(0) };
    let taken = units.min(reservation.units);
    if taken == reservation.units {
        let end = "delete from omni_usage_reservations where id = $1 and tenant_id = $2";
        tx.query(end).bind(id).bind(tenant).execute().await?;
    } else {
        let lessen = "update omni_usage_reservations set units = units - $3 where id = $1 and tenant_id = $2";
        tx.query(lessen).bind(id).bind(tenant).bind(taken).execute().await?;
    }
    reservation.window().change_reserved(tx, -taken).await?;
    Ok(taken)
}

/// Ends a reservation. Returns whether there was one.
pub(crate) async fn release(tx: &mut Tx, tenant: TenantId, id: Uuid) -> Result<bool, Error> {
    Ok(shrink(tx, tenant, id, i64::MAX).await? > 0)
}

/// A reservation with the columns of its window's key.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
struct ReservationRow {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    grain: String,
    start: Timestamp,
    units: i64,
}

impl ReservationRow {
    fn window(self) -> WindowColumns {
        let Self { tenant_id, environment, meter, grain, start, .. } = self;
        WindowColumns { tenant_id, environment, meter, grain, start }
    }
}

/// The key of a window as rows have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WindowColumns {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    grain: String,
    start: Timestamp,
}

impl WindowColumns {
    /// Adds to the reserved units of the window.
    async fn change_reserved(self, tx: &mut Tx, units: i64) -> Result<(), Error> {
        let Self { tenant_id, environment, meter, grain, start } = self;
        let update = tx.query(sql::CHANGE_RESERVED).bind(tenant_id).bind(environment).bind(meter);
        update.bind(grain).bind(start).bind(units).execute().await.map(drop)
    }
}

/// Adds to the reserved units of a window.
async fn change_reserved(tx: &mut Tx, key: &WindowKey, units: i64) -> Result<(), Error> {
    bind_key(tx.query(sql::CHANGE_RESERVED), key).bind(units).execute().await.map(drop)
}

/// Binds the key of a window to the first five placeholders.
fn bind_key<'q>(query: SqlQuery<'q>, key: &WindowKey) -> SqlQuery<'q> {
    let query = query.bind(key.tenant).bind(key.environment.as_str()).bind(key.meter.clone());
    query.bind(key.grain.as_str()).bind(key.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_what_is_left_is_granted() {
        let request = |least, wanted, spare| RequestedUnits { least, wanted, spare };
        for (units, left, expected) in [
            (RequestedUnits::exactly(3), 3, 3),
            (RequestedUnits::exactly(3), 2, 0),
            (RequestedUnits::exactly(3), 1_000, 3),
            (RequestedUnits::exactly(1), 0, 0),
            (RequestedUnits::exactly(1), -5, 0),
            // All that wait are served if possible, and otherwise one of them.
            (request(2, 20, 0), 1_000, 20),
            (request(2, 20, 0), 7, 7),
            (request(2, 20, 0), 1, 0),
            // Spare units are at most an eighth of what is left.
            (request(1, 1, 500), 8_000, 500),
            (request(1, 1, 500), 800, 100),
            (request(1, 1, 500), 15, 1),
            (request(1, 1, 500), 1, 1),
        ] {
            assert_eq!(units.granted(left), expected, "{units:?} of {left}");
        }
    }
}
