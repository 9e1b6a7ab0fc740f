//! The program: `cargo run`.

use omnistack::prelude::*;

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    {{crate_name}}::app(App::from_env()).run().await
}
