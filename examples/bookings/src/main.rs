//! The program: `cargo run -p bookings`.

use omnistack::prelude::*;

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    bookings::app(App::from_env()).run().await
}
