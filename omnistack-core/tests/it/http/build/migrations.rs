//! Tests of the migrations of modules.

use omnistack_core::db::Migration;

use super::*;

#[tokio::test]
async fn migrations_are_numbered_upwards() {
    const fn migration(name: &'static str) -> Migration {
        Migration { name, postgres: "", sqlite: "" }
    }
    const GOOD: &[Migration] = &[migration("0001_a"), migration("0002_b"), migration("0010_c")];
    const BAD: &[Migration] = &[migration("0002_b"), migration("0001_a"), migration("0002_again"), migration("late")];
    builder(&[]).with(module("good", |registry| _ = registry.migrations(GOOD))).build().unwrap();
    refused(
        builder(&[]).with(module("bad", |registry| _ = registry.migrations(BAD))),
        "
the app can't be built: 3 problems

  - bad: migration `0001_a` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
  - bad: migration `0002_again` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
  - bad: migration `late` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
",
    );
}

#[tokio::test]
async fn a_migration_history_belongs_to_one_list_of_migrations() {
    const fn migration(name: &'static str) -> Migration {
        Migration { name, postgres: "", sqlite: "" }
    }
    const SHARED: &[Migration] = &[migration("0001_a")];
    const OTHER: &[Migration] = &[migration("0001_b")];
    let shared = |name, migrations| module(name, move |registry| _ = registry.shared_migrations("stars", migrations));
    let app = builder(&[]).with(shared("sun", SHARED)).with(shared("moon", SHARED)).build().unwrap();
    let ran = app.migrate().await.unwrap();
    assert_eq!(ran.iter().filter(|(history, _)| *history == "stars").collect::<Vec<_>>(), [&("stars", "0001_a")]);
    refused(
        builder(&[]).with(shared("sun", SHARED)).with(module("stars", |registry| _ = registry.migrations(OTHER))),
        "
the app can't be built: 1 problem

  - stars: the migration history `stars` exists already
      fix: list all migrations of a module in one call, or rename the module
",
    );
}
