//! What the default stack costs, beside a bare axum handler in the same run: `cargo xtask bench http`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the terminal, run by hand")]

mod http {
    pub(crate) mod in_process;
    pub(crate) mod loopback;
    pub(crate) mod start;
}

use axum::{Router, routing::get};
use omnistack::{config::Config, prelude::*};
use serde::Serialize;

fn main() {
    // Children of the loopback part: the servers under load.
    if let Some(server) = std::env::args().nth(1).filter(|argument| argument.starts_with("serve-")) {
        return http::loopback::serve(&server);
    }
    println!("<!-- begin http -->");
    http::in_process::run();
    http::loopback::run();
    http::start::run();
    println!("<!-- end http -->");
}

/// The bare handler, without anything around it.
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

/// The same handler in an app. (`/health` is not limited by rate, so it would show less than the whole stack.)
struct Bench;

impl Module for Bench {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::root("", Audience::Public), Api::new().hidden("/hello", get(hello)), |_| Ok(()));
    }
}

/// The app as `cargo run -p saas` mounts it, its log going to a file that keeps nothing. Only the rate is raised, since
/// one address sends every request.
fn saas_app() -> App {
    let settings = [("DATABASE_URL", "sqlite::memory:"), ("HTTP_RATE_LIMIT", "1000000000/second")];
    let config = Config::from_pairs(settings);
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    std::mem::forget(omnistack::log::install_to(&config, nowhere));
    saas::app(App::builder(config)).with(Bench).build().unwrap()
}

/// The smallest of several runs: what is left when nothing else wanted the machine.
fn least<T: PartialOrd>(runs: impl IntoIterator<Item = T>) -> T {
    runs.into_iter().reduce(|least, run| if run < least { run } else { least }).unwrap()
}
