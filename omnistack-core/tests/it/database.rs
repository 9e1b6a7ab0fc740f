//! Tests of the database and of CRUD resources, on both databases.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod bulk;
mod cancellation;
mod crud;
mod cursors;
mod deleted_file;
mod disk_full;
mod errors;
mod existing_pools;
mod failover;
mod filters;
mod large;
mod limits;
mod lists;
mod lost_answers;
pub(crate) mod maintenance;
mod migration_runs;
mod migrations;
mod outage;
mod own_code;
mod queries;
mod schemas;
pub(crate) mod shelf;
mod statement_groups;
mod tenants;
mod traffic;
mod transactions;
mod values;
mod wire;

use omnistack_core::{clock::Clock, config::Config, db::Db};
use omnistack_testkit::TestDatabase;

/// Opens a test database with other settings and its own pools, as another process would.
fn open_with<const N: usize>(database: &TestDatabase, settings: [(&str, &str); N]) -> Db {
    open(settings.into_iter().fold(database.config(), |config, (name, value)| config.with(name, value)))
}

fn open(config: Config) -> Db {
    Db::open(&config.read_settings().unwrap(), Clock::system()).unwrap()
}

/// A random generator with a fixed seed, so that every run is the same.
struct SeededRng(u64);

impl SeededRng {
    /// Returns a number from 0 to `sides`, exclusive.
    fn roll(&mut self, sides: u64) -> u64 {
        // The SplitMix64 generator.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}
