use std::time::Duration;

use super::*;
use crate::period::IntervalUnit;

const HOUR: Duration = Duration::from_secs(3_600);
/// The zones with the earliest and the latest midnight.
const KIRITIMATI: &str = "Pacific/Kiritimati";
const NIUE: &str = "Pacific/Niue";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns the history of an account that has had calendar months in a zone.
fn calendar(zone: &str) -> AnchorHistory {
    let (since, zone) = (Timestamp::default(), zone.to_owned());
    AnchorHistory {
        earlier: Vec::new(),
        current: StoredAnchor { since, zone, anchor: None, period: "month".to_owned() },
    }
}

/// Returns the starts of `count` periods, beginning with the one that contains a time. Each begins where the one before
/// it ends.
fn starts(history: &AnchorHistory, at: &str, count: usize) -> Vec<String> {
    let schedule = history.schedule();
    let mut period = schedule.period_at(time(at));
    let mut starts = Vec::new();
    for _ in 0..count {
        starts.push(period.start.to_string());
        let next = schedule.period_at(period.end);
        assert_eq!(next.start, period.end);
        period = next;
    }
    starts
}

#[test]
fn a_zone_counts_from_the_next_boundary() {
    for (from, to, expected) in [
        // Midnight comes earlier, so the first period is an hour shorter.
        ("UTC", "Europe/Berlin", ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-02-28T23:00:00Z"]),
        // Midnight comes eight hours later, which are a part of the first period.
        ("UTC", "America/Los_Angeles", ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-03-01T08:00:00Z"]),
        (KIRITIMATI, NIUE, ["2029-12-31T10:00:00Z", "2030-01-31T10:00:00Z", "2030-03-01T11:00:00Z"]),
        (NIUE, KIRITIMATI, ["2030-01-01T11:00:00Z", "2030-02-01T11:00:00Z", "2030-02-28T10:00:00Z"]),
    ] {
        let mut history = calendar(from);
        assert!(history.set_zone(to, time("2030-01-15T00:00:00Z")));
        assert_eq!(starts(&history, "2030-01-15T00:00:00Z", 3), expected, "{from} to {to}");
        assert!(!history.set_zone(to, time("2030-01-16T00:00:00Z")), "it is set");
    }
}

#[test]
fn a_zone_that_does_not_count_yet_is_replaced() {
    let now = time("2030-01-15T00:00:00Z");
    let mut history = calendar("UTC");
    history.set_zone("America/Los_Angeles", now);
    assert_eq!(history.earlier.len(), 2);
    history.set_zone("Europe/Berlin", now + HOUR);
    let mut direct = calendar("UTC");
    direct.set_zone("Europe/Berlin", now + HOUR);
    assert_eq!(history, direct);
    assert!(history.set_zone("UTC", now + HOUR * 2));
    assert_eq!(history, calendar("UTC"));
}

#[test]
fn a_zone_can_change_during_a_longer_period() {
    let mut history = calendar("UTC");
    history.set_zone("America/Los_Angeles", time("2030-01-15T00:00:00Z"));
    history.set_zone("Europe/Berlin", time("2030-02-10T00:00:00Z"));
    let expected = ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-03-01T08:00:00Z", "2030-03-31T22:00:00Z"];
    assert_eq!(starts(&history, "2030-01-15T00:00:00Z", 4), expected);
}

#[test]
fn changes_of_zones_leave_no_short_period() {
    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/Los_Angeles",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        KIRITIMATI,
        NIUE,
        "America/St_Johns",
    ];
    let intervals = [
        (IntervalUnit::Day, 1, HOUR * 24),
        (IntervalUnit::Week, 1, HOUR * 24 * 7),
        (IntervalUnit::Month, 1, HOUR * 24 * 30),
        (IntervalUnit::Month, 3, HOUR * 24 * 91),
        (IntervalUnit::Year, 1, HOUR * 24 * 365),
    ];
    let now = time("2030-03-09T17:30:00Z");
    for anchor in ["2030-01-31T23:30:00Z", "2028-02-29T00:00:00Z", "2030-03-09T10:00:00Z"] {
        for (unit, count, length) in intervals {
            for from in ZONES {
                for to in ZONES {
                    let mut history = calendar(from);
                    history.set_anchor(time(anchor), BillingInterval::new(unit, count), None, now - HOUR);
                    let running = history.schedule().period_at(now);
                    history.set_zone(to, now);
                    let schedule = history.schedule();
                    assert_eq!(schedule.period_at(now), running, "the running period does not change");
                    let mut period = running;
                    for n in 0..8 {
                        let next = schedule.period_at(period.end);
                        assert_eq!(next.start, period.end, "{anchor} {from} {to} {unit:?}");
                        let took = next.end.duration_since(next.start);
                        let is_whole = took >= length.mul_f64(0.45) && took <= length.mul_f64(1.6);
                        assert!(is_whole, "{anchor} {from} {to} {unit:?} {n}: {took:?}");
                        period = next;
                    }
                    let expected = history.current.to_anchor().period_at(period.start);
                    assert_eq!(period, expected, "after some periods they are those of the new zone");
                }
            }
        }
    }
}

#[test]
fn a_new_anchor_begins_a_period() {
    let now = time("2030-01-10T12:00:00Z");
    for (anchor, closed_until, expected) in [
        // A subscription that has begun now, or a while ago; one that was imported; and one with a later anchor.
        ("2030-01-10T12:00:00Z", None, ["2030-01-10T12:00:00Z", "2030-02-10T12:00:00Z"]),
        ("2030-01-10T11:50:00Z", None, ["2030-01-10T11:50:00Z", "2030-02-10T11:50:00Z"]),
        ("2028-08-31T00:00:00Z", None, ["2029-12-31T00:00:00Z", "2030-01-31T00:00:00Z"]),
        ("2030-01-20T00:00:00Z", None, ["2030-01-10T12:00:00Z", "2030-01-20T00:00:00Z"]),
        ("2028-08-31T00:00:00Z", Some("2030-01-01T00:00:00Z"), ["2030-01-01T00:00:00Z", "2030-01-31T00:00:00Z"]),
    ] {
        let mut history = calendar("UTC");
        let closed_until = closed_until.map(time);
        assert!(history.set_anchor(time(anchor), BillingInterval::MONTH, closed_until, now));
        assert_eq!(starts(&history, "2030-01-10T12:00:00Z", 2), expected, "{anchor}");
        let before = history.schedule().period_at(time("2029-12-30T00:00:00Z"));
        assert_eq!(before.start, time("2029-12-01T00:00:00Z"), "what was before stays");
        assert!(!history.set_anchor(time(anchor), BillingInterval::MONTH, closed_until, now + HOUR), "it is set");
    }
}

#[test]
fn a_new_anchor_is_in_the_zone_that_was_asked_for() {
    let now = time("2030-01-10T00:00:00Z");
    let mut history = calendar("UTC");
    history.set_zone("Europe/Berlin", now);
    history.set_anchor(time("2030-01-10T00:00:00Z"), BillingInterval::MONTH, None, now);
    assert_eq!(history.earlier.len(), 1);
    assert_eq!((history.current.zone.as_str(), history.current.since), ("Europe/Berlin", now));
    // In daylight saving time, one o'clock is an hour earlier.
    let expected = ["2030-01-10T00:00:00Z", "2030-02-10T00:00:00Z", "2030-03-10T00:00:00Z", "2030-04-09T23:00:00Z"];
    assert_eq!(starts(&history, "2030-01-10T00:00:00Z", 4), expected);
}
