//! Measures the inbox and the delivery of webhooks on PostgreSQL: `cargo xtask bench webhooks`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    convert::Infallible,
    future::IntoFuture as _,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Method, StatusCode},
    routing::post,
};
use bytes::Bytes;
use futures_util::stream;
use omnistack_core::{
    ShutdownToken,
    clock::Clock,
    module::{Module, Registry},
    webhook::{
        SourceEvent, StandardHeaders, StandardSecret, WebhookEvent, WebhookPublisher, WebhookRejection, WebhookRequest,
        WebhookSource,
    },
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest};
use omnistack_webhooks::Webhooks;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use utoipa::ToSchema;

/// The secret of the source.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Clients that send to the inbox at once.
const CLIENTS: usize = 64;
/// Duration of a run of the inbox, in seconds.
const INTAKE_SECONDS: u32 = 10;
/// Seconds of requests before those that are measured, in which connections are opened and statements are prepared.
const WARM_UP_SECONDS: u32 = 1;
/// Duration of a run of the inbox.
const INTAKE_TIME: Duration = Duration::from_secs(INTAKE_SECONDS as u64);
/// Requests a second in the runs of the inbox that measure the latency.
const INTAKE_RATES: [u32; 2] = [500, 2_000];
/// Endpoints of the delivery, each of its own tenant.
const ENDPOINTS: usize = 100;
/// Messages to each endpoint in a run that measures the throughput.
const MESSAGES: usize = 200;
/// Messages a second in a run that measures the latency, in turn to all endpoints.
const RATE: u32 = 300;
/// Messages in a run that measures the latency.
const PACED_MESSAGES: u32 = 3_000;
/// Runs of which the best counts.
const RUNS: usize = 3;

/// The origin of times in messages.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A source of Standard Webhooks.
struct Bench(StandardSecret);

#[async_trait]
impl WebhookSource for Bench {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let headers = StandardHeaders::read(request.headers)?;
        headers.verify(std::slice::from_ref(&self.0), request.body, request.now)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let headers = StandardHeaders::read(request.headers)?;
        let body: Value = request.json()?;
        Ok(SourceEvent::new(headers.id, body["type"].as_str().unwrap_or_default()).object(body["data"]["id"].as_str()))
    }
}

/// A message with the time at which it was published, in microseconds.
#[derive(Serialize, Deserialize, ToSchema)]
struct Measured {
    published: u64,
}

impl WebhookEvent for Measured {
    const TYPE: &'static str = "bench.measured";
    const DESCRIPTION: &'static str = "A message of the benchmark.";

    fn example() -> Self {
        Self { published: 0 }
    }
}

struct BenchModule;

impl Module for BenchModule {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .webhook_source("bench", |_| Ok(Bench(StandardSecret::parse(SECRET).unwrap())))
            .webhook_event::<Measured>();
    }
}

async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| {
        app.clock(Clock::system())
            .set("DATABASE_SYNCHRONOUS", "full")
            .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
            .with(Webhooks::from_env())
            .with(BenchModule)
    })
    .await
}

fn main() {
    LazyLock::force(&ORIGIN);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin webhooks -->\n\n### Webhooks\n");
        println!("On PostgreSQL, the clients, the receivers and the database on the same cores; commits wait for the disk.\n");
        intake().await;
        let columns = Box::pin(delivery()).await;
        println!("\n<!-- end webhooks -->");
        println!("<!-- begin webhooks-peers -->\n\n### Other senders of webhooks\n");
        println!("The same load, the receivers beside the sender. A delivery counts when its result is stored: in PostgreSQL, whose");
        println!("commits wait for the disk, or in a Redis that keeps nothing on the disk.\n");
        println!("| | deliveries/s, all good | two bad | median, all good | two bad | p99, all good | two bad |");
        println!("|---|---:|---:|---:|---:|---:|---:|\n| OmniStack, on PostgreSQL | {} |", columns.join(" | "));
        println!("<!-- end webhooks-peers -->");
    });
}

/// Measures the inbox: the signature is checked and the request is stored before the response.
async fn intake() {
    println!(
        "Received: {CLIENTS} clients, each sends its next request after the response, {} s a run, best of {RUNS}.",
        INTAKE_TIME.as_secs()
    );
    println!("A body of 1 KiB, `v1` of Standard Webhooks; the whole middleware stack without a socket.\n");
    println!("| | measured | target |\n|---|---:|---:|");
    // First, because after the runs at full speed the server and the disk are busy with what these have written.
    let mut at_rates = Vec::new();
    for rate in INTAKE_RATES {
        let app = start(TestDatabase::postgres()).await;
        at_rates.push((rate, Latencies::new(send_at_rate(app.anonymous(), rate).await)));
    }
    let mut best = Latencies::default();
    for _ in 0..RUNS {
        let app = start(TestDatabase::postgres()).await;
        let client = app.anonymous();
        let end = Instant::now() + INTAKE_TIME;
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(send_until(client.clone(), number, end));
        }
        let run = Latencies::new(clients.join_all().await.concat());
        if run.0.len() > best.0.len() {
            best = run;
        }
    }
    println!("| requests/s | {:.0} | 2,000 |", best.0.len() as f64 / INTAKE_TIME.as_secs_f64());
    println!("| response time, median | {} | |", best.quantile(0.5));
    println!("| response time, p99 | {} | |", best.quantile(0.99));
    for (rate, run) in at_rates {
        println!("| at {rate} requests/s: response time, median | {} | |", run.quantile(0.5));
        println!("| at {rate} requests/s: response time, p99 | {} | 10 ms |", run.quantile(0.99));
    }
}

