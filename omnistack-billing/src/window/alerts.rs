//! Events that tell a tenant how much of a limit is used.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db::{Error, ErrorKind, Tx},
    events::{Events, PublishError},
    usage_threshold::UsageThresholdReached,
};

use super::{Grain, WindowChange};
use crate::{
    meter::{Meter, MeterSet},
    quantity::Quantity,
};

/// The shares of a limit that tenants are told of, in percent.
const THRESHOLDS_PERCENT: [u8; 2] = [80, 100];
/// The time after which a tenant is told again of the limit of a lifetime meter, whose total also falls.
const LIFETIME_REPEAT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Records that a tenant is told of a share of a limit. It changes no row if the tenant was told before, of that limit
/// or a larger one. `$8` is the time before which that does not count any more.
const RECORD_ALERT: &str = "insert into omni_usage_alerts
    (tenant_id, environment, meter, period_start, threshold, limit_units, at) values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (tenant_id, environment, meter, period_start, threshold) do update
    set limit_units = excluded.limit_units, at = excluded.at
    where omni_usage_alerts.limit_units < excluded.limit_units or omni_usage_alerts.at < $8";

/// A share of a limit that a change of a window has reached.
struct ReachedThreshold<'a> {
    change: &'a WindowChange,
    meter: &'a Meter,
    limit: i64,
    percent: u8,
}

/// Publishes [`UsageThresholdReached`] for the shares of limits that changes have reached, unless the tenant was told
/// in this billing period. A tenant is told again if the limit has become larger. `limits` returns the limit of a
/// window in the smallest units of its meter. Without a share that is reached, it makes no query.
pub(crate) async fn raise_in(
    tx: &mut Tx,
    events: &Events,
    changes: &[WindowChange],
    limits: impl Fn(&WindowChange) -> Option<i64>,
    meters: &MeterSet,
    now: Timestamp,
) -> Result<(), Error> {
    let mut reached = Vec::new();
    for change in changes {
        let Some((limit, meter)) = limits(change).zip(meters.get(&change.key.meter)) else { continue };
        let percents = THRESHOLDS_PERCENT.into_iter().filter(|percent| is_reached(change, limit, *percent));
        reached.extend(percents.map(|percent| ReachedThreshold { change, meter, limit, percent }));
    }
    // The order in which all transactions lock the rows.
    reached.sort_by(|one, other| (&one.change.key, one.percent).cmp(&(&other.change.key, other.percent)));
    let mut raised = Vec::new();
    for threshold in reached {
        if threshold.record(tx, now).await? {
            raised.push(threshold.event());
        }
    }
    if !raised.is_empty() {
        events.publish_all_in(tx, &raised).await.map_err(database_error)?;
    }
    Ok(())
}

/// Returns the largest share of a limit that an amount has reached and that tenants are told of, in percent. Returns
/// `None` if it has reached none.
pub(crate) fn reached_percent(units: i64, limit: i64) -> Option<u8> {
    THRESHOLDS_PERCENT.into_iter().rev().find(|percent| limit > 0 && reaches(units, limit, *percent))
}

/// Returns whether a change has reached a share of a limit that it had not reached before.
fn is_reached(change: &WindowChange, limit: i64, percent: u8) -> bool {
    limit > 0 && reaches(change.after, limit, percent) && !reaches(change.before, limit, percent)
}

fn reaches(units: i64, limit: i64, percent: u8) -> bool {
    i128::from(units) * 100 >= i128::from(limit) * i128::from(percent)
}

impl ReachedThreshold<'_> {
    /// Records that the tenant is told. Returns `false` if it was told before.
    async fn record(&self, tx: &mut Tx, now: Timestamp) -> Result<bool, Error> {
        let key = &self.change.key;
        let outdated = match key.grain {
            Grain::Total => now - LIFETIME_REPEAT,
            _ => Timestamp::from_micros(i64::MIN),
        };
        let insert = tx.query(RECORD_ALERT).bind(key.tenant).bind(key.environment.as_str()).bind(key.meter.clone());
        let insert = insert.bind(key.start).bind(i32::from(self.percent)).bind(self.limit).bind(now).bind(outdated);
        Ok(insert.execute().await? > 0)
    }

    fn event(&self) -> UsageThresholdReached {
        let Self { change, meter, limit, percent } = self;
        let key = &change.key;
        let used = Quantity::from_units(change.after, meter.decimals).0;
        // Limits are whole.
        let limit = u64::try_from(limit / 10_i64.pow(meter.decimals)).unwrap_or(0);
        UsageThresholdReached::new(key.tenant, key.environment, &*key.meter, *percent, used, limit, key.start)
    }
}

fn database_error(error: PublishError) -> Error {
    match error {
        PublishError::Database(error) => error,
        error => Error::new(ErrorKind::Other, error.into()),
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{id::Id, usage::DataEnvironment};

    use super::*;
    use crate::window::WindowKey;

    #[test]
    fn a_share_is_reached_once() {
        for (before, after, limit, expected) in [
            (0, 79, 100, vec![]),
            (79, 80, 100, vec![80]),
            (80, 99, 100, vec![]),
            (99, 100, 100, vec![100]),
            (100, 5_000, 100, vec![]),
            // One event can reach both.
            (0, 100, 100, vec![80, 100]),
            (3, 4, 5, vec![80]),
            (7, 8, 9, vec![80]),
            // Usage that is given back reaches nothing.
            (100, 79, 100, vec![]),
            (0, 5, 0, vec![]),
            (0, i64::MAX, i64::MAX, vec![80, 100]),
        ] {
            let key = WindowKey {
                tenant: Id::new(Timestamp::from_micros(0)),
                environment: DataEnvironment::Live,
                meter: "runs".to_owned(),
                grain: Grain::Period,
                start: Timestamp::from_micros(0),
            };
            let change = WindowChange { key, before, after };
            let reached: Vec<u8> =
                THRESHOLDS_PERCENT.into_iter().filter(|percent| is_reached(&change, limit, *percent)).collect();
            assert_eq!(reached, expected, "{before} to {after} of {limit}");
            let largest = reached_percent(after, limit);
            assert!(expected.is_empty() || largest == expected.last().copied(), "{after} of {limit}");
        }
    }
}
