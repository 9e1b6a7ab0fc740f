//! Measures reads of the cache: `cargo xtask bench cache`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    convert::Infallible,
    hint::black_box,
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    interfaces::{ClientLike as _, KeysInterface as _},
    types::{RespVersion, config::Config},
};
use omnistack_core::{cache::Cache, clock::Clock};
use omnistack_testkit::TestRedis;

const READS: u32 = 1_000_000;
const RUNS: usize = 7;
const ROUND_TRIPS: usize = 20_000;
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin cache -->\n\n### Cache\n");
        in_process().await;
        on_redis().await;
        println!("\n<!-- end cache -->");
    });
}

/// Returns the smallest time of a read over all runs, in nanoseconds.
macro_rules! least {
    ($read:expr) => {{
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            let before = Instant::now();
            for _ in 0..READS {
                black_box($read().await);
            }
            least = least.min(before.elapsed().as_nanos() as f64 / f64::from(READS));
        }
        least
    }};
}

async fn in_process() {
    println!(
        "Hits in this process, of a number, in nanoseconds, least of {RUNS} runs of {READS} reads. The target is 200 ns.\n"
    );
    println!("| call | one key | 1,000 keys in turn |\n|---|---:|---:|");
    let cache = Cache::in_process(64 << 20, Clock::system());
    let keys: Vec<_> = (0..1000).map(|key| format!("users:{key}")).collect();
    for key in &keys {
        cache.set(key, &7_u64, HOUR).await;
    }
    let mut row = Vec::new();
    for count in [1, 1000] {
        let mut keys = keys[..count].iter().cycle();
        row.push(least!(async || assert_eq!(cache.get::<u64>(keys.next().unwrap()).await, Some(7))));
    }
    println!("| `get` | {:.0} | {:.0} |", row[0], row[1]);
    row.clear();
    for count in [1, 1000] {
        let mut keys = keys[..count].iter().cycle();
        row.push(least!(async || {
            let computed = cache.get_or_insert_with(keys.next().unwrap(), HOUR, async || Ok::<u64, Infallible>(0));
            assert_eq!(computed.await.unwrap(), 7);
        }));
    }
    println!("| `get_or_insert_with` | {:.0} | {:.0} |", row[0], row[1]);
}

async fn on_redis() {
    let server = TestRedis::start().await;
    let redis = server.redis();
    redis.connect().await.unwrap();
    let cache = redis.cache();
    cache.set("key", &7_u64, HOUR).await;
    cache.get::<u64>("key").await.unwrap();
    let mut config = Config::from_url(&server.url()).unwrap();
    config.version = RespVersion::RESP3;
    let plain = Client::new(config, None, None, None);
    plain.init().await.unwrap();
    println!(
        "\nOne after another, each on its own connection to a Redis on the same cores, medians of {ROUND_TRIPS}, one of each in turn.\n"
    );
    println!("| call | µs |\n|---|---:|");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUND_TRIPS {
        let before = Instant::now();
        plain.get::<Option<bytes::Bytes>, _>("test:v:key").await.unwrap().unwrap();
        bare.push(before.elapsed());
        let before = Instant::now();
        cache.get::<u64>("key").await.unwrap();
        ours.push(before.elapsed());
    }
    for (what, mut times) in [("the client's own `GET`", bare), ("`get`", ours)] {
        times.sort_unstable();
        println!("| {what} | {:.1} |", times[times.len() / 2].as_nanos() as f64 / 1000.0);
    }
}
