use super::{
    LoadProfile,
    results::{LoadWindow, SECONDS_PER_WINDOW, Tally, by_kind, parse},
    verdict::{LoadLimits, ProcessMemory, judge, median},
};

const LIMITS: LoadLimits = LoadLimits { rate: 600, max_errors: 0.0, max_p99: 1000.0 };

/// Returns a window with this many requests, which take so many milliseconds.
fn window(number: u64, requests: u64, milliseconds: u64) -> LoadWindow {
    let times = [(milliseconds * 1000, requests)].into();
    let requests = Tally { requests, times, ..Tally::default() };
    LoadWindow { end: (number + 1) * SECONDS_PER_WINDOW, kind: "browser".to_owned(), requests }
}

/// Returns windows for so many seconds, with the requests and milliseconds of `at(second)`.
fn windows(seconds: u64, at: impl Fn(u64) -> (u64, u64)) -> Vec<LoadWindow> {
    let number_of = seconds / SECONDS_PER_WINDOW;
    (0..number_of)
        .map(|number| {
            let (requests, milliseconds) = at(number * SECONDS_PER_WINDOW);
            window(number, requests, milliseconds)
        })
        .collect()
}

fn memory(samples: &[f64]) -> Vec<ProcessMemory> {
    vec![ProcessMemory { name: "saas", samples: samples.iter().copied().map(Some).collect() }]
}

#[test]
fn a_line_of_locust_is_read_and_an_incomplete_one_is_left_out() {
    let text = "{\"second\":5,\"kind\":\"admin\",\"requests\":3,\"times\":{\"900\":2,\"12000\":1},\"failed\":1,\
                \"failures\":{\"GET /x: 500\":1},\"refused\":{\"429\":2}}\n{\"second\":10,\"ki";
    let windows = parse(text);
    let [LoadWindow { end: 5, kind, requests }] = windows.as_slice() else { panic!("{windows:?}") };
    assert_eq!((kind.as_str(), requests.requests, requests.failed, requests.refused()), ("admin", 3, 1, 2));
    assert_eq!(requests.times, [(900, 2), (12_000, 1)].into());
    assert_eq!(requests.failures, [("GET /x: 500".to_owned(), 1)].into());
}

#[test]
fn a_percentile_is_the_smallest_time_that_covers_it() {
    let times = (1..=100).map(|milliseconds| (milliseconds * 1000, 1)).collect();
    let tally = Tally { requests: 100, times, ..Tally::default() };
    for (percent, milliseconds) in [(50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0)] {
        assert!((tally.percentile(percent) - milliseconds).abs() < f64::EPSILON, "{percent}");
    }
    assert!(Tally::default().percentile(99).abs() < f64::EPSILON);
}

#[test]
fn kinds_are_summed_up_separately() {
    let mut admin = window(0, 7, 1);
    admin.kind = "admin".to_owned();
    let all = [window(0, 1, 1), admin, window(1, 2, 1)];
    let kinds: Vec<_> = by_kind(&all).into_iter().map(|(kind, tally)| (kind, tally.requests)).collect();
    assert_eq!(kinds, [("admin", 7), ("browser", 3)]);
}

#[test]
fn a_smoke_fails_for_each_limit_alone() {
    let judge = |windows: &[LoadWindow], memory: &[ProcessMemory]| {
        judge(LoadProfile::Smoke, LIMITS, 180, windows, memory).join("\n")
    };
    let (good, alive) = (windows(180, |_| (50, 5)), memory(&[50.0]));
    assert_eq!(judge(&good, &alive), "");
    assert_eq!(judge(&[], &alive), "no request was sent");

    let slower = windows(180, |second| (if second == 100 { 49 } else { 50 }, 5));
    assert!(judge(&slower, &alive).contains("599 requests in a minute, from second 70; the floor is 600"));
    let late = windows(180, |second| (50, if second < 20 { 1001 } else { 5 }));
    assert!(judge(&late, &alive).contains("p99 of browser is 1001.0 ms; the limit is 1000 ms"));
    let mut failed = good.clone();
    failed[3].requests.failed = 1;
    assert!(judge(&failed, &alive).contains("1 of 1800 requests failed"));
    let refused = |status: &str, count| {
        let mut refused = good.clone();
        refused[3].requests.refused.insert(status.to_owned(), count);
        judge(&refused, &alive)
    };
    assert!(refused("429", 1).contains("599 requests in a minute, from second 10; the floor is 600"));
    assert!(refused("503", 1).contains("the app refused 1 of 1800 requests with 503"));
    let ended = [ProcessMemory { name: "worker", samples: vec![Some(1.0), None] }];
    assert!(judge(&good, &ended).contains("worker has ended"));
}

#[test]
fn arrivals_and_the_rest_of_a_minute_have_no_floor() {
    let load = windows(180, |second| (if (10..130).contains(&second) { 50 } else { 1 }, 5));
    assert!(judge(LoadProfile::Smoke, LIMITS, 180, &load, &memory(&[50.0])).is_empty());
}

#[test]
fn a_soak_fails_if_memory_grows_after_its_first_quarter() {
    let load = windows(180, |_| (50, 5));
    let judge = |samples: &[f64]| judge(LoadProfile::Soak, LIMITS, 180, &load, &memory(samples));
    for flat in [[10.0, 50.0, 50.0, 58.0], [50.0, 60.0, 40.0, 45.0]] {
        assert!(judge(&flat).is_empty(), "{flat:?}");
    }
    let grown = judge(&[50.0, 50.0, 54.0, 58.5]);
    assert_eq!(grown, ["saas grew from 50.0 to 58.5 MiB; the limit is 8 MiB"]);
}

#[test]
fn a_spike_must_reach_its_limit_and_return() {
    let judge = |load: &[LoadWindow]| judge(LoadProfile::Spike, LIMITS, 200, load, &memory(&[50.0])).join("\n");
    let spike = |refused: u64, peak: u64, after: u64| {
        let mut load = windows(200, |second| match second {
            50..130 => (peak, 900),
            130.. => (50, after),
            _ => (50, 10),
        });
        load[15].requests.refused.insert("429".to_owned(), refused);
        load
    };
    assert_eq!(judge(&spike(3, 500, 60)), "");
    assert!(judge(&spike(0, 500, 60)).contains("no Retry-After was checked"));
    assert!(judge(&spike(3, 200, 60)).contains("the spike had 4.0 times the requests of before"));
    assert!(judge(&spike(3, 500, 61)).contains("p99 was 10.0 ms before the spike, and is 61.0 ms after it"));
}

#[test]
fn a_median_leaves_out_missing_samples() {
    assert_eq!(median(&[Some(3.0), None, Some(1.0), Some(2.0)]), Some(2.0));
    assert_eq!(median(&[None]), None);
}

#[test]
fn profiles_have_their_names() {
    for profile in [LoadProfile::Smoke, LoadProfile::Spike, LoadProfile::Soak] {
        assert_eq!(LoadProfile::named(profile.name()), Some(profile));
    }
}
