//! The database and the resources kept in it, on both kinds.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on panics, and says why")]

mod cancellation;
mod crud;
mod cursors;
mod deleted_file;
mod disk_full;
mod errors;
mod filters;
mod lists;
mod lost_answers;
mod migrations;
mod outage;
mod queries;
pub(crate) mod shelf;
mod tenants;
mod transactions;
mod values;
mod wire;

use omnistack_core::{clock::Clock, config::Config, db::Db};
use omnistack_testkit::TestDatabase;

/// A handle on a test's database with other settings, and pools of its own: another process, as the database sees it.
fn open_with<const N: usize>(database: &TestDatabase, settings: [(&str, &str); N]) -> Db {
    open(settings.into_iter().fold(database.config(), |config, (name, value)| config.with(name, value)))
}

fn open(config: Config) -> Db {
    Db::open(&config.section().unwrap(), Clock::system()).unwrap()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// From 0 up to `sides`, which it never is.
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
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
