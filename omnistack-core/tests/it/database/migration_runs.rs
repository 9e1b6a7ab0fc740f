//! Tests of what migrations lock, how far a run goes, and of runs that are interrupted.

use std::process::{Child, Command, Stdio};

use omnistack_core::{
    config::Config,
    db::{Db, Dialect, ErrorKind, MigrateOptions, Migration, Migrations, TableLockMode},
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{open, open_with};

const fn both(name: &'static str, sql: &'static str) -> Migration {
    Migration { name, postgres: sql, sqlite: sql }
}

const CREATE_STARS: Migration = both("0001_stars", "create table stars (name text not null, light bigint);");
const INDEX: Migration = both("0002_index", "create index stars_name on stars (name);");
const ONE: Migrations = &[CREATE_STARS];
const STARS: Migrations = &[CREATE_STARS, INDEX];
const MOONS: Migrations = &[both("0001_moons", "create table moons (name text not null)")];
const ALL: &[(&str, Migrations)] = &[("stars", STARS), ("moons", MOONS)];

/// Inserts rows, and lets PostgreSQL count them.
async fn fill(db: &Db, rows: usize) {
    let row =
        "insert into stars (name, light) with recursive n (i) as (select 1 union all select i + 1 from n where i < ";
    let sql = format!("{row}{rows}) select 'Sun', i from n");
    db.query(sqlx::AssertSqlSafe(sql)).execute().await.unwrap();
    db.query("analyze stars").execute().await.unwrap();
}

async fn applied(db: &Db, module: &'static str, migrations: Migrations) -> Vec<bool> {
    db.migration_states(module, migrations).await.unwrap().into_iter().map(|state| state.applied).collect()
}

on_each_database! {
    async fn an_error_names_module_and_migration(database: TestDatabase) {
        const BROKEN: Migrations = &[CREATE_STARS, both("0002_broken", "create table ok (n bigint);\ninsert into nowhere values (1);")];
        let db = database.open_db();
        let text = db.migrate("stars", BROKEN).await.unwrap_err().to_string();
        assert!(text.contains("`stars/0002_broken`") && text.contains("nowhere"), "{text}");
        assert!(!text.contains("have the migrations run"), "{text}");
        if database.dialect() == Dialect::Postgres {
            assert!(text.contains("line 2"), "{text}");
        }
        assert_eq!(applied(&db, "stars", BROKEN).await, [true, false], "what is done stays done");
    }

    async fn a_table_of_the_app_with_the_same_name_is_told(database: TestDatabase) {
        let db = database.open_db();
        db.query("create table stars (mine text)").execute().await.unwrap();
        let text = db.migrate("stars", STARS).await.unwrap_err().to_string();
        assert!(text.contains("`stars/0001_stars`") && text.contains("DATABASE_SCHEMA"), "{text}");
    }

    async fn a_run_ends_where_it_is_told(database: TestDatabase) {
        let db = database.open_db();
        for unknown in ["stars/0003_lost", "suns/0001_stars", "0001_stars"] {
            for options in [MigrateOptions::new().to(unknown), MigrateOptions::new().allow_lock(unknown)] {
                let error = db.migrate_all(ALL, &options).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
                assert!(error.to_string().contains(unknown), "{error}");
            }
        }
        let first = MigrateOptions::new().to("stars/0001_stars");
        assert_eq!(db.migrate_all(ALL, &first).await.unwrap(), [("stars", "0001_stars")]);
        assert!(db.migrate_all(ALL, &first).await.unwrap().is_empty());
        assert_eq!(applied(&db, "stars", STARS).await, [true, false]);
        let rest = [("stars", "0002_index"), ("moons", "0001_moons")];
        assert_eq!(db.migrate_all(ALL, &MigrateOptions::new()).await.unwrap(), rest);
    }

    async fn a_plan_runs_nothing_and_says_what_is_locked(database: TestDatabase) {
        let db = database.open_db();
        let empty = db.plan_migrations(ALL, &MigrateOptions::new()).await.unwrap();
        let names: Vec<_> = empty.iter().map(|planned| planned.full_name()).collect();
        assert_eq!(names, ["stars/0001_stars", "stars/0002_index", "moons/0001_moons"]);
        assert!(empty.iter().all(|planned| planned.statements.iter().all(|it| it.locks.is_empty())), "no table yet");
        assert_eq!(applied(&db, "stars", STARS).await, [false, false]);

        db.migrate("stars", &[CREATE_STARS]).await.unwrap();
        fill(&db, 2000).await;
        let planned = db.plan_migrations(ALL, &MigrateOptions::new().to("stars/0002_index")).await.unwrap();
        assert_eq!(planned.len(), 1);
        let statement = &planned[0].statements[0];
        assert_eq!(statement.sql, "create index stars_name on stars (name)");
        let lock = &statement.locks[0];
        let mode = match database.dialect() {
            Dialect::Postgres => TableLockMode::Share,
            Dialect::Sqlite => TableLockMode::Database,
        };
        assert_eq!((lock.table.as_deref(), lock.rows, lock.mode), (Some("stars"), 2000, mode));
        assert_eq!((planned[0].long_locks(2000).count(), planned[0].long_locks(2001).count()), (1, 0));
        let text = planned[0].to_string();
        for part in ["stars/0002_index, in one transaction", "about 2000 rows", "drop index stars_name;", "version = 2"] {
            assert!(text.contains(part), "{text}");
        }
        let explained = db.explain_migration(ALL, "stars/0001_stars").await.unwrap();
        assert!(explained.rollback.keeps_previous_build());
        assert_eq!(explained.rollback.undo[0], "drop table stars;");
    }

    async fn a_long_lock_of_a_large_table_is_refused_without_being_told_so(database: TestDatabase) {
        let db = database.open_db();
        db.migrate("stars", &[CREATE_STARS]).await.unwrap();
        fill(&db, 2000).await;
        let options = MigrateOptions::new().refuse_long_locks(2000);
        let error = db.migrate_all(ALL, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(text.contains("stars/0002_index: `create index") && text.contains("--allow-lock"), "{text}");
        assert_eq!(applied(&db, "moons", MOONS).await, [false], "nothing ran");
        let large = MigrateOptions::new().refuse_long_locks(2001);
        assert_eq!(db.plan_migrations(ALL, &large).await.unwrap().len(), 2);
        let told = options.allow_lock("stars/0002_index");
        assert_eq!(db.migrate_all(ALL, &told).await.unwrap().len(), 2);
    }

    async fn names_and_keywords_do_not_hide_a_large_table(database: TestDatabase) {
        const RENAMED: Migrations = &[
            CREATE_STARS,
            both("0002_suns", "alter table stars rename to suns;\ncreate index suns_name on suns (name);"),
        ];
        const KEYWORD: Migrations = &[
            both("0001_order", "create table \"order\" (n bigint);"),
            both("0002_index", "create index order_n on \"order\" (n);"),
        ];
        let db = database.open_db();
        db.migrate("stars", &[CREATE_STARS]).await.unwrap();
        fill(&db, 2000).await;
        let options = MigrateOptions::new().refuse_long_locks(2000);
        let error = db.migrate_all(&[("stars", RENAMED)], &options).await.unwrap_err().to_string();
        assert!(error.contains("stars/0002_suns: `create index"), "{error}");

        db.migrate("orders", &KEYWORD[..1]).await.unwrap();
        assert_eq!(db.migrate_all(&[("orders", KEYWORD)], &options).await.unwrap(), [("orders", "0002_index")]);
    }

    async fn a_run_that_is_killed_is_continued(database: TestDatabase) {
        let db = database.open_db();
        let mut held = None;
        if database.dialect() == Dialect::Postgres {
            let mut tx = db.begin().await.unwrap();
            tx.query("select pg_advisory_xact_lock(77)").execute().await.unwrap();
            held = Some(tx);
        }
        let mut child = doomed(&database);
        wait_for_second_migration(&database).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(applied(&db, "stars", SHORT).await, [true, false], "the first is done, of the second there is nothing");
        // The lock that the killed process waited for is still held: the server ends what it left.
        assert_eq!(db.migrate("stars", SHORT).await.unwrap(), ["0002_long"]);
        assert_eq!(applied(&db, "stars", SHORT).await, [true, true]);
        drop(held);
    }
}

/// A second migration that waits on PostgreSQL, and takes long on SQLite.
const LONG: Migrations = &[
    CREATE_STARS,
    Migration {
        name: "0002_long",
        postgres: "create table half (n bigint); select pg_advisory_xact_lock(77)",
        sqlite: "create table half as with recursive n (i) as
            (select 1 union all select i + 1 from n where i < 100000000000) select i from n",
    },
];
/// The same migrations, of which the second ends at once.
const SHORT: Migrations = &[CREATE_STARS, both("0002_long", "create table half (n bigint)")];

const URL: &str = "DOOMED_MIGRATION_URL";

/// The process that is killed.
#[tokio::test]
#[ignore = "a child process of other tests"]
async fn doomed_migration() {
    let environment = Config::from_env();
    let Some((url, _)) = environment.get(URL) else { return };
    open(Config::from_pairs([("DATABASE_URL", url), ("APP_ENV", "test")])).migrate("stars", LONG).await.unwrap();
}

fn doomed(database: &TestDatabase) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "database::migration_runs::doomed_migration", "--ignored", "--nocapture"]);
    command.env(URL, database.url()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until another process runs the second migration. The test's timeout limits the wait.
async fn wait_for_second_migration(database: &TestDatabase) {
    let db = open_with(database, [("DATABASE_STATEMENT_TIMEOUT", "1s")]);
    while applied(&db, "stars", SHORT).await != [true, false] {
        tokio::task::yield_now().await;
    }
    match database.dialect() {
        Dialect::Postgres => {
            let waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = 77 and not granted";
            while db.query(waiting).fetch_one::<(i64,)>().await.unwrap() != (1,) {
                tokio::task::yield_now().await;
            }
        }
        Dialect::Sqlite => {
            let writer = open_with(database, [("DATABASE_STATEMENT_TIMEOUT", "1ms")]);
            while writer.begin().await.err().is_none_or(|error| error.kind() != ErrorKind::Conflict) {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn an_index_is_built_outside_a_transaction_and_again_after_an_interruption() {
    const UNIQUE: Migrations = &[
        CREATE_STARS,
        both(
            "0002_unique",
            "-- no-transaction\ncreate index concurrently if not exists stars_light on stars (light);\n\
             create unique index concurrently stars_name on stars (name);",
        ),
    ];
    let database = TestDatabase::postgres();
    let db = database.open_db();
    db.migrate("stars", &[CREATE_STARS]).await.unwrap();
    fill(&db, 2).await;
    let planned = db.explain_migration(&[("stars", UNIQUE)], "stars/0002_unique").await.unwrap();
    assert!(!planned.in_transaction && planned.long_locks(0).count() == 0, "{planned}");
    // Two rows have the same name, and the index stays behind, invalid.
    let error = db.migrate("stars", UNIQUE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unique, "{error}");
    assert!(error.to_string().contains("`stars/0002_unique`"), "{error}");
    let valid = "select count(*) from pg_index where indexrelid in ('stars_light'::regclass, 'stars_name'::regclass) \
        and indisvalid";
    assert_eq!(db.query(valid).fetch_one::<(i64,)>().await.unwrap(), (1,));
    db.query("delete from stars where light = 2").execute().await.unwrap();
    assert_eq!(db.migrate("stars", UNIQUE).await.unwrap(), ["0002_unique"]);
    assert_eq!(db.query(valid).fetch_one::<(i64,)>().await.unwrap(), (2,));
}

#[tokio::test]
async fn an_index_of_another_table_is_not_taken_for_one_of_an_earlier_run() {
    const CONCURRENT: Migrations = &[
        CREATE_STARS,
        both("0002_light", "-- no-transaction\ncreate index concurrently stars_light on stars (light);"),
    ];
    let database = TestDatabase::postgres();
    let old = database.open_db();
    old.query("create table stars (light bigint)").execute().await.unwrap();
    old.query("create index stars_light on stars (light)").execute().await.unwrap();
    let db = open_with(&database, [("DATABASE_SCHEMA", "acme")]);
    assert_eq!(db.migrate("stars", CONCURRENT).await.unwrap(), ["0001_stars", "0002_light"]);
    let built = "select count(*) from pg_indexes where indexname = 'stars_light' and schemaname = 'acme'";
    assert_eq!(db.query(built).fetch_one::<(i64,)>().await.unwrap(), (1,));
}

#[tokio::test]
async fn a_lock_of_a_moment_is_held_until_the_migration_ends() {
    const SAFE: &str = "alter table stars validate constraint bright";
    const VALIDATED: Migrations = &[
        CREATE_STARS,
        both(
            "0002_bright",
            "alter table stars add constraint bright check (light > 0) not valid;\n\
             alter table stars validate constraint bright;",
        ),
    ];
    const COPIED: Migrations = &[
        CREATE_STARS,
        both("0002_copy", "alter table moons add column light bigint;\ncreate table suns as select * from stars;"),
    ];
    const SEPARATE: Migrations = &[
        CREATE_STARS,
        both("0002_bright", "alter table stars add constraint bright check (light > 0) not valid"),
        both("0003_valid", SAFE),
    ];
    let database = TestDatabase::postgres();
    let db = database.open_db();
    db.migrate_all(&[("stars", ONE), ("moons", MOONS)], &MigrateOptions::new()).await.unwrap();
    fill(&db, 2000).await;
    for (migrations, table) in [(VALIDATED, "stars"), (COPIED, "moons")] {
        let planned = db.plan_migrations(&[("stars", migrations)], &MigrateOptions::new()).await.unwrap();
        let long: Vec<_> = planned[0].long_locks(2000).map(|(_, lock)| lock.clone()).collect();
        assert_eq!(long.len(), 1, "{planned:?}");
        assert_eq!((long[0].table.as_deref(), long[0].meanwhile.as_deref()), (Some(table), Some("stars")));
        assert_eq!(long[0].mode, TableLockMode::AccessExclusive);
        assert!(planned[0].to_string().contains("while stars (about 2000 rows) is read or written"), "{}", planned[0]);
    }
    let options = MigrateOptions::new().refuse_long_locks(2000);
    assert_eq!(db.migrate_all(&[("stars", SEPARATE)], &options).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_migration_waits_for_a_locked_table_without_a_queue_behind_it() {
    const LIGHT: Migrations = &[CREATE_STARS, both("0002_color", "alter table stars add column color text")];
    let database = TestDatabase::postgres();
    let db = open_with(&database, [("DATABASE_MIGRATION_LOCK_TIMEOUT", "20ms")]);
    db.migrate("stars", &[CREATE_STARS]).await.unwrap();
    let mut reader = db.begin().await.unwrap();
    reader.query("select * from stars").execute().await.unwrap();
    let text = db.migrate("stars", LIGHT).await.unwrap_err().to_string();
    assert!(text.contains("`stars/0002_color`") && text.contains("holds a lock"), "{text}");

    // The reader ends while the migration tries.
    let tries = async {
        let waiting = "select count(*) from pg_locks where relation = 'stars'::regclass and not granted";
        let other = database.open_db();
        while other.query(waiting).fetch_one::<(i64,)>().await.unwrap() != (1,) {
            tokio::task::yield_now().await;
        }
        reader.commit().await.unwrap();
    };
    let (ran, ()) = tokio::join!(db.migrate("stars", LIGHT), tries);
    assert_eq!(ran.unwrap(), ["0002_color"]);
}

#[tokio::test]
async fn tables_stand_in_a_schema_of_their_own() {
    let database = TestDatabase::postgres();
    let old = database.open_db();
    // A table that the app had before.
    old.query("create table users (name text not null)").execute().await.unwrap();
    let db = open_with(&database, [("DATABASE_SCHEMA", "acme")]);
    assert_eq!(db.schema(), Some("acme"));
    for ran in [2, 0] {
        assert_eq!(db.migrate("stars", STARS).await.unwrap().len(), ran);
    }
    let schema = "select schemaname::text from pg_tables where tablename in ('stars', 'omni_migrations_stars')";
    let found: Vec<(String,)> = db.query(schema).fetch_all().await.unwrap();
    assert_eq!(found, [("acme".to_owned(),), ("acme".to_owned(),)]);
    db.query("insert into users select name from stars").execute().await.unwrap();
    assert_eq!(applied(&old, "stars", STARS).await, [false, false]);

    // Tables that are in `public` already are not created again beside it.
    old.migrate("moons", MOONS).await.unwrap();
    let error = db.migrate("moons", MOONS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("move them"), "{error}");
    old.query("alter table moons set schema acme").execute().await.unwrap();
    old.query("alter table omni_migrations_moons set schema acme").execute().await.unwrap();
    assert!(db.migrate("moons", MOONS).await.unwrap().is_empty());
}

#[test]
fn a_name_that_needs_quotes_is_no_schema() {
    for wrong in ["Acme", "1st", "pg_acme", "public", "a\"b", "a b"] {
        let config = TestDatabase::sqlite().config().with("DATABASE_SCHEMA", wrong);
        let problems = config.read_settings::<omnistack_core::db::DbSettings>().unwrap_err();
        assert!(problems[0].to_string().contains("DATABASE_SCHEMA"), "{problems:?}");
    }
}
