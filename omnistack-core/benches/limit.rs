//! Measures rate limit checks: `cargo xtask bench limit`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use omnistack_core::{
    clock::Clock,
    http::{Rate, RateLimiter},
};
use omnistack_testkit::TestRedis;

const CHECKS: u32 = 2_000_000;
const RUNS: usize = 7;
const ROUND_TRIPS: usize = 20_000;

fn main() {
    println!("<!-- begin limit -->\n\n### Rate limits\n");
    println!(
        "A check in this process, by address, in nanoseconds, least of {RUNS} runs of {CHECKS}. The target is 150 ns.\n"
    );
    println!("| keys | token bucket | sliding window |\n|---|---:|---:|");
    let bucket = Rate::new(1_000_000_000, Duration::from_secs(1));
    for (what, keys, threads) in [
        ("one", 1, 1),
        ("10,000 in turn", 10_000, 1),
        ("one, by 2 threads", 1, 2),
        ("10,000 in turn, by 2 threads", 10_000, 2),
    ] {
        let [bucket, window] = [bucket, bucket.sliding()].map(|rate| in_process(rate, keys, threads));
        println!("| {what} | {bucket:.0} | {window:.0} |");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(on_redis());
    println!("\n<!-- end limit -->");
}

/// Returns the time per check as each thread sees it, in nanoseconds.
fn in_process(rate: Rate, keys: u32, threads: u32) -> f64 {
    let keys: Vec<_> = (0..keys).map(|key| IpAddr::from(Ipv4Addr::from(key * 7919))).collect();
    let limiter = RateLimiter::new(rate, Clock::system());
    let run = || {
        let before = Instant::now();
        for check in 0..CHECKS as usize {
            assert!(limiter.check(black_box(&keys[check % keys.len()]), 1).allowed);
        }
        before.elapsed().as_nanos() as f64 / f64::from(CHECKS)
    };
    let runs = (0..RUNS).map(|_| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max)
        })
    });
    runs.fold(f64::INFINITY, f64::min)
}

async fn on_redis() {
    let server = TestRedis::start().await;
    let redis = server.redis();
    redis.connect().await.unwrap();
    let limits = redis.rate_limits(Duration::from_secs(10));
    println!(
        "\nOne after another on one connection to a Redis on the same cores, medians of {ROUND_TRIPS}, one of each in turn.\n"
    );
    println!("| check | µs | round trips |\n|---|---:|---:|");
    let key = "alice".to_owned();
    let rate = Rate::new(1_000_000, Duration::from_secs(1));
    let (bucket, window) = (limits.limiter("bucket", rate), limits.limiter("window", rate.sliding()));
    bucket.check(&key, 1).await;
    server.command("CONFIG RESETSTAT").unwrap();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUND_TRIPS {
        times[0].push(time(async { redis.ping().await.unwrap() }).await);
        times[1].push(time(bucket.check(&key, 1)).await);
        times[2].push(time(window.check(&key, 1)).await);
    }
    let stats = server.command("INFO commandstats").unwrap();
    // Redis counts the commands within scripts too, so only the commands sent by clients are summed.
    let calls: u32 = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"))
        .filter(|line| ["evalsha", "eval:", "script"].iter().any(|name| line.starts_with(name)))
        .map(|line| line.split_once("calls=").unwrap().1.split(',').next().unwrap().parse::<u32>().unwrap())
        .sum();
    let trips = f64::from(calls) / (2.0 * ROUND_TRIPS as f64);
    for ((what, trips), mut times) in
        [("`PING`", 1.0), ("token bucket", trips), ("sliding window", trips)].into_iter().zip(times)
    {
        times.sort_unstable();
        println!("| {what} | {:.1} | {trips:.2} |", times[times.len() / 2].as_nanos() as f64 / 1000.0);
    }
}

async fn time<T>(what: impl Future<Output = T>) -> Duration {
    let before = Instant::now();
    what.await;
    before.elapsed()
}
