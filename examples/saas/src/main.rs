//! The program of the example app: `cargo run -p saas`.

use omnistack::{config::Config, prelude::*};

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    saas::app(App::builder(saas::with_defaults(Config::from_env()))).run().await
}
