//! The program: `cargo run -p existing`.

use existing::before::{self, Pool};
use omnistack::{config::Config, prelude::*};

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    let config = Config::from_env();
    let url = config.get("DATABASE_URL").map_or("sqlite:shop.db", |(url, _)| url).to_owned();
    let pool = Pool::open(&url)?;
    before::create_tables(&pool).await?;
    existing::with_accounts(App::builder(config), &pool).run().await
}
