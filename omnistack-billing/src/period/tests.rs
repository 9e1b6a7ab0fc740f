use std::{ops::RangeInclusive, time::Duration};

use jiff::tz::TimeZoneDatabase;

use super::*;

const MICROSECOND: Duration = Duration::from_micros(1);
const DAY: BillingInterval = BillingInterval::new(IntervalUnit::Day, 1);

fn first_time() -> Timestamp {
    Timestamp::from_micros(i64::MIN)
}

fn last_time() -> Timestamp {
    Timestamp::from_micros(i64::MAX)
}

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Returns the time at which clocks of a time zone show `text`.
fn local(zone: &TimeZone, text: &str) -> Timestamp {
    zone.to_timestamp(text.parse::<DateTime>().unwrap()).unwrap().into()
}

/// Returns what clocks in the anchor's time zone show at its boundaries.
fn shown(anchor: &BillingAnchor, boundaries: RangeInclusive<i64>) -> Vec<String> {
    boundaries.map(|n| anchor.zone().to_datetime(anchor.boundary(n).to_jiff()).to_string()).collect()
}

/// Checks that boundaries never decrease, and that all times between two of them are in the period between them.
fn check(anchor: &BillingAnchor, boundaries: RangeInclusive<i64>) {
    let boundaries: Vec<_> = boundaries.map(|n| anchor.boundary(n)).collect();
    for pair in boundaries.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        assert!(start <= end, "{start} is after {end}: {anchor:?}");
        if start == end {
            continue;
        }
        let middle = start + end.duration_since(start) / 2;
        for at in [start, middle, end - MICROSECOND] {
            assert_eq!(anchor.period_at(at), BillingPeriod { start, end }, "at {at}: {anchor:?}");
        }
    }
}

#[test]
fn intervals_are_texts() {
    for (text, unit, count) in [
        ("day", IntervalUnit::Day, 1),
        ("30 days", IntervalUnit::Day, 30),
        ("2 weeks", IntervalUnit::Week, 2),
        ("month", IntervalUnit::Month, 1),
        ("3 months", IntervalUnit::Month, 3),
        ("year", IntervalUnit::Year, 1),
        ("65535 years", IntervalUnit::Year, u16::MAX),
    ] {
        let interval = BillingInterval::new(unit, count);
        assert_eq!(text.parse::<BillingInterval>(), Ok(interval));
        assert_eq!(interval.to_string(), text);
    }
    assert_eq!("1 month".parse::<BillingInterval>(), Ok(BillingInterval::MONTH));
    for wrong in ["", "fortnight", "0 days", "-1 days", "65536 days", "3", "3  months", "months 3", "Day"] {
        assert_eq!(wrong.parse::<BillingInterval>(), Err(InvalidInterval), "{wrong:?}");
    }
}

