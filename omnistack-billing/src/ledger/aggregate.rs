//! The sums that stored events add to windows, without I/O.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    db::{Error, ErrorKind},
    identity::{ApiKeyId, TenantId, UserId},
    usage::{DataEnvironment, UsageEvent},
};

use crate::{
    meter::{Aggregation, Meter},
    window::{Grain, WindowKey, total_start},
};

pub(super) const MINUTE_MICROS: i64 = 60 * 1_000_000;
const HOUR_MICROS: i64 = 60 * MINUTE_MICROS;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// The billing of a stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventBilling {
    /// It counts in the billing period of its time, which starts then.
    InPeriod(Timestamp),
    /// It is billed in the first of these periods, as late usage of the second.
    Late { billed_in: Timestamp, used_in: Timestamp },
    /// It is not billed.
    None,
}

impl EventBilling {
    /// Returns the start of the period in which it is billed.
    pub(super) const fn billed_in(self) -> Option<Timestamp> {
        match self {
            Self::InPeriod(start) | Self::Late { billed_in: start, .. } => Some(start),
            Self::None => None,
        }
    }
}

/// The numbers that events add to a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowDelta {
    pub(super) sum: i64,
    pub(super) events: i64,
    pub(super) max: i64,
    /// The quantity of the latest event, with its time, and its id and source.
    pub(super) last: i64,
    pub(super) last_at: Timestamp,
    pub(super) last_id: String,
}

/// A user, API key and category, and a day or month.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DimensionKey {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: String,
    /// `day` or `month`.
    pub(super) grain: &'static str,
    pub(super) start: Timestamp,
    pub(super) category: String,
    pub(super) user: UserId,
    pub(super) api_key: ApiKeyId,
}

/// The numbers that events add to a dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DimensionDelta {
    pub(super) sum: i64,
    pub(super) events: i64,
    pub(super) max: i64,
}

/// Late usage, by the periods in which it is billed and was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LateKey {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: String,
    pub(super) billed_in: Timestamp,
    pub(super) used_in: Timestamp,
}

/// The numbers that events add, in the order of the keys, in which all transactions lock the rows.
#[derive(Debug, Default)]
pub(super) struct UsageDelta {
    pub(super) windows: BTreeMap<WindowKey, WindowDelta>,
    pub(super) dimensions: BTreeMap<DimensionKey, DimensionDelta>,
    pub(super) late: BTreeMap<LateKey, DimensionDelta>,
    /// The users or categories of windows that count different ones.
    pub(super) uniques: Vec<(WindowKey, String)>,
}

impl UsageDelta {
    /// Adds a stored event of a known meter. Fails if a sum is too large for the databases, which themselves refuse a
    /// window that becomes too large.
    pub(super) fn add(
        &mut self,
        event: &UsageEvent,
        meter: &Meter,
        units: i64,
        billing: EventBilling,
    ) -> Result<(), Error> {
        let unique = match meter.aggregation {
            Aggregation::UniqueUsers => event.user.map(|user| user.to_string()),
            Aggregation::UniqueCategories => event.category.as_deref().map(str::to_owned),
            Aggregation::Sum | Aggregation::Count | Aggregation::Max | Aggregation::Last => None,
        };
        // Of events at the same time, the order of their ids and sources says which one is the last.
        let order = format!("{} {}", event.id.as_deref().unwrap_or_default(), event.source);
        for (grain, start) in grains(event.at, meter, billing).into_iter().flatten() {
            let key = WindowKey {
                tenant: event.tenant,
                environment: event.environment,
                meter: meter.name().to_owned(),
                grain,
                start,
            };
            if let Some(unique) = &unique {
                self.uniques.push((key.clone(), unique.clone()));
            }
            self.add_to_window(key, event.at, &order, units)?;
        }
        for (grain, start) in [("day", floor(event.at, DAY_MICROS)), ("month", month_start(event.at))] {
            let key = DimensionKey {
                tenant: event.tenant,
                environment: event.environment,
                meter: meter.name().to_owned(),
                grain,
                start,
                category: event.category.as_deref().unwrap_or_default().to_owned(),
                user: event.user.unwrap_or(UserId::from_uuid(uuid::Uuid::nil())),
                api_key: event.api_key.unwrap_or(ApiKeyId::from_uuid(uuid::Uuid::nil())),
            };
            self.dimensions
                .entry(key)
                .or_insert_with(|| DimensionDelta { max: units, ..Default::default() })
                .add(units)?;
        }
        if let EventBilling::Late { billed_in, used_in } = billing {
            let (tenant, environment, meter) = (event.tenant, event.environment, meter.name().to_owned());
            let key = LateKey { tenant, environment, meter, billed_in, used_in };
            self.late.entry(key).or_insert_with(|| DimensionDelta { max: units, ..Default::default() }).add(units)?;
        }
        Ok(())
    }

