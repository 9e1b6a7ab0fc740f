//! Judges a load: the rate, errors, times and memory.

use super::{
    LoadProfile,
    results::{LoadWindow, Tally, between, by_kind},
};

/// The time in which the first users arrive, in seconds, as in `xtask/peers/load/locustfile.py`.
const ARRIVAL_SECONDS: u64 = 10;
/// The largest growth of the median of a process's resident memory, between the second and the last quarter of a soak,
/// in MiB.
const MAX_GROWTH_MIB: f64 = 8.0;
/// The requests a second of a spike, compared with those before it. The users are ten times as many.
const MIN_SPIKE_FACTOR: f64 = 5.0;
/// The largest difference between p99 before and after a spike that is no difference, in milliseconds.
const P99_TOLERANCE_MS: f64 = 50.0;

/// The limits of a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadLimits {
    /// The requests that must be sent in each minute.
    pub(super) rate: u64,
    /// The percentage of the requests that may fail.
    pub(super) max_errors: f64,
    /// The largest p99 of a kind of user, in milliseconds.
    pub(super) max_p99: f64,
}

/// A process of the app, and its resident memory over time.
#[derive(Clone, Debug)]
pub(super) struct ProcessMemory {
    /// The name for the tables.
    pub(super) name: &'static str,
    /// The samples in MiB. `None` where the process could not be found.
    pub(super) samples: Vec<Option<f64>>,
}

/// Returns what is wrong with a load of so many seconds; nothing if all limits were kept.
pub(super) fn judge(
    profile: LoadProfile,
    limits: LoadLimits,
    seconds: u64,
    windows: &[LoadWindow],
    memory: &[ProcessMemory],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let all = between(windows, 0, u64::MAX);
    if all.requests == 0 {
        return vec!["no request was sent".to_owned()];
    }
    let errors = all.failed as f64 / all.requests as f64 * 100.0;
    if errors > limits.max_errors {
        wrong.push(format!(
            "{} of {} requests failed, {errors:.3} %; the limit is {} %",
            all.failed, all.requests, limits.max_errors
        ));
    }
    match profile {
        LoadProfile::Smoke | LoadProfile::Soak => {
            wrong.extend(low_rate(limits.rate, seconds, windows));
            wrong.extend(overloaded(&all));
            wrong.extend(by_kind(windows).iter().filter_map(|(kind, tally)| slow(kind, tally, limits.max_p99)));
        }
        LoadProfile::Spike => wrong.extend(spike(limits, seconds, windows)),
    }
    for ProcessMemory { name, samples } in memory {
        if samples.last().is_none_or(Option::is_none) {
            wrong.push(format!("{name} has ended, or its memory can't be measured here"));
        } else if profile == LoadProfile::Soak {
            wrong.extend(grown(name, samples));
        }
    }
    wrong
}

/// Finds a minute with too few requests. Refused requests do not count, nor do the first seconds, in which users
/// arrive, nor the time after the last full minute.
fn low_rate(rate: u64, seconds: u64, windows: &[LoadWindow]) -> Option<String> {
    let minutes = seconds.saturating_sub(ARRIVAL_SECONDS) / 60;
    (0..minutes).find_map(|minute| {
        let from = ARRIVAL_SECONDS + minute * 60;
        let sent = between(windows, from, from + 60);
        let served = sent.requests - sent.refused();
        (served < rate).then(|| format!("{served} requests in a minute, from second {from}; the floor is {rate}"))
    })
}

/// Finds requests that the app refused for lack of capacity. A steady load must not exceed the capacity.
fn overloaded(all: &Tally) -> Option<String> {
    let refused = all.refused.get("503").copied().unwrap_or_default();
    (refused > 0).then(|| format!("the app refused {refused} of {} requests with 503", all.requests))
}

fn slow(kind: &str, tally: &Tally, max_p99: f64) -> Option<String> {
    let p99 = tally.percentile(99);
    (p99 > max_p99).then(|| format!("p99 of {kind} is {p99:.1} ms; the limit is {max_p99} ms"))
}

/// Returns what is wrong with a spike. Its phases are percentages of the time, as in
/// `xtask/peers/load/locustfile.py`.
fn spike(limits: LoadLimits, seconds: u64, windows: &[LoadWindow]) -> Vec<String> {
    let at = |percent: u64| seconds * percent / 100;
    let phase = |from: u64, to: u64| (between(windows, from, to), to.saturating_sub(from).max(1) as f64);
    let (before, seconds_before) = phase(ARRIVAL_SECONDS, at(25));
    let (peak, seconds_of_peak) = phase(at(35), at(55));
    // The waiting times that the app has told its callers end after the spike.
    let (after, _) = phase(at(75), seconds);

    let mut wrong: Vec<String> = slow("all users before the spike", &before, limits.max_p99).into_iter().collect();
    let factor = (peak.requests as f64 / seconds_of_peak) / (before.requests.max(1) as f64 / seconds_before);
    if factor < MIN_SPIKE_FACTOR {
        let needed = format!("at least {MIN_SPIKE_FACTOR} are needed");
        wrong.push(format!("the spike had {factor:.1} times the requests of before; {needed}"));
    }
    if peak.refused() == 0 {
        wrong.push("no request of the spike was refused, so no Retry-After was checked: raise --rate".to_owned());
    }
    let (p99_before, p99_after) = (before.percentile(99), after.percentile(99));
    if after.requests == 0 {
        wrong.push("no request was sent after the spike".to_owned());
    } else if p99_after > (p99_before * 2.0).max(p99_before + P99_TOLERANCE_MS) {
        wrong.push(format!("p99 was {p99_before:.1} ms before the spike, and is {p99_after:.1} ms after it"));
    }
    wrong
}

/// Compares the median of the second quarter with that of the last. In the first one, pools and caches fill.
fn grown(name: &str, samples: &[Option<f64>]) -> Option<String> {
    let quarter = samples.len() / 4;
    let (second, last) = (median(&samples[quarter..quarter * 2]), median(&samples[quarter * 3..]));
    let (Some(second), Some(last)) = (second, last) else {
        return Some(format!("{name}: too few samples of its memory"));
    };
    (last - second > MAX_GROWTH_MIB)
        .then(|| format!("{name} grew from {second:.1} to {last:.1} MiB; the limit is {MAX_GROWTH_MIB} MiB"))
}

/// Returns the median of the samples, or `None` if there is none.
pub(super) fn median(samples: &[Option<f64>]) -> Option<f64> {
    let mut known: Vec<f64> = samples.iter().copied().flatten().collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len() / 2).copied()
}
