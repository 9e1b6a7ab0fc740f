//! Compares the default middleware stack with a bare axum handler in the same run: `cargo xtask bench http`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]

mod http {
    pub(crate) mod in_process;
    pub(crate) mod loopback;
    pub(crate) mod start;
}

use axum::{Router, routing::get};
use omnistack::{config::Config, prelude::*};
use serde::Serialize;

fn main() {
    // The loopback benchmark starts this program as a child process for each server.
    if let Some(server) = std::env::args().nth(1).filter(|argument| argument.starts_with("serve-")) {
        return http::loopback::serve(&server);
    }
    println!("<!-- begin http -->");
    http::in_process::run();
    http::loopback::run();
    http::start::run();
    println!("<!-- end http -->");
}

/// Returns a router with only the handler.
fn bare() -> Router {
    Router::new().route("/hello", get(hello))
}

async fn hello() -> axum::Json<Hello> {
    axum::Json(Hello { status: "ok" })
}

#[derive(Serialize)]
struct Hello {
    status: &'static str,
}

/// A module with the same handler. (`/health` has no rate limit, so it would not measure the whole stack.)
struct Bench;

impl Module for Bench {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::root("", AccessLevel::Public), Api::new().hidden("/hello", get(hello)), |_| Ok(()));
    }
}

/// Returns the app of `cargo run -p saas`, which writes its log to `/dev/null`. Only the rate limit is raised,
/// because all requests come from one address.
fn saas_app() -> App {
    let settings = [("DATABASE_URL", "sqlite::memory:"), ("HTTP_RATE_LIMIT", "1000000000/second")];
    let config = Config::from_pairs(settings);
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    std::mem::forget(omnistack::log::install_to(&config, nowhere, Vec::new()));
    saas::app(App::builder(config)).with(Bench).build().unwrap()
}

/// Returns the smallest result of several runs, the one least disturbed by other processes.
fn smallest<T: PartialOrd>(runs: impl IntoIterator<Item = T>) -> T {
    runs.into_iter().reduce(|least, run| if run < least { run } else { least }).unwrap()
}
