//! What Locust has recorded: requests, times and failures, by kind of user and window of time.

use std::collections::BTreeMap;

use serde_json::Value;

/// The seconds of a window, as in `xtask/peers/load/results.py`.
pub(super) const SECONDS_PER_WINDOW: u64 = 5;

/// The requests of one kind of user in a window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadWindow {
    /// The second in which the window ends.
    pub(super) end: u64,
    /// The kind of user.
    pub(super) kind: String,
    /// The requests of the window.
    pub(super) requests: Tally,
}

/// A number of requests with their times and failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All requests.
    pub(super) requests: u64,
    /// The requests by their time in microseconds.
    pub(super) times: BTreeMap<u64, u64>,
    /// The requests that failed.
    pub(super) failed: u64,
    /// The failed requests by their reason. Of very many reasons, some are left out.
    pub(super) failures: BTreeMap<String, u64>,
    /// The requests that the app refused with a `Retry-After`, by status.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Tally {
    /// Returns the sum of the tallies.
    pub(super) fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum.requests += tally.requests;
            sum.failed += tally.failed;
            add_counts(&mut sum.times, &tally.times);
            add_counts(&mut sum.failures, &tally.failures);
            add_counts(&mut sum.refused, &tally.refused);
        }
        sum
    }

    /// Returns the time in milliseconds within which this percentage of the requests had their response, or 0 if there
    /// were no requests.
    pub(super) fn percentile(&self, percent: u64) -> f64 {
        let wanted = (self.requests * percent).div_ceil(100);
        let mut counted = 0;
        for (microseconds, count) in &self.times {
            counted += count;
            if counted >= wanted {
                return *microseconds as f64 / 1000.0;
            }
        }
        0.0
    }

    /// Returns the number of requests that the app refused with a `Retry-After`.
    pub(super) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

fn add_counts<K: Clone + Ord>(sum: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        *sum.entry(key.clone()).or_default() += count;
    }
}

/// Reads the windows, one on each line. The last line may not be complete yet.
pub(super) fn parse(text: &str) -> Vec<LoadWindow> {
    text.lines().filter_map(|line| window(&serde_json::from_str(line).ok()?)).collect()
}

fn window(line: &Value) -> Option<LoadWindow> {
    let times = counts(&line["times"])?;
    let requests = Tally {
        requests: line["requests"].as_u64()?,
        times: times.into_iter().filter_map(|(time, count)| Some((time.parse().ok()?, count))).collect(),
        failed: line["failed"].as_u64()?,
        failures: counts(&line["failures"])?,
        refused: counts(&line["refused"])?,
    };
    Some(LoadWindow { end: line["second"].as_u64()?, kind: line["kind"].as_str()?.to_owned(), requests })
}

fn counts(object: &Value) -> Option<BTreeMap<String, u64>> {
    object.as_object()?.iter().map(|(key, count)| Some((key.clone(), count.as_u64()?))).collect()
}

/// Returns the requests of the windows that lie within these seconds.
pub(super) fn between(windows: &[LoadWindow], from: u64, to: u64) -> Tally {
    let within = windows.iter().filter(|window| window.end >= from + SECONDS_PER_WINDOW && window.end <= to);
    Tally::sum(within.map(|window| &window.requests))
}

/// Returns the requests by kind of user.
pub(super) fn by_kind(windows: &[LoadWindow]) -> BTreeMap<&str, Tally> {
    let mut kinds: BTreeMap<&str, Vec<&Tally>> = BTreeMap::new();
    for window in windows {
        kinds.entry(&window.kind).or_default().push(&window.requests);
    }
    kinds.into_iter().map(|(kind, tallies)| (kind, Tally::sum(tallies))).collect()
}