    fn add_to_window(&mut self, key: WindowKey, at: Timestamp, order: &str, units: i64) -> Result<(), Error> {
        let delta = self.windows.entry(key).or_insert_with(|| WindowDelta {
            sum: 0,
            events: 0,
            max: units,
            last: units,
            last_at: at,
            last_id: order.to_owned(),
        });
        delta.sum = checked_sum(delta.sum, units)?;
        delta.events += 1;
        delta.max = delta.max.max(units);
        if (at, order) > (delta.last_at, delta.last_id.as_str()) {
            (delta.last, delta.last_at) = (units, at);
            order.clone_into(&mut delta.last_id);
        }
        Ok(())
    }
}

impl DimensionDelta {
    fn add(&mut self, units: i64) -> Result<(), Error> {
        self.sum = checked_sum(self.sum, units)?;
        self.events += 1;
        self.max = self.max.max(units);
        Ok(())
    }
}

fn checked_sum(sum: i64, units: i64) -> Result<i64, Error> {
    let too_large = || {
        let message = "the usage of one transaction is too large to be added up: record it in several";
        Error::new(ErrorKind::InvalidValue, message.into())
    };
    sum.checked_add(units).ok_or_else(too_large)
}

/// Returns the windows in which an event counts.
fn grains(at: Timestamp, meter: &Meter, billing: EventBilling) -> [Option<(Grain, Timestamp)>; 5] {
    let period = match billing {
        EventBilling::InPeriod(start) => Some((Grain::Period, start)),
        EventBilling::Late { .. } | EventBilling::None => None,
    };
    [
        Some((Grain::Minute, floor(at, MINUTE_MICROS))),
        Some((Grain::Hour, floor(at, HOUR_MICROS))),
        Some((Grain::Day, floor(at, DAY_MICROS))),
        period,
        meter.lifetime.then(|| (Grain::Total, total_start())),
    ]
}

/// Returns the start of the interval of so many microseconds that contains a time.
pub(super) fn floor(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().div_euclid(micros) * micros)
}

/// Returns the start of the month of UTC that contains a time.
fn month_start(at: Timestamp) -> Timestamp {
    let date = at.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    start.map_or_else(|_| floor(at, DAY_MICROS), Timestamp::from)
}

#[cfg(test)]
mod tests {
    use omnistack_core::id::Id;

    use super::*;

    #[test]
    fn windows_start_at_boundaries() {
        let at: Timestamp = "2028-02-29T23:59:59.999999Z".parse().unwrap();
        for (start, expected) in [
            (floor(at, MINUTE_MICROS), "2028-02-29T23:59:00Z"),
            (floor(at, HOUR_MICROS), "2028-02-29T23:00:00Z"),
            (floor(at, DAY_MICROS), "2028-02-29T00:00:00Z"),
            (month_start(at), "2028-02-01T00:00:00Z"),
            (floor(Timestamp::from_micros(-1), DAY_MICROS), "1969-12-31T00:00:00Z"),
        ] {
            assert_eq!(start.to_string(), expected);
        }
    }

    #[test]
    fn the_order_of_events_has_no_effect() {
        let meter = Meter::new("level", "units", Aggregation::Last);
        let tenant = Id::new(Timestamp::from_micros(0));
        let event = |id: &str, micros: i64| {
            UsageEvent::new(tenant, "level", 0, Timestamp::from_micros(micros)).once("test", id)
        };
        let events = [(event("b", 5), 3), (event("a", 5), 9), (event("c", 4), 7)];
        let billing = EventBilling::InPeriod(Timestamp::from_micros(0));
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let sums: Vec<_> = orders
            .iter()
            .map(|order| {
                let mut delta = UsageDelta::default();
                for index in order {
                    delta.add(&events[*index].0, &meter, events[*index].1, billing).unwrap();
                }
                delta.windows
            })
            .collect();
        assert!(sums.iter().all(|sum| *sum == sums[0]));
        let (_, day) = sums[0].iter().find(|(key, _)| key.grain == Grain::Day).unwrap();
        assert_eq!((day.sum, day.events, day.max, day.last, day.last_id.as_str()), (19, 3, 9, 3, "b test"));
    }

    #[test]
    fn a_sum_that_is_too_large_is_an_error() {
        let meter = Meter::sum("bytes", "bytes");
        let event = UsageEvent::new(Id::new(Timestamp::from_micros(0)), "bytes", 0, Timestamp::from_micros(0));
        let mut delta = UsageDelta::default();
        delta.add(&event, &meter, i64::MAX, EventBilling::None).unwrap();
        delta.add(&event, &meter, -1, EventBilling::None).unwrap();
        let error = delta.add(&event, &meter, 2, EventBilling::None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
    }
}