/// Sends signed requests until `end`. Returns their durations.
async fn send_until(client: TestClient, number: usize, end: Instant) -> Vec<Duration> {
    let mut durations = Vec::new();
    while Instant::now() < end {
        let request = signed_request(&client, number, durations.len());
        let began = Instant::now();
        request.await.expect_ok();
        durations.push(began.elapsed());
    }
    durations
}

/// Sends requests at a steady rate, whether or not earlier ones are answered. Returns the time of each response after the
/// warm-up, from when its request was due.
async fn send_at_rate(client: TestClient, rate: u32) -> Vec<Duration> {
    let (start, mut requests) = (Instant::now(), JoinSet::new());
    let warm_up = rate * WARM_UP_SECONDS;
    for number in 0..warm_up + rate * INTAKE_SECONDS {
        let due = start + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(due.into()).await;
        let request = signed_request(&client, number as usize % CLIENTS, number as usize);
        requests.spawn(async move {
            request.await.expect_ok();
            (number >= warm_up).then(|| due.elapsed())
        });
    }
    requests.join_all().await.into_iter().flatten().collect()
}

/// Returns a request that is signed now.
fn signed_request(client: &TestClient, number: usize, sequence: usize) -> TestRequest {
    static KEY: LazyLock<StandardSecret> = LazyLock::new(|| StandardSecret::parse(SECRET).unwrap());
    let id = format!("msg_{number}_{sequence}");
    let object = format!("object_{number}");
    let body = json!({ "type": "bench.received", "data": { "id": object, "text": "x".repeat(950) } }).to_string();
    let seconds = Clock::system().now().as_seconds();
    let signature = KEY.sign(&id, seconds, body.as_bytes());
    let request = client.request(Method::POST, "/api/v1/public/webhooks/bench");
    let request = request.header("content-type", "application/json").header("webhook-id", &id);
    let request = request.header("webhook-timestamp", seconds.to_string()).header("webhook-signature", signature);
    request.body(body)
}

/// Measures the delivery, with and without receivers that misbehave. Returns the columns of the comparison: deliveries
/// per second, and the median and the p99 of the latency, each without and with them.
async fn delivery() -> [String; 6] {
    println!(
        "\nSent: {ENDPOINTS} endpoints, each of its own tenant. With bad ones, one never responds, and one responds with a"
    );
    println!(
        "body that never ends; the others are measured. Throughput: {MESSAGES} messages to each are published before, best of"
    );
    println!(
        "{RUNS}. Latency: {RATE} messages a second, from before the transaction that publishes to the arrival, {PACED_MESSAGES} messages.\n"
    );
    println!("| | all good | two bad | target |\n|---|---:|---:|---:|");
    let (mut good, mut bad) = (0.0_f64, 0.0_f64);
    for _ in 0..RUNS {
        good = good.max(Box::pin(throughput(false)).await);
        bad = bad.max(Box::pin(throughput(true)).await);
    }
    println!("| deliveries/s, results stored | {good:.0} | {bad:.0} | 1,000 |");
    let rates = [format!("{good:.0}"), format!("{bad:.0}")];
    let (good, bad) = (Box::pin(latency(false)).await, Box::pin(latency(true)).await);
    let [median, p99] = [0.5, 0.99].map(|quantile| [good.quantile(quantile), bad.quantile(quantile)]);
    for (name, [good, bad]) in [("median", &median), ("p99", &p99)] {
        println!("| from published to received, {name} | {good} | {bad} | the same |");
    }
    let [[good_rate, bad_rate], [good_median, bad_median], [good_p99, bad_p99]] = [rates, median, p99];
    [good_rate, bad_rate, good_median, bad_median, good_p99, bad_p99]
}

/// An app with its endpoints.
struct Delivery {
    app: TestApp,
    publisher: WebhookPublisher,
    owners: Vec<TestClient>,
    sink: Sink,
    /// The number of endpoints that misbehave. They come first.
    bad: usize,
}

