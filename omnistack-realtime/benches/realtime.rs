//! Measures idle connections, the delivery to many subscribers, several replicas, and clients that reconnect together:
//! `cargo xtask bench realtime`. The servers and the clients are processes of their own, on the same cores.
#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time, and reads its environment")]

#[path = "realtime/clients.rs"]
mod clients;
#[path = "realtime/process.rs"]
mod process;
#[path = "realtime/server.rs"]
mod server;

use std::{
    env,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use self::{
    clients::{ClientLoad, NO_CHANNEL, OWN_CHANNEL},
    process::{BenchProcess, BenchServer, CpuTime, QUERIES, ServerKind, start_clients},
};

/// Processes over which clients are spread. Each has an address of its own.
const CLIENT_PROCESSES: u8 = 4;
/// Connections in the measurement of idle ones: a server may have 20,000 open files on many machines.
const IDLE_CONNECTIONS: usize = 19_600;
/// Connections that open and close before, so that what the first ones allocate is not counted.
const WARM_UP_CONNECTIONS: usize = 400;
/// Time for which idle connections are observed.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Clients that subscribe to the same channel, and that reconnect together.
const SUBSCRIBERS: usize = 10_000;
/// Messages to all of them, one after another.
const FAN_OUT_MESSAGES: u32 = 50;
/// Messages while they are away.
const MISSED_MESSAGES: u32 = 5;
/// Messages between two replicas, and how many a second.
const HOP_MESSAGES: u32 = 1_000;
const HOP_RATE: u32 = 200;
/// The channel of the measurements.
const CHANNEL: &str = "room:1";
/// The channel of a client that never reads, and the size of its messages: after a few, the socket takes no more.
const STALLED_CHANNEL: &str = "room:2";
const STALLED_MESSAGE_BYTES: usize = 256 * 1024;
/// The name of the other server.
const WS: &str = "ws 8.23.0 with ioredis 6.0.0";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["server", database, redis @ ..] => runtime(2).block_on(server::run(database, redis.first().copied())),
        ["clients", address, source, count, channel] => runtime(1).block_on(clients::run(ClientLoad {
            address: address.parse().unwrap(),
            source: source.parse().unwrap(),
            count: count.parse().unwrap(),
            channel: (*channel).to_owned(),
        })),
        _ => runtime(2).block_on(measure()),
    }
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

async fn measure() {
    let redis = env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL, as `cargo xtask bench` sets it");
    let script = env::var("BENCH_REALTIME_WS").ok();
    let ours = ServerKind::OmniStack(None);
    let shared = ServerKind::OmniStack(Some(&redis));

    println!("<!-- begin realtime -->\n\n### Realtime\n");
    println!("The servers, the clients and Redis are processes on the same cores. {IDLE_CONNECTIONS} idle");
    println!("connections are signed in and get pings each 25 s, observed for {} s.", IDLE_TIME.as_secs());
    println!("{SUBSCRIBERS} clients subscribe to a channel with a history and get {FAN_OUT_MESSAGES} messages,");
    println!("each after all have the one before. Then all cut their connections, miss {MISSED_MESSAGES} messages and");
    println!("reconnect together, at most 1,000 at a time.\n");
    println!("| | measured | target |\n|---|---:|---:|");
    let idle = idle(ours, NO_CHANNEL).await;
    println!("| resident memory of an idle connection | {} | 8 KiB |", kibibytes(idle.bytes));
    println!("| CPU of {IDLE_CONNECTIONS} idle connections | {:.2} % of a core | 2 % |", idle.cpu_percent);
    let subscribed = idle_bytes(ours, OWN_CHANNEL).await;
    println!("| resident memory of a connection with a channel of its own | {} | |", kibibytes(subscribed));
    let mut subscribers = Subscribers::start(ours).await;
    let DeliveryCost { median, p99, cpu } = subscribers.fan_out().await;
    println!("| one message to {SUBSCRIBERS} subscribers, median | {} | |", milliseconds(median));
    println!("| one message to {SUBSCRIBERS} subscribers, p99 | {} | 150 ms |", milliseconds(p99));
    println!("| CPU of the server a delivery, in the program | {} | 2.5 µs |", microseconds(cpu.program));
    println!("| CPU of the server a delivery, in the kernel | {} | |", microseconds(cpu.kernel));
    let beside = subscribers.fan_out_beside_stalled_client().await;
    println!("| the same beside a client that never reads, p99 | {} | 150 ms |", milliseconds(beside));
    let StormResult { elapsed, recovered, failures, queries } = subscribers.storm().await;
    drop(subscribers);
    println!("| {SUBSCRIBERS} clients reconnect together: recovered | {recovered} | {SUBSCRIBERS} |");
    println!("| failed attempts | {failures} | 0 |");
    println!("| queries of the database meanwhile | {queries} | none a client |");
    println!("| until all are back | {:.1} s | |", elapsed.as_secs_f64());
    let hop_ours = hop(shared).await;
    println!("| from a replica to a client of another, by Redis, median | {} | 2 ms |", milliseconds(hop_ours.median));
    println!("| from a replica to a client of another, by Redis, p99 | {} | |", milliseconds(hop_ours.p99));
    println!("\n<!-- end realtime -->");

    println!("<!-- begin realtime-peers -->\n\n### Another server of WebSockets\n");
    println!("The same clients and load, by Redis. npm's ws has no history, presence, sign-in and recovery.\n");
    println!("| | idle connection | {SUBSCRIBERS} subscribers, p99 | CPU a delivery | two processes, median |");
    println!("|---|---:|---:|---:|---:|");
    let shared_fan_out = Subscribers::start(shared).await.fan_out().await;
    print_row("OmniStack", idle.bytes, &shared_fan_out, &hop_ours);
    match script {
        Some(script) => {
            let kind = ServerKind::Ws { script: &script, redis: &redis };
            let bytes = idle_bytes(kind, NO_CHANNEL).await;
            let fan_out = Subscribers::start(kind).await.fan_out().await;
            print_row(WS, bytes, &fan_out, &hop(kind).await);
        }
        None => println!("| {WS} | node not found | node not found | node not found | node not found |"),
    }
    println!("<!-- end realtime-peers -->");
}

