//! The sums that stored events add to windows, without I/O.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map, hash_map::Entry},
};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowDelta<'a> {
    pub(super) sum: i64,
    pub(super) events: i64,
    pub(super) max: i64,
    /// The quantity of the latest event, and that event.
    pub(super) last: i64,
    pub(super) latest: &'a UsageEvent,
}

impl<'a> WindowDelta<'a> {
    /// Returns the numbers of an event.
    fn of(event: &'a UsageEvent, units: i64) -> Self {
        Self { sum: units, events: 1, max: units, last: units, latest: event }
    }

    /// Adds the numbers of other events.
    fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.sum = checked_sum(self.sum, other.sum)?;
        self.events += other.events;
        self.max = self.max.max(other.max);
        if order(other.latest).gt(order(self.latest)) {
            (self.last, self.latest) = (other.last, other.latest);
        }
        Ok(())
    }

    /// Returns the id and the source of the latest event, by which the databases order events of the same time.
    pub(super) fn last_id(&self) -> String {
        format!("{} {}", self.latest.id.as_deref().unwrap_or_default(), self.latest.source)
    }
}

/// Returns what says which of two events is the later one: the time, and of events of the same time the bytes of their ids
/// and sources.
fn order(event: &UsageEvent) -> impl Iterator<Item = (Timestamp, u8)> {
    let names = event.id.as_deref().unwrap_or_default().bytes().chain([b' ']).chain(event.source.bytes());
    names.map(move |byte| (event.at, byte))
}

/// A user, API key and category, and a day or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DimensionKey<'a> {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: &'static str,
    /// `day` or `month`.
    pub(super) grain: &'static str,
    pub(super) start: Timestamp,
    pub(super) category: &'a str,
    pub(super) user: UserId,
    pub(super) api_key: ApiKeyId,
}

/// The numbers that events add to a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DimensionDelta {
    pub(super) sum: i64,
    pub(super) events: i64,
    pub(super) max: i64,
}

impl DimensionDelta {
    /// Adds the numbers of other events.
    fn add(&mut self, other: Self) -> Result<(), Error> {
        self.sum = checked_sum(self.sum, other.sum)?;
        self.events += other.events;
        self.max = self.max.max(other.max);
        Ok(())
    }
}

/// Late usage, by the periods in which it is billed and was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LateKey {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: &'static str,
    pub(super) billed_in: Timestamp,
    pub(super) used_in: Timestamp,
}

/// The events of a meter in a minute that are billed alike. All windows that one of them counts in are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct MinuteKey {
    tenant: TenantId,
    environment: DataEnvironment,
    meter: &'static str,
    /// The start of the minute.
    start: Timestamp,
    is_lifetime: bool,
    billing: EventBilling,
}

impl MinuteKey {
    /// Returns the windows in which the events count.
    fn windows(self) -> impl Iterator<Item = WindowKey> {
        let Self { tenant, environment, meter, start, is_lifetime, billing } = self;
        let period = match billing {
            EventBilling::InPeriod(start) => Some((Grain::Period, start)),
            EventBilling::Late { .. } | EventBilling::None => None,
        };
        let grains = [
            Some((Grain::Minute, start)),
            Some((Grain::Hour, floor(start, HOUR_MICROS))),
            Some((Grain::Day, floor(start, DAY_MICROS))),
            period,
            is_lifetime.then(|| (Grain::Total, total_start())),
        ];
        let key = move |(grain, start)| WindowKey { tenant, environment, meter: meter.to_owned(), grain, start };
        grains.into_iter().flatten().map(key)
    }
}

/// The numbers that events add, by minute and day. [`into_sums`](Self::into_sums) adds up the other windows from these,
/// so that their number does not depend on that of the events.
#[derive(Debug, Default)]
pub(super) struct UsageDelta<'a> {
    minutes: HashMap<MinuteKey, WindowDelta<'a>>,
    days: HashMap<DimensionKey<'a>, DimensionDelta>,
    /// The users or categories of meters that count different ones.
    uniques: HashSet<(MinuteKey, Cow<'a, str>)>,
}

/// The numbers that events add, in the order of the keys, in which all transactions lock the rows.
#[derive(Debug, Default)]
pub(super) struct UsageSums<'a> {
    pub(super) windows: BTreeMap<WindowKey, WindowDelta<'a>>,
    pub(super) dimensions: BTreeMap<DimensionKey<'a>, DimensionDelta>,
    pub(super) late: BTreeMap<LateKey, DimensionDelta>,
    /// The users or categories of windows that count different ones.
    pub(super) uniques: BTreeSet<(WindowKey, Cow<'a, str>)>,
}

