//! Measures what the gateway adds to a call of a model, and what other gateways add: `cargo xtask bench ai`. The
//! upstream, the gateways and the load are processes. The gateways run on a core of their own.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time, and reads its environment")]

#[path = "gateway/app.rs"]
mod app;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/others.rs"]
mod others;
#[path = "gateway/process.rs"]
mod process;
#[path = "gateway/upstream.rs"]
mod upstream;

use std::{env, net::SocketAddr, num::NonZero, process::ExitCode, time::Duration};

use self::{
    load::{LoadRequest, LoadTimes, Question},
    others::{OTHERS, OtherGateway},
    process::{BenchProcess, measure_with_open_files, pin_load},
};

/// The path of OpenAI's API.
const CHAT: &str = "/v1/chat/completions";
/// The rates of the measurements, a second.
const RATE: u32 = 1_000;
const LOW_RATE: u32 = 100;
/// The turns in which the subjects of a comparison are measured, and the length of each.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(2);
/// The streams at a time, whose memory is measured, and those before, so that what the first ones allocate is not
/// counted.
const SLOW_STREAMS: usize = 1_000;
const WARM_UP_STREAMS: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["upstream"] => runtime(1).block_on(upstream::run()),
        // As many threads as `#[tokio::main]` starts. On one core, two threads would wake each other in vain.
        ["app", upstream] => runtime(available_cores()).block_on(app::run(upstream)),
        ["measure"] => {
            let is_pinned = pin_load();
            runtime(1).block_on(measure(is_pinned));
        }
        // The load has more connections than many machines let a process open at first.
        _ => return measure_with_open_files(),
    }
    ExitCode::SUCCESS
}

/// Returns the number of cores on which this process may run.
fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