fn print_row(name: &str, bytes: u64, fan_out: &DeliveryCost, hop: &DeliveryCost) {
    let (memory, p99) = (kibibytes(bytes), milliseconds(fan_out.p99));
    println!(
        "| {name} | {memory} | {p99} | {} | {} |",
        microseconds(fan_out.cpu.program + fan_out.cpu.kernel),
        milliseconds(hop.median)
    );
}

/// The cost of idle connections.
struct IdleCost {
    /// The resident memory of each.
    bytes: u64,
    cpu_percent: f64,
}

/// The latency and the cost of deliveries.
struct DeliveryCost {
    median: Duration,
    p99: Duration,
    /// CPU time of the server for each.
    cpu: CpuTime,
}

/// The outcome of a reconnection of all clients together.
struct StormResult {
    elapsed: Duration,
    recovered: u64,
    failures: u64,
    queries: u64,
}

/// Opens connections from several processes, and waits until all are open.
async fn open(server: &BenchServer, count: usize, channel: &str) -> Vec<BenchProcess> {
    let start = |process: u8| {
        let source = Ipv4Addr::new(127, 0, 0, 10 + process);
        let count = count / usize::from(CLIENT_PROCESSES);
        start_clients(&ClientLoad { address: server.address, source, count, channel: channel.to_owned() })
    };
    let mut processes: Vec<_> = (0..CLIENT_PROCESSES).map(start).collect();
    for process in &mut processes {
        process.ask("open").await;
    }
    processes
}

