//! Tests of migrations: each runs once, in order, in one process at a time.

use futures_util::future::try_join_all;
use omnistack_core::db::{Db, ErrorKind, Migration, Migrations};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::open_with;

const fn both(name: &'static str, sql: &'static str) -> Migration {
    Migration { name, postgres: sql, sqlite: sql }
}

const FIRST: Migration =
    both("0001_stars", "create table stars (name text not null); insert into stars values ('Sun');");
const SECOND: Migration = both("0002_light", "alter table stars add column light bigint; update stars set light = 1;");
const STARS: Migrations = &[FIRST, SECOND];
const MOONS: Migrations = &[both("0001_moons", "create table moons (name text not null)")];

on_each_database! {
    async fn each_module_has_its_own_history(database: TestDatabase) {
        let db = database.open_db();
        assert_eq!(states(&db, "stars", STARS).await, [false, false]);
        assert_eq!(db.migrate("stars", STARS).await.unwrap(), ["0001_stars", "0002_light"]);
        assert_eq!(states(&db, "stars", STARS).await, [true, true]);
        assert_eq!(states(&db, "moons", MOONS).await, [false]);
        assert_eq!(db.migrate("moons", MOONS).await.unwrap(), ["0001_moons"]);
        for (table, rows) in [("stars", 2), ("moons", 1)] {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from omni_migrations_{table}"));
            let (count,): (i64,) = db.query(sql).fetch_one().await.unwrap();
            assert_eq!(count, rows, "{table}");
        }
        let (light,): (i64,) = db.query("select light from stars").fetch_one().await.unwrap();
        assert_eq!(light, 1);
    }

    async fn a_second_run_does_nothing(database: TestDatabase) {
        let db = database.open_db();
        db.migrate("stars", &[FIRST]).await.unwrap();
        assert!(db.migrate("stars", &[FIRST]).await.unwrap().is_empty());
        assert_eq!(db.migrate("stars", STARS).await.unwrap(), ["0002_light"]);
        assert!(db.migrate("stars", STARS).await.unwrap().is_empty());
        assert_eq!(stars(&db).await, 1);
    }

    async fn a_module_whose_name_has_dashes_migrates(database: TestDatabase) {
        let db = database.open_db();
        assert_eq!(db.migrate("far-away", MOONS).await.unwrap(), ["0001_moons"]);
        assert!(db.migrate("far-away", MOONS).await.unwrap().is_empty());
    }

    async fn an_edited_migration_is_refused_with_advice(database: TestDatabase) {
        const EDITED: Migration = both("0001_stars", "create table stars (name text)");
        const EXTENDED: Migrations = &[EDITED, SECOND];
        let db = database.open_db();
        db.migrate("stars", &[FIRST]).await.unwrap();
        for migrations in [EXTENDED, &[EDITED]] {
            let error = db.migrate("stars", migrations).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            let text = error.to_string();
            assert!(text.contains("`stars`") && text.contains("was changed") && text.contains("add a new"), "{text}");
        }
        assert_eq!(states(&db, "stars", STARS).await, [true, false]);
    }

    async fn a_build_older_than_the_database_is_refused(database: TestDatabase) {
        const FORKED: Migrations = &[FIRST, both("0003_fork", "select 1")];
        let db = database.open_db();
        db.migrate("stars", STARS).await.unwrap();
        for migrations in [FORKED, &[FIRST]] {
            let error = db.migrate("stars", migrations).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            assert!(error.to_string().contains("older than the database"), "{error}");
        }
    }

    async fn a_failing_migration_leaves_nothing_half_done(database: TestDatabase) {
        const HALF: Migrations = &[
            FIRST,
            both("0002_broken", "create table half (n bigint); insert into half values (1); insert into nowhere values (1);"),
        ];
        let (db, other) = (database.open_db(), open_with(&database, [("DATABASE_STATEMENT_TIMEOUT", "5s")]));
        let error = db.migrate("stars", HALF).await.unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
        let missing = db.query("select 1 from half").execute().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Schema);
        // After the repair, another process continues while the failed one still runs.
        other.migrate("stars", STARS).await.unwrap();
        assert_eq!(states(&db, "stars", STARS).await, [true, true]);
        assert_eq!(stars(&other).await, 1);
    }

    async fn a_migration_may_take_longer_than_a_statement(database: TestDatabase) {
        const SLOW: Migrations = &[Migration {
            name: "0001_slow",
            postgres: "select pg_sleep(0.8)",
            sqlite: "create table numbers as with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
                select i from n",
        }];
        let db = open_with(&database, [("DATABASE_STATEMENT_TIMEOUT", "400ms")]);
        assert_eq!(db.migrate("slow", SLOW).await.unwrap(), ["0001_slow"]);
    }

    async fn processes_that_migrate_at_once_all_succeed(database: TestDatabase) {
        let processes: Vec<_> = (0..6).map(|_| database.open_db()).collect();
        let migrating = processes.iter().map(async |db| {
            let mut ran = db.migrate("stars", STARS).await?;
            ran.extend(db.migrate("moons", MOONS).await?);
            Ok::<_, omnistack_core::db::Error>(ran)
        });
        try_join_all(migrating).await.unwrap();
        assert_eq!(stars(&processes[0]).await, 1);
        assert_eq!(states(&processes[0], "moons", MOONS).await, [true]);
    }

    async fn looking_changes_nothing(database: TestDatabase) {
        let db = database.open_db();
        db.query("select 1").execute().await.unwrap();
        states(&db, "stars", STARS).await;
        let table = db.query("select 1 from omni_migrations_stars").execute().await.unwrap_err();
        assert_eq!(table.kind(), ErrorKind::Schema);
    }
}

async fn states(db: &Db, module: &'static str, migrations: Migrations) -> Vec<bool> {
    let states = db.migration_states(module, migrations).await.unwrap();
    assert!(
        states.iter().zip(migrations).all(|(state, migration)| state.name == migration.name && state.module == module)
    );
    states.into_iter().map(|state| state.applied).collect()
}

async fn stars(db: &Db) -> i64 {
    let (count,): (i64,) = db.query("select count(*) from stars").fetch_one().await.unwrap();
    count
}
