//! The program of the example app: `cargo run -p saas`.

use omnistack::prelude::*;

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    saas::app(App::from_env()).run().await
}