/// Returns a server on which connections are open, the processes that hold them, and the memory of each connection.
async fn open_idle(kind: ServerKind<'_>, channel: &str) -> (BenchServer, Vec<BenchProcess>, u64) {
    let server = BenchServer::start(kind).await;
    drop(open(&server, WARM_UP_CONNECTIONS, channel).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.process.resident();
    let clients = open(&server, IDLE_CONNECTIONS, channel).await;
    let after = server.process.resident();
    let bytes = after.saturating_sub(before) / u64::try_from(IDLE_CONNECTIONS).unwrap();
    (server, clients, bytes)
}

async fn idle_bytes(kind: ServerKind<'_>, channel: &str) -> u64 {
    open_idle(kind, channel).await.2
}

/// Measures idle connections. The memory is that after they have got pings, if that is more.
async fn idle(kind: ServerKind<'_>, channel: &str) -> IdleCost {
    let (server, _clients, bytes) = open_idle(kind, channel).await;
    let (resident, cpu) = (server.process.resident(), server.process.cpu());
    tokio::time::sleep(IDLE_TIME).await;
    let cpu = server.process.cpu().since(cpu, 1);
    let cpu = cpu.program + cpu.kernel;
    let grown = server.process.resident().saturating_sub(resident) / u64::try_from(IDLE_CONNECTIONS).unwrap();
    IdleCost { bytes: bytes + grown, cpu_percent: 100.0 * cpu.as_secs_f64() / IDLE_TIME.as_secs_f64() }
}

/// A server with many subscribers of a channel.
struct Subscribers {
    server: BenchServer,
    clients: Vec<BenchProcess>,
    /// Messages published so far.
    published: u64,
}

impl Subscribers {
    async fn start(kind: ServerKind<'_>) -> Self {
        let server = BenchServer::start(kind).await;
        let clients = open(&server, SUBSCRIBERS, CHANNEL).await;
        Self { server, clients, published: 0 }
    }

    /// Publishes messages, each after all subscribers have got the one before.
    async fn fan_out(&mut self) -> DeliveryCost {
        // The first message is not counted.
        self.publish_to_all().await;
        let cpu = self.server.process.cpu();
        let mut waits = Vec::new();
        for _ in 0..FAN_OUT_MESSAGES {
            waits.extend(self.publish_to_all().await);
        }
        let deliveries = u32::try_from(waits.len()).unwrap();
        let cpu = self.server.process.cpu().since(cpu, deliveries);
        DeliveryCost::new(waits, cpu)
    }

    /// Publishes as many messages, and as many large ones to a client that never reads. Returns the 99th percentile of
    /// the latency of the others.
    async fn fan_out_beside_stalled_client(&mut self) -> Duration {
        let (address, source) = (self.server.address, Ipv4Addr::LOCALHOST);
        let mut stalled = start_clients(&ClientLoad { address, source, count: 1, channel: STALLED_CHANNEL.to_owned() });
        stalled.ask("open").await;
        stalled.ask("stall").await;
        let mut waits = Vec::new();
        for _ in 0..FAN_OUT_MESSAGES {
            self.server.process.tell(&format!("{STALLED_CHANNEL} {STALLED_MESSAGE_BYTES}")).await;
            waits.extend(self.publish_to_all().await);
        }
        DeliveryCost::new(waits, CpuTime::default()).p99
    }

    /// Returns the microseconds until each subscriber has got the message.
    async fn publish_to_all(&mut self) -> Vec<u64> {
        self.server.process.tell(CHANNEL).await;
        self.published += 1;
        let count = self.published * u64::try_from(SUBSCRIBERS).unwrap() / u64::from(CLIENT_PROCESSES);
        for process in &mut self.clients {
            process.tell(&format!("received {count}")).await;
        }
        let mut waits = Vec::with_capacity(SUBSCRIBERS);
        for process in &mut self.clients {
            let answer = process.answer().await;
            waits.extend(answer.as_array().unwrap().iter().map(|wait| wait.as_u64().unwrap()));
        }
        waits
    }

    /// Cuts all connections, publishes, and lets all clients reconnect together.
    async fn storm(&mut self) -> StormResult {
        for process in &mut self.clients {
            process.ask("drop").await;
        }
        for _ in 0..MISSED_MESSAGES {
            self.server.process.tell(CHANNEL).await;
        }
        let before = self.server.process.ask(QUERIES).await.as_u64().unwrap();
        let began = Instant::now();
        for process in &mut self.clients {
            process.tell("resume").await;
        }
        let (mut recovered, mut failures) = (0, 0);
        for process in &mut self.clients {
            let answer = process.answer().await;
            recovered += answer["recovered"].as_u64().unwrap();
            failures += answer["failures"].as_u64().unwrap();
        }
        let elapsed = began.elapsed();
        let queries = self.server.process.ask(QUERIES).await.as_u64().unwrap() - before;
        StormResult { elapsed, recovered, failures, queries }
    }
}

/// Measures messages from a server to a client of another.
async fn hop(kind: ServerKind<'_>) -> DeliveryCost {
    let mut publisher = BenchServer::start(kind).await;
    let server = BenchServer::start(kind).await;
    let source = Ipv4Addr::LOCALHOST;
    let load = ClientLoad { address: server.address, source, count: 1, channel: CHANNEL.to_owned() };
    let mut client = start_clients(&load);
    client.ask("open").await;
    let cpu = server.process.cpu();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / HOP_RATE);
    for _ in 0..HOP_MESSAGES {
        ticks.tick().await;
        publisher.process.tell(CHANNEL).await;
    }
    let waits = client.ask(&format!("received {HOP_MESSAGES}")).await;
    let waits = waits.as_array().unwrap().iter().map(|wait| wait.as_u64().unwrap()).collect();
    DeliveryCost::new(waits, server.process.cpu().since(cpu, HOP_MESSAGES))
}

impl DeliveryCost {
    fn new(mut waits: Vec<u64>, cpu: CpuTime) -> Self {
        waits.sort_unstable();
        let at = |per_cent: usize| Duration::from_micros(waits[(waits.len() * per_cent / 100).min(waits.len() - 1)]);
        Self { median: at(50), p99: at(99), cpu }
    }
}

fn kibibytes(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn microseconds(duration: Duration) -> String {
    format!("{:.2} µs", duration.as_secs_f64() * 1e6)
}
