//! Tests of the ways to run a statement, and of query observers.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use omnistack_core::db::{Db, ErrorKind, QueryEvent, QueryObserver};
use omnistack_testkit::{TestDatabase, on_each_database};
use tracing::field::Field;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::open_with;

/// A query of the numbers from 1 to `$1`.
const NUMBERS: &str = "with recursive numbers (n) as (
    select cast(1 as bigint) union all select n + 1 from numbers where n < $1
) select n from numbers";

on_each_database! {
    async fn each_way_to_fetch_answers_none_one_and_many(database: TestDatabase) {
        let db = planets(&database).await;
        let all: Vec<(String,)> = db.query("select name from planets order by name").fetch_all().await.unwrap();
        assert_eq!(all, [("Earth".to_owned(),), ("Mars".to_owned(),)]);
        let select = "select moons from planets where name = $1";
        let mars: Option<(i64,)> = db.query(select).bind("Mars").fetch_optional().await.unwrap();
        let pluto: Option<(i64,)> = db.query(select).bind("Pluto").fetch_optional().await.unwrap();
        assert_eq!((mars, pluto), (Some((2,)), None));
        let none: Vec<(i64,)> = db.query(select).bind("Pluto").fetch_all().await.unwrap();
        assert!(none.is_empty());
        let missing = db.query(select).bind("Pluto").fetch_one::<(i64,)>().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(!missing.is_retryable());
    }

    async fn execute_counts_the_rows_it_changed(database: TestDatabase) {
        let db = planets(&database).await;
        for (sql, changed) in [
            ("update planets set moons = moons + 1", 2),
            ("update planets set moons = 0 where name = 'Pluto'", 0),
            ("delete from planets where name = 'Mars'", 1),
        ] {
            assert_eq!(db.query(sql).execute().await.unwrap(), changed, "{sql}");
        }
    }

    async fn a_stream_yields_ten_thousand_rows(database: TestDatabase) {
        let db = database.open_db();
        let rows: Vec<(i64,)> = db.query(NUMBERS).bind(10_000_i64).stream::<(i64,)>().try_collect().await.unwrap();
        assert!(rows.iter().map(|(n,)| *n).eq(1..=10_000));
    }

    async fn a_stream_dropped_half_way_frees_its_connection(database: TestDatabase) {
        let db = open_with(&database, [("DATABASE_MAX_CONNECTIONS", "1")]);
        for _ in 0..3 {
            let first: Vec<(i64,)> = db.query(NUMBERS).bind(10_000_i64).stream::<(i64,)>().take(10).try_collect().await.unwrap();
            assert_eq!(first.len(), 10);
            let (one,): (i64,) = db.query("select cast(1 as bigint)").fetch_one().await.unwrap();
            assert_eq!(one, 1);
        }
        let mut tx = db.begin().await.unwrap();
        {
            let mut rows = std::pin::pin!(tx.query(NUMBERS).bind(10_000_i64).stream::<(i64,)>());
            assert_eq!(rows.next().await.unwrap().unwrap(), (1,));
        }
        let (two,): (i64,) = tx.query("select cast(2 as bigint)").fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(two, 2);
    }

    async fn a_stream_ends_with_the_error(database: TestDatabase) {
        let db = database.open_db();
        let rows: Vec<_> = db.query("select n from nowhere").stream::<(i64,)>().collect().await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].as_ref().unwrap_err().kind(), ErrorKind::Schema);
    }

    async fn values_are_as_many_as_placeholders(database: TestDatabase) {
        let db = planets(&database).await;
        let insert = "insert into planets (name, moons) values ($1, $2)";
        let few = db.query(insert).bind("Venus").execute().await.unwrap_err();
        let none = db.query("select name from planets where moons > $1 or name = $2").bind(1_i64);
        let none = none.fetch_all::<(String,)>().await.unwrap_err();
        let many = db.query("delete from planets where name = $1").bind("Venus").bind(2_i64);
        let many = many.execute().await.unwrap_err();
        for error in [few, none, many] {
            assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        }
        let streamed: Vec<_> = db.query("select moons from planets where name = $1").stream::<(i64,)>().collect().await;
        assert_eq!(streamed.len(), 1);
        assert_eq!(streamed[0].as_ref().unwrap_err().kind(), ErrorKind::Other);
        // A `$n` within quotes is not a placeholder.
        let (quoted,): (String,) = db.query("select '$1 it''s $2'").fetch_one().await.unwrap();
        assert_eq!(quoted, "$1 it's $2");
    }

    async fn a_column_of_another_type_is_an_error_not_a_panic(database: TestDatabase) {
        let db = planets(&database).await;
        let wrong = db.query("select name from planets").fetch_all::<(i64,)>().await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Other);
        let (name,): (String,) = db.query("select name from planets order by name").fetch_one().await.unwrap();
        assert_eq!(name, "Earth");
    }

    async fn observers_see_every_statement_and_its_error(database: TestDatabase) {
        let db = planets(&database).await;
        let seen = Seen::default();
        db.observe(seen.clone());
        db.query("select name from planets where moons > $1").bind(1_i64).fetch_all::<(String,)>().await.unwrap();
        db.query("select 1 from nowhere").execute().await.unwrap_err();
        let mut tx = db.begin().await.unwrap();
        tx.query("delete from planets").execute().await.unwrap();
        tx.rollback().await.unwrap();
        db.begin_read().await.unwrap().commit().await.unwrap();
        let expected = [
            ("select name from planets where moons > $1", None),
            ("select 1 from nowhere", Some(ErrorKind::Schema)),
            ("begin", None),
            ("delete from planets", None),
            ("rollback", None),
            ("begin", None),
            ("commit", None),
        ];
        assert_eq!(*seen.0.lock().unwrap(), expected.map(|(sql, kind)| (sql.to_owned(), kind)));
    }

    async fn slow_statements_are_logged_with_their_text_and_no_values(database: TestDatabase) {
        let log = Log::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        for (threshold, logged) in [("0ms", true), ("1h", false)] {
            let db = open_with(&database, [("DATABASE_SLOW_QUERY", threshold)]);
            log.0.lock().unwrap().clear();
            db.query("select cast($1 as text)").bind("confidential").fetch_one::<(String,)>().await.unwrap();
            let lines = log.0.lock().unwrap().clone();
            let mentioned = lines.iter().any(|line| line.contains("slow query") && line.contains("select cast($1 as text)"));
            assert_eq!(mentioned, logged, "{threshold}: {lines:?}");
            assert!(!lines.concat().contains("confidential"), "{lines:?}");
        }
        drop(guard);
    }
}

async fn planets(database: &TestDatabase) -> Db {
    let db = database.open_db();
    db.query("create table planets (name text not null, moons bigint not null)").execute().await.unwrap();
    db.query("insert into planets (name, moons) values ('Earth', 1), ('Mars', 2)").execute().await.unwrap();
    db
}

/// A statement, and its error if it failed.
type Ended = (String, Option<ErrorKind>);

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Ended>>>);

impl QueryObserver for Seen {
    fn observe(&self, event: QueryEvent<'_>) {
        self.0.lock().unwrap().push((event.sql.to_owned(), event.error.map(omnistack_core::db::Error::kind)));
    }
}

/// The database's log, one line per event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "omnistack::db" {
            let mut line = String::new();
            event.record(&mut |field: &Field, value: &dyn Debug| _ = write!(line, "{field}={value:?} "));
            self.0.lock().unwrap().push(line);
        }
    }
}
