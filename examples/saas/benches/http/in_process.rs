//! Measures the thread CPU time per request, without sockets.

use std::convert::Infallible;

use axum::{body::Body, extract::Request, response::Response};
use cpu_time::ThreadTime;
use http_body_util::BodyExt as _;
use omnistack::http::layer::PeerAddr;
use tower::{Service, ServiceExt as _};

use crate::{bare, saas_app, smallest};

const REQUESTS: u32 = 20_000;
const RUNS: usize = 15;

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let app = saas_app();
        app.migrate().await.unwrap();
        app.start().await.unwrap();
        let (bare, stack) = (bare(), app.service());
        let mut rows = [f64::MAX; 4];
        for _ in 0..RUNS {
            rows[0] = smallest([rows[0], micros(&bare, || request("/hello")).await]);
            rows[1] = smallest([rows[1], micros(&stack, || request("/hello")).await]);
            rows[2] = smallest([rows[2], micros(&stack, || gzip("/hello")).await]);
            rows[3] = smallest([rows[3], micros(&stack, || request("/nowhere")).await]);
        }
        println!("\n### CPU per request, in process\n");
        println!("Thread CPU clock, {REQUESTS} requests per run, least of {RUNS} runs. The target is at most 3 µs over bare axum.\n");
        println!("| handler | µs per request | over bare axum |\n|---|---:|---:|");
        let names = ["bare axum handler", "saas, the whole default stack", "the same, client accepts gzip", "the same, 404"];
        for (name, row) in names.iter().zip(rows) {
            println!("| {name} | {row:.2} | {:+.2} |", row - rows[0]);
        }
    });
}

async fn micros<S>(service: &S, request: impl Fn() -> Request) -> f64
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let before = ThreadTime::now();
    for _ in 0..REQUESTS {
        let Ok(response) = service.clone().oneshot(request()).await;
        response.into_body().collect().await.unwrap();
    }
    before.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

/// Returns a request as the server passes it to the app: with the client's address and the headers that curl sends.
fn request(path: &'static str) -> Request {
    let request =
        Request::builder().uri(path).header("host", "localhost").header("user-agent", "bench").header("accept", "*/*");
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 1).into()));
    request
}

fn gzip(path: &'static str) -> Request {
    let mut request = request(path);
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    request
}