async fn measure(is_pinned: bool) {
    let mut upstream = BenchProcess::start_own(&["upstream"], false).await;
    let upstream_address: SocketAddr = upstream.line().await.parse().unwrap();
    let place = if is_pinned { "on one core, the gateway on another" } else { "on the same cores as the gateway" };

    println!("<!-- begin ai -->\n\n### AI gateway\n");
    println!("What the gateway adds to a direct call of the same scripted upstream. The upstream and the load are");
    println!("{place}; each request has its own time, whether or not earlier ones have ended. The test's");
    println!("authenticator stands for the lookup of the key, whose time is in the section on authentication. Commits");
    println!("wait for the disk.\n");
    println!("| | added, p50 | added, p99 | target |\n|---|---:|---:|---:|");
    let ours = OurGateway::start(upstream_address).await;
    let direct = |question| LoadRequest::new(upstream_address, CHAT, &[], "fake-small", question);
    let (whole, stream) = (direct(Question::Whole), direct(Question::Stream));
    warm_up(&[&whole, &ours.plain, &ours.whole], RATE).await;
    let [base, plain, full] = in_turns([&whole, &ours.plain, &ours.whole], RATE).await;
    print_row(&format!("without accounting, {RATE} a second"), &base, &plain, "100 µs");
    print_row(&format!("budget and ledger on SQLite, {RATE} a second"), &base, &full, "300 µs, 1 ms");
    warm_up(&[&stream, &ours.stream], LOW_RATE).await;
    let [base, streamed] = in_turns([&stream, &ours.stream], LOW_RATE).await;
    print_row(&format!("first token of a stream, {LOW_RATE} a second"), &base, &streamed, "100 µs");
    let memory = ours.memory_of_slow_streams().await;
    println!("| memory of {SLOW_STREAMS} slow streams at a time | {} MiB | | 60 MiB |", memory / (1 << 20));
    println!("\n<!-- end ai -->");

    println!("<!-- begin ai-peers -->\n\n### Other AI gateways\n");
    println!("The same upstream and load, one gateway after another, each with a direct call in turn. LiteLLM checks");
    println!("a master key and has no database; TensorZero stores nothing; Portkey checks no key and stores");
    println!("nothing. Scripts of packages don't run at their installation, which Portkey's streams may need.\n");
    println!(
        "| gateway | {LOW_RATE}/s, p50 | p99 | {RATE}/s, p50 | p99 | answered at {RATE}/s | first token, p50 | \
         CPU a request | resident |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let directly = [&whole, &stream];
    print_comparison("OmniStack, with budget and ledger", &ours.process, &ours.whole, &ours.stream, directly).await;
    ours.process.stop().await;
    for other in OTHERS {
        match OtherGateway::start(other, upstream_address).await {
            Ok(started) => {
                print_comparison(other.name, &started.process, &started.whole, &started.stream, directly).await;
                started.process.stop().await;
            }
            Err(reason) => println!("| {} | {reason} | | | | | | | |", other.name),
        }
    }
    println!("\n<!-- end ai-peers -->");
    upstream.stop().await;
}

/// The app, and requests to it.
struct OurGateway {
    process: BenchProcess,
    whole: LoadRequest,
    stream: LoadRequest,
    slow: LoadRequest,
    /// A request to a route that asks the provider without the gateway.
    plain: LoadRequest,
}

impl OurGateway {
    async fn start(upstream: SocketAddr) -> Self {
        let url = format!("http://{upstream}");
        let mut process = BenchProcess::start_own(&["app", &url], true).await;
        let address: SocketAddr = process.line().await.parse().unwrap();
        let key = format!("Bearer {}", process.line().await);
        let to = |path, question| LoadRequest::new(address, path, &[("authorization", &key)], app::MODEL, question);
        let (whole, stream, slow) = (Question::Whole, Question::Stream, Question::Slow);
        Self {
            whole: to(CHAT, whole),
            stream: to(CHAT, stream),
            slow: to(CHAT, slow),
            plain: to(app::PLAIN, whole),
            process,
        }
    }

    /// Returns the memory that streams at the same time add to that of the process, in bytes.
    async fn memory_of_slow_streams(&self) -> u64 {
        self.slow.all_at_once(WARM_UP_STREAMS, || 0).await;
        let before = self.process.resident();
        let largest = self.slow.all_at_once(SLOW_STREAMS, || self.process.resident()).await;
        largest.saturating_sub(before)
    }
}

/// Lets connections open, and caches fill.
async fn warm_up(subjects: &[&LoadRequest], rate: u32) {
    for subject in subjects {
        subject.at_rate(rate, WARM_UP).await;
    }
}

/// Measures the subjects in turns, so that what else the machine does affects all of them.
async fn in_turns<const N: usize>(subjects: [&LoadRequest; N], rate: u32) -> [LoadTimes; N] {
    let mut all = std::array::from_fn(|_| LoadTimes::default());
    for _ in 0..TURNS {
        for (subject, measured) in subjects.iter().zip(&mut all) {
            measured.add(subject.at_rate(rate, TURN).await);
        }
    }
    all
}

fn print_row(label: &str, base: &LoadTimes, measured: &LoadTimes, target: &str) {
    println!("| {label} | {} | {} | {target} |", added(base, measured, 50), added(base, measured, 99));
}

/// Prints the row of a gateway.
async fn print_comparison(
    name: &str,
    process: &BenchProcess,
    whole: &LoadRequest,
    stream: &LoadRequest,
    [direct, direct_stream]: [&LoadRequest; 2],
) {
    warm_up(&[direct, whole, direct_stream, stream], LOW_RATE).await;
    let [low_base, low] = in_turns([direct, whole], LOW_RATE).await;
    warm_up(&[direct, whole], RATE).await;
    let before = process.cpu();
    let [base, high] = in_turns([direct, whole], RATE).await;
    let cpu = process.cpu().saturating_sub(before).as_micros() / u128::try_from(high.answered().max(1)).unwrap();
    let [stream_base, streamed] = in_turns([direct_stream, stream], LOW_RATE).await;
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {cpu} µs | {} MiB |",
        added(&low_base, &low, 50),
        added(&low_base, &low, 99),
        added(&base, &high, 50),
        added(&base, &high, 99),
        high.share(),
        added(&stream_base, &streamed, 50),
        process.resident() / (1 << 20),
    );
}

/// Returns the time that is added at a percentile, or the share of answers if there are too few.
fn added(base: &LoadTimes, measured: &LoadTimes, percent: usize) -> String {
    if measured.is_complete() {
        micros(measured.percentile(percent).saturating_sub(base.percentile(percent)))
    } else {
        format!("{} answered", measured.share())
    }
}

fn micros(time: Duration) -> String {
    match time.as_micros() {
        short @ 0..10_000 => format!("{short} µs"),
        long => format!("{} ms", long / 1_000),
    }
}