#[test]
fn boundaries_count_from_the_anchor() {
    for (anchor, interval, expected) in [
        ("2027-01-31", "month", &["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("2024-01-30", "month", &["2024-02-29", "2024-03-30", "2024-04-30", "2024-05-30"]),
        ("2028-02-29", "year", &["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("2027-08-31", "6 months", &["2028-02-29", "2028-08-31", "2029-02-28", "2029-08-31"]),
        ("2027-11-30", "3 months", &["2028-02-29", "2028-05-30", "2028-08-30", "2028-11-30"]),
        ("2027-12-25", "week", &["2028-01-01", "2028-01-08", "2028-01-15", "2028-01-22"]),
        ("2027-12-31", "30 days", &["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-29"]),
    ] {
        let start = utc(&format!("{anchor}T09:30:00Z"));
        let anchor = BillingAnchor::new(start, interval.parse().unwrap(), TimeZone::UTC);
        let expected: Vec<_> = expected.iter().map(|day| format!("{day}T09:30:00")).collect();
        assert_eq!(shown(&anchor, 1..=4), expected, "{anchor:?}");
        assert_eq!(anchor.boundary(0), start);
        check(&anchor, -50..=50);
    }
    let anchor = BillingAnchor::new(utc("2027-03-31T00:00:00Z"), BillingInterval::MONTH, TimeZone::UTC);
    assert_eq!(shown(&anchor, -2..=0), ["2027-01-31T00:00:00", "2027-02-28T00:00:00", "2027-03-31T00:00:00"]);
}

#[test]
fn boundaries_keep_the_time_of_day() {
    let juneau = BillingAnchor::new(utc("2015-10-01T08:09:02Z"), BillingInterval::MONTH, zone("America/Juneau"));
    assert_eq!(juneau.boundary(1), utc("2015-11-01T08:09:02Z"));
    assert_eq!(juneau.boundary(2), utc("2015-12-01T09:09:02Z"));
    check(&juneau, -24..=24);

    let los_angeles = zone("America/Los_Angeles");
    let trial = BillingInterval::new(IntervalUnit::Day, 30);
    let trial = BillingAnchor::new(local(&los_angeles, "2017-03-01T23:30"), trial, los_angeles.clone());
    let end = trial.boundary(1);
    assert_eq!(end, local(&los_angeles, "2017-03-31T23:30"));
    let paid = BillingAnchor::new(end, BillingInterval::MONTH, los_angeles);
    assert_eq!(shown(&paid, 1..=2), ["2017-04-30T23:30:00", "2017-05-31T23:30:00"]);

    for (name, start, interval, expected) in [
        // The hour after 02:00 is skipped on the 14th of March and repeated on the 7th of November.
        ("America/New_York", "2027-03-13T02:30", "day", ["2027-03-14T03:30:00", "2027-03-15T02:30:00"]),
        ("America/New_York", "2027-11-06T01:30", "day", ["2027-11-07T01:30:00", "2027-11-08T01:30:00"]),
        ("America/New_York", "2027-02-14T02:30", "month", ["2027-03-14T03:30:00", "2027-04-14T02:30:00"]),
        // Midnight is skipped on the 4th of November 2018.
        ("America/Sao_Paulo", "2018-10-04T00:00", "month", ["2018-11-04T01:00:00", "2018-12-04T00:00:00"]),
        // The 30th of December 2011 is skipped.
        ("Pacific/Apia", "2011-11-30T10:00", "month", ["2011-12-31T10:00:00", "2012-01-30T10:00:00"]),
    ] {
        let zone = zone(name);
        let anchor = BillingAnchor::new(local(&zone, start), interval.parse().unwrap(), zone);
        assert_eq!(shown(&anchor, 1..=2), expected, "{name}");
        check(&anchor, -40..=40);
    }
    let new_york = zone("America/New_York");
    let anchor = BillingAnchor::new(local(&new_york, "2027-11-06T01:30"), DAY, new_york);
    assert_eq!(anchor.boundary(1), utc("2027-11-07T05:30:00Z"), "the first 01:30 of that day");
}

#[test]
fn a_skipped_day_has_no_period() {
    let apia = zone("Pacific/Apia");
    let anchor = BillingAnchor::new(local(&apia, "2011-12-01T10:00"), DAY, apia.clone());
    let period = BillingPeriod { start: local(&apia, "2011-12-29T10:00"), end: local(&apia, "2011-12-31T10:00") };
    assert_eq!(anchor.boundary(29), period.end);
    assert_eq!(anchor.boundary(30), period.end);
    for at in ["2011-12-29T10:00", "2011-12-29T23:59", "2011-12-31T00:00", "2011-12-31T09:59"] {
        assert_eq!(anchor.period_at(local(&apia, at)), period, "{at}");
    }
    assert_eq!(anchor.period_at(period.end).end, local(&apia, "2012-01-01T10:00"));
}

/// Returns anchors that are hard for a time zone: ends of months, and the times around changes of its clocks.
fn hard_anchors(zone: &TimeZone) -> Vec<Timestamp> {
    let mut anchors: Vec<_> =
        ["2024-01-31T00:00", "2024-02-29T02:30", "2023-12-31T23:59:59.999999"].map(|text| local(zone, text)).into();
    let last = utc("2030-01-01T00:00:00Z").to_jiff();
    let changes: Vec<_> = zone
        .following(jiff::Timestamp::MIN)
        .take_while(|change| change.timestamp() < last)
        .map(|change| (Timestamp::from(change.timestamp()), change.offset().seconds()))
        .collect();
    let half_an_hour = Duration::from_secs(1800);
    let day = Duration::from_secs(86_400);
    for (index, (at, offset)) in changes.iter().enumerate() {
        let skips_a_day = index > 0 && offset.abs_diff(changes[index - 1].1) > 12 * 3600;
        if skips_a_day || index + 2 >= changes.len() {
            anchors.extend([*at - day + half_an_hour, *at - half_an_hour, *at, *at + half_an_hour]);
        }
    }
    anchors
}

#[test]
fn periods_are_in_order_in_every_time_zone() {
    let zones = TimeZoneDatabase::bundled();
    let mut count = 0;
    for name in zones.available() {
        let zone = zones.get(name.as_str()).unwrap();
        count += 1;
        for at in hard_anchors(&zone) {
            for unit in [IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month, IntervalUnit::Year] {
                let anchor = BillingAnchor::new(at, BillingInterval::new(unit, 1), zone.clone());
                assert_eq!(anchor.boundary(0), at);
                check(&anchor, -3..=3);
            }
        }
    }
    assert!(count > 400, "{count} time zones");
}

#[test]
fn every_time_is_in_a_period() {
    let longest = |unit| BillingInterval::new(unit, u16::MAX);
    for interval in [
        DAY,
        BillingInterval::MONTH,
        BillingInterval::YEAR,
        longest(IntervalUnit::Day),
        longest(IntervalUnit::Week),
        longest(IntervalUnit::Month),
        longest(IntervalUnit::Year),
    ] {
        for start in [first_time(), utc("2024-02-29T12:00:00Z"), last_time()] {
            let anchor = BillingAnchor::new(start, interval, zone("Asia/Kolkata"));
            let years = [utc("1970-01-01T00:00:00Z"), utc("2200-01-01T00:00:00Z")];
            for at in [first_time(), years[0], years[1], last_time() - MICROSECOND] {
                assert!(anchor.period_at(at).contains(at), "{at}: {anchor:?}");
            }
            assert_eq!(anchor.period_at(last_time()).end, last_time());
            for n in [i64::MAX, 1_000_000_000_000, 100_000_000] {
                assert_eq!(anchor.boundary(n), last_time(), "{anchor:?}");
                assert_eq!(anchor.boundary(-n), first_time(), "{anchor:?}");
            }
            assert_eq!(anchor.boundary(i64::MIN), first_time());
        }
    }
}

#[test]
fn a_new_anchor_ends_the_running_period() {
    let months = PeriodSchedule::calendar_months(zone("Europe/Berlin"));
    assert_eq!(
        months.period_at(utc("2027-07-31T21:59:59Z")),
        BillingPeriod { start: utc("2027-06-30T22:00:00Z"), end: utc("2027-07-31T22:00:00Z") }
    );
    let bought = utc("2027-08-15T10:00:00Z");
    let monthly = BillingAnchor::new(bought, BillingInterval::MONTH, TimeZone::UTC);
    let changed = utc("2027-10-01T00:00:00Z");
    let yearly = BillingAnchor::new(utc("2027-09-20T00:00:00Z"), BillingInterval::YEAR, TimeZone::UTC);
    let schedule = months.then(bought, monthly.clone()).then(changed, yearly.clone());
    let expected = [
        "2027-06-30T22:00:00Z",
        "2027-07-31T22:00:00Z",
        "2027-08-15T10:00:00Z",
        "2027-09-15T10:00:00Z",
        "2027-10-01T00:00:00Z",
        "2028-09-20T00:00:00Z",
        "2029-09-20T00:00:00Z",
    ]
    .map(utc);
    for pair in expected.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        for at in [start, start + end.duration_since(start) / 2, end - MICROSECOND] {
            assert_eq!(schedule.period_at(at), BillingPeriod { start, end }, "{at}");
        }
    }
    assert_eq!(schedule.anchor_at(changed - MICROSECOND), &monthly);
    assert_eq!(schedule.anchor_at(changed), &yearly);
    assert_eq!(schedule.period_at(first_time()).start, first_time());
}

#[test]
fn a_new_anchor_replaces_those_that_have_not_begun() {
    let months = PeriodSchedule::calendar_months(TimeZone::UTC);
    let daily = BillingAnchor::new(utc("2027-03-01T00:00:00Z"), DAY, TimeZone::UTC);
    let yearly = BillingAnchor::new(utc("2027-02-01T00:00:00Z"), BillingInterval::YEAR, TimeZone::UTC);
    let schedule = months.then(daily.at(), daily).then(yearly.at(), yearly.clone());
    let start = yearly.at();
    assert_eq!(schedule.period_at(start), BillingPeriod { start, end: utc("2028-02-01T00:00:00Z") });
    assert_eq!(schedule.period_at(start - MICROSECOND).start, utc("2027-01-01T00:00:00Z"));
    let replaced = schedule.then(start, BillingAnchor::new(start, DAY, TimeZone::UTC));
    assert_eq!(replaced.period_at(start).end, utc("2027-02-02T00:00:00Z"));
    assert_eq!(replaced.period_at(start - MICROSECOND).end, start);
}