impl Delivery {
    async fn start(with_bad: bool) -> Self {
        let app = start(TestDatabase::postgres()).await;
        let sink = Sink::start().await;
        let bad: &[&str] = if with_bad { &["hung", "endless"] } else { &[] };
        let mut owners = Vec::new();
        for index in 0..ENDPOINTS {
            let owner = app.user();
            let url = format!("{}/{}", sink.url, bad.get(index).unwrap_or(&"good"));
            let body = json!({ "url": url, "events": ["*"] });
            owner.post("/api/v1/app/webhooks/endpoints", body).await.expect_ok();
            owners.push(owner);
        }
        let publisher = app.app().context().get().unwrap();
        Self { app, publisher, owners, sink, bad: bad.len() }
    }

    async fn publish(&self, owner: usize, count: usize) {
        let tenant = self.owners[owner].identity().unwrap().tenant.unwrap();
        let published = micros(ORIGIN.elapsed());
        let mut tx = self.app.db().tenant(tenant).begin().await.unwrap();
        for _ in 0..count {
            self.publisher.publish_in(&mut tx, &Measured { published }).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Runs a worker until `done` has completed. The worker is then stopped at once, since a receiver that never
    /// responds would keep it from shutting down.
    async fn work_until<T>(&self, done: impl Future<Output = T>) -> T {
        tokio::select! {
            () = self.app.app().run_workers(ShutdownToken::new()) => unreachable!("nothing stops the worker"),
            value = done => value,
        }
    }

    /// Waits until the results of all good deliveries are stored.
    async fn stored(&self, count: usize) {
        let sql = "select count(*) from omni_webhook_deliveries where state = 'delivered'";
        loop {
            let mut tx = self.app.db().app_database().all_tenants().begin_read().await.unwrap();
            let (stored,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
            drop(tx);
            if usize::try_from(stored).unwrap() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Returns the deliveries a second to good endpoints, until their results are stored.
async fn throughput(with_bad: bool) -> f64 {
    let delivery = Delivery::start(with_bad).await;
    for owner in 0..ENDPOINTS {
        delivery.publish(owner, MESSAGES).await;
    }
    let count = (ENDPOINTS - delivery.bad) * MESSAGES;
    let began = Instant::now();
    let done = async {
        delivery.sink.wait(count).await;
        delivery.stored(count).await;
        began.elapsed()
    };
    count as f64 / delivery.work_until(done).await.as_secs_f64()
}

/// Returns the time from publishing a message to its arrival.
async fn latency(with_bad: bool) -> Latencies {
    let delivery = Delivery::start(with_bad).await;
    let count = (0..PACED_MESSAGES as usize).filter(|index| index % ENDPOINTS >= delivery.bad).count();
    let load = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        for index in 0..PACED_MESSAGES as usize {
            ticks.tick().await;
            delivery.publish(index % ENDPOINTS, 1).await;
        }
        delivery.sink.wait(count).await;
    };
    delivery.work_until(load).await;
    Latencies::new(delivery.sink.received.take())
}

/// Durations, the shortest first.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    fn quantile(&self, quantile: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index is small and positive")]
        let index = (quantile * self.0.len() as f64) as usize;
        let at = self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default();
        format!("{:.1} ms", at.as_secs_f64() * 1e3)
    }
}

/// The requests that the receivers have got.
#[derive(Default)]
struct Received {
    count: AtomicUsize,
    arrived: Notify,
    waits: std::sync::Mutex<Vec<Duration>>,
}

impl Received {
    fn record(&self, body: &[u8]) {
        #[derive(Deserialize)]
        struct Message {
            data: Measured,
        }
        let message: Message = serde_json::from_slice(body).unwrap();
        let wait = ORIGIN.elapsed().saturating_sub(Duration::from_micros(message.data.published));
        self.waits.lock().unwrap().push(wait);
        self.count.fetch_add(1, Ordering::Release);
        self.arrived.notify_one();
    }

    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

/// The receivers, on a thread of their own.
struct Sink {
    url: String,
    received: Arc<Received>,
    shutdown: ShutdownToken,
}

impl Sink {
    async fn start() -> Self {
        let (received, shutdown) = (Arc::<Received>::default(), ShutdownToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let good = {
            let received = Arc::clone(&received);
            move |body: Bytes| async move {
                received.record(&body);
                StatusCode::NO_CONTENT
            }
        };
        let endless = async || {
            let chunk = Bytes::from_static(&[b'x'; 1024]);
            Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone())))
        };
        let routes = Router::new()
            .route("/good", post(good))
            .route("/hung", post(async || std::future::pending::<StatusCode>().await))
            .route("/endless", post(endless));
        let stop = shutdown.clone();
        let listener = listener.into_std().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, routes).into_future() => served.unwrap(),
                    () = stop.cancelled() => {}
                }
            });
        });
        Self { url, received, shutdown }
    }

    /// Waits until this number of messages have arrived at good receivers.
    async fn wait(&self, count: usize) {
        while self.received.count.load(Ordering::Acquire) < count {
            self.received.arrived.notified().await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