impl<'a> UsageDelta<'a> {
    /// Adds a stored event of a known meter. Fails if a sum is too large for the databases, which themselves refuse a
    /// window that becomes too large.
    pub(super) fn add(
        &mut self,
        event: &'a UsageEvent,
        meter: &Meter,
        units: i64,
        billing: EventBilling,
    ) -> Result<(), Error> {
        let (tenant, environment, category) = (event.tenant, event.environment, event.category.as_deref());
        let minute = MinuteKey {
            tenant,
            environment,
            meter: meter.name(),
            start: floor(event.at, MINUTE_MICROS),
            is_lifetime: meter.lifetime,
            billing,
        };
        let unique: Option<Cow<'a, str>> = match meter.aggregation {
            Aggregation::UniqueUsers => event.user.map(|user| user.to_string().into()),
            Aggregation::UniqueCategories => category.map(Cow::Borrowed),
            Aggregation::Sum | Aggregation::Count | Aggregation::Max | Aggregation::Last => None,
        };
        self.uniques.extend(unique.map(|unique| (minute, unique)));
        let delta = WindowDelta::of(event, units);
        match self.minutes.entry(minute) {
            Entry::Vacant(place) => _ = place.insert(delta),
            Entry::Occupied(mut known) => known.get_mut().add(&delta)?,
        }
        let day = DimensionKey {
            tenant,
            environment,
            meter: meter.name(),
            grain: "day",
            start: floor(event.at, DAY_MICROS),
            category: category.unwrap_or_default(),
            user: event.user.unwrap_or(UserId::from_uuid(uuid::Uuid::nil())),
            api_key: event.api_key.unwrap_or(ApiKeyId::from_uuid(uuid::Uuid::nil())),
        };
        let delta = DimensionDelta { sum: units, events: 1, max: units };
        match self.days.entry(day) {
            Entry::Vacant(place) => _ = place.insert(delta),
            Entry::Occupied(mut known) => known.get_mut().add(delta)?,
        }
        Ok(())
    }

    /// Returns the sums of all windows and dimensions. Fails if one is too large for the databases.
    pub(super) fn into_sums(self) -> Result<UsageSums<'a>, Error> {
        let mut sums = UsageSums::default();
        for (minute, delta) in self.minutes {
            for key in minute.windows() {
                match sums.windows.entry(key) {
                    btree_map::Entry::Vacant(place) => _ = place.insert(delta),
                    btree_map::Entry::Occupied(mut known) => known.get_mut().add(&delta)?,
                }
            }
            if let EventBilling::Late { billed_in, used_in } = minute.billing {
                let MinuteKey { tenant, environment, meter, .. } = minute;
                let key = LateKey { tenant, environment, meter, billed_in, used_in };
                let WindowDelta { sum, events, max, .. } = delta;
                add_to(&mut sums.late, key, DimensionDelta { sum, events, max })?;
            }
        }
        for (day, delta) in self.days {
            add_to(&mut sums.dimensions, day, delta)?;
            let month = DimensionKey { grain: "month", start: month_start(day.start), ..day };
            add_to(&mut sums.dimensions, month, delta)?;
        }
        for (minute, unique) in self.uniques {
            sums.uniques.extend(minute.windows().map(|key| (key, unique.clone())));
        }
        Ok(sums)
    }
}

fn add_to<K: Ord>(sums: &mut BTreeMap<K, DimensionDelta>, key: K, delta: DimensionDelta) -> Result<(), Error> {
    match sums.entry(key) {
        btree_map::Entry::Vacant(place) => _ = place.insert(delta),
        btree_map::Entry::Occupied(mut known) => known.get_mut().add(delta)?,
    }
    Ok(())
}

fn checked_sum(sum: i64, units: i64) -> Result<i64, Error> {
    let too_large = || {
        let message = "the usage of one transaction is too large to be added up: record it in several";
        Error::new(ErrorKind::InvalidValue, message.into())
    };
    sum.checked_add(units).ok_or_else(too_large)
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
                delta.into_sums().unwrap().windows
            })
            .collect();
        assert!(sums.iter().all(|sum| *sum == sums[0]));
        let (_, day) = sums[0].iter().find(|(key, _)| key.grain == Grain::Day).unwrap();
        assert_eq!((day.sum, day.events, day.max, day.last, day.last_id().as_str()), (19, 3, 9, 3, "b test"));
    }

    #[test]
    fn windows_are_the_sums_of_their_minutes() {
        let meter = Meter::sum("bytes", "bytes").lifetime();
        let (tenant, user) = (Id::new(Timestamp::from_micros(0)), Id::new(Timestamp::from_micros(0)));
        let event = |at: &str, category: &'static str| {
            UsageEvent::new(tenant, "bytes", 0, at.parse().unwrap()).category(category).user(user)
        };
        let events = [
            (event("2030-01-31T23:58:59Z", "a"), 1),
            (event("2030-01-31T23:59:00Z", "a"), 2),
            (event("2030-01-31T23:59:59Z", "b"), 4),
            (event("2030-02-01T00:00:00Z", "a"), 8),
        ];
        let period: Timestamp = "2030-01-31T12:00:00Z".parse().unwrap();
        let mut delta = UsageDelta::default();
        for (event, units) in &events {
            delta.add(event, &meter, *units, EventBilling::InPeriod(period)).unwrap();
        }
        let sums = delta.into_sums().unwrap();
        let windows: Vec<_> =
            sums.windows.iter().map(|(key, delta)| (key.grain, key.start.to_string(), delta.sum)).collect();
        let expected = [
            (Grain::Minute, "2030-01-31T23:58:00Z", 1),
            (Grain::Minute, "2030-01-31T23:59:00Z", 6),
            (Grain::Minute, "2030-02-01T00:00:00Z", 8),
            (Grain::Hour, "2030-01-31T23:00:00Z", 7),
            (Grain::Hour, "2030-02-01T00:00:00Z", 8),
            (Grain::Day, "2030-01-31T00:00:00Z", 7),
            (Grain::Day, "2030-02-01T00:00:00Z", 8),
            (Grain::Period, "2030-01-31T12:00:00Z", 15),
            (Grain::Total, "1970-01-01T00:00:00Z", 15),
        ];
        assert_eq!(windows, expected.map(|(grain, start, sum)| (grain, start.to_owned(), sum)));
        let dimensions: Vec<_> =
            sums.dimensions.iter().map(|(key, delta)| (key.grain, key.category, delta.sum)).collect();
        let expected = [
            ("day", "a", 3),
            ("day", "b", 4),
            ("day", "a", 8),
            ("month", "a", 3),
            ("month", "b", 4),
            ("month", "a", 8),
        ];
        assert_eq!(dimensions, expected);
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
