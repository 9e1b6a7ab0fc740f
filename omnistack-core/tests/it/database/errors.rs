//! Tests that both databases report the same errors.

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use http_body_util::BodyExt as _;
use omnistack_core::{
    clock::Clock,
    db::{Db, Error, ErrorKind, Sql},
    http::layer::ErrorLayer,
};
use omnistack_testkit::{TestDatabase, TestPostgres, mock_server::ClosedPort, on_each_database};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::{open, open_with};

on_each_database! {
    async fn a_refused_write_says_why_and_by_which_constraint(database: TestDatabase) {
        let db = family(&database).await;
        for (sql, kind, constraint) in [
            ("insert into parents values (2, 'Ann', null)", ErrorKind::Unique, Some("parents_name_key")),
            ("insert into parents values (1, 'Bob', null)", ErrorKind::Unique, Some("parents_pkey")),
            ("insert into pairs values (1, 'Ann')", ErrorKind::Unique, Some("pairs_a_b_key")),
            ("insert into parents values (2, 'Bob', -1)", ErrorKind::Check, Some("parents_check_me_check")),
            ("insert into parents (code) values (2)", ErrorKind::NotNull, None),
            ("insert into parents values (1, null, 1) on conflict do nothing", ErrorKind::NotNull, None),
        ] {
            let error = db.query(sql).execute().await.unwrap_err();
            assert_eq!((error.kind(), error.constraint()), (kind, constraint), "{sql}: {error}");
            assert!(!error.is_retryable(), "{sql}");
        }
        for sql in ["insert into children values (7)", "delete from parents where code = 1"] {
            assert_eq!(db.query(sql).execute().await.unwrap_err().kind(), ErrorKind::ForeignKey, "{sql}");
        }
    }

    async fn a_refused_check_is_named_only_where_the_layer_says_so(database: TestDatabase) {
        let db = family(&database).await;
        for (names_checks, details) in [(true, json!({"constraint": "parents_check_me_check"})), (false, Value::Null)] {
            let db = db.clone();
            let refused = || async move {
                let insert = db.query("insert into parents values (2, 'Bob', -1)").execute().await;
                insert.map(|_| ()).map_err(omnistack_core::http::Error::from)
            };
            let layer = ErrorLayer::new(Clock::system()).name_checks(names_checks);
            let router: Router = Router::new().route("/", get(refused)).layer(layer);
            let response = router.oneshot(http::Request::new(Body::empty())).await.unwrap();
            assert_eq!(response.status().as_u16(), 422);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["error"]["code"], &body["error"]["details"]), (&json!("INVALID_VALUE"), &details));
        }
    }

    async fn what_is_missing_is_a_schema_error_with_advice(database: TestDatabase) {
        let db = family(&database).await;
        for sql in [
            "select 1 from nowhere",
            "insert into nowhere values (1)",
            "update nowhere set a = 1",
            "select colour from parents",
            "insert into parents (colour) values (1)",
            "update parents set colour = 1",
        ] {
            let error = db.query(sql).execute().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Schema, "{sql}: {error}");
            assert!(error.to_string().contains("`migrate`"), "{error}");
            assert_eq!(omnistack_core::http::Error::from(error).status().as_u16(), 500);
        }
    }

    async fn malformed_sql_is_a_bug_of_ours(database: TestDatabase) {
        let error = database.open_db().query("selekt 1").execute().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Other, false));
    }

    async fn a_value_of_the_wrong_type_is_refused(database: TestDatabase) {
        let db = database.open_db();
        let table = Sql {
            postgres: "create table strict (n bigint)",
            sqlite: "create table strict (n integer) strict",
        };
        db.query(table).execute().await.unwrap();
        // Literals, which the driver does not check.
        let error = db.query("insert into strict values ('many')").execute().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error}");
    }

    async fn errors_keep_their_source(database: TestDatabase) {
        let error = database.open_db().query("select 1 from nowhere").execute().await.unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
        assert!(format!("{error:?}").contains("Schema"), "{error:?}");
    }
}

#[tokio::test]
async fn postgres_refuses_values_it_cannot_hold() {
    let database = TestDatabase::postgres();
    let db = database.open_db();
    db.query("create table small (n smallint, words varchar(3))").execute().await.unwrap();
    let nul = db.query("insert into small (words) values ($1)").bind("a\0b").execute().await.unwrap_err();
    assert_eq!(nul.kind(), ErrorKind::InvalidValue, "{nul}");
    for sql in [
        "insert into small (n) values (70000)",
        "insert into small (words) values ('long')",
        "insert into small (n) values (1 / 0)",
        "select 'no uuid'::uuid",
        "select 9223372036854775807::bigint + 1",
    ] {
        let error = db.query(sql).execute().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "{sql}: {error}");
        assert_eq!(omnistack_core::http::Error::from(error).status().as_u16(), 422);
    }
}

#[tokio::test]
async fn a_postgres_statement_that_runs_too_long_is_ended() {
    let database = TestDatabase::postgres();
    let db = open_with(&database, [("DATABASE_STATEMENT_TIMEOUT", "50ms")]);
    let error = db.query("select pg_sleep(60)").execute().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Timeout, false));
    let error = omnistack_core::http::Error::from(error);
    assert_eq!((error.status().as_u16(), error.code()), (503, "DATABASE_TIMEOUT"));
}

#[tokio::test]
async fn the_slower_of_two_postgres_transactions_may_try_again() {
    let database = TestDatabase::postgres();
    let db = database.open_db();
    db.query("create table rows (code bigint, n bigint)").execute().await.unwrap();
    db.query("insert into rows values (1, 0), (2, 0)").execute().await.unwrap();
    for error in [serialization_failure(&db).await, deadlock(&db).await] {
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, true), "{error}");
        let error = omnistack_core::http::Error::from(error);
        assert_eq!((error.status().as_u16(), error.code()), (503, "CONCURRENT_UPDATE"));
    }
}

async fn serialization_failure(db: &Db) -> Error {
    let mut slower = db.begin().await.unwrap();
    slower.query("set transaction isolation level repeatable read").execute().await.unwrap();
    slower.query("select n from rows").execute().await.unwrap();
    db.query("update rows set n = 1").execute().await.unwrap();
    slower.query("update rows set n = 2").execute().await.unwrap_err()
}

async fn deadlock(db: &Db) -> Error {
    let (mut one, mut two) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    one.query("update rows set n = 1 where code = 1").execute().await.unwrap();
    two.query("update rows set n = 1 where code = 2").execute().await.unwrap();
    let (one, two) = tokio::join!(
        async {
            let result = one.query("update rows set n = 2 where code = 2").execute().await;
            drop(one);
            result
        },
        async {
            let result = two.query("update rows set n = 2 where code = 1").execute().await;
            drop(two);
            result
        },
    );
    one.and(two).unwrap_err()
}

#[tokio::test]
async fn a_locked_sqlite_file_is_a_conflict_to_try_again() {
    let database = TestDatabase::sqlite();
    let db = database.open_db();
    db.query("create table rows (n bigint)").execute().await.unwrap();
    let hurried = open_with(&database, [("DATABASE_STATEMENT_TIMEOUT", "20ms")]);
    let lock = db.begin().await.unwrap();
    for error in [hurried.begin().await.unwrap_err(), hurried.query("delete from rows").execute().await.unwrap_err()] {
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, true), "{error}");
    }
    drop(lock);
    hurried.query("delete from rows").execute().await.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_unavailable() {
    let down = ClosedPort::reserve();
    let url = format!("postgres://nobody:x@{}/nothing", down.address());
    let config = TestDatabase::sqlite().config().with("DATABASE_URL", url).with("DATABASE_ACQUIRE_TIMEOUT", "200ms");
    let db = open(config);
    let error = timeout(Duration::from_secs(5), db.ping()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    let error = omnistack_core::http::Error::from(error);
    assert_eq!((error.status().as_u16(), error.code()), (503, "DATABASE_UNAVAILABLE"));
}

#[tokio::test]
async fn wrong_credentials_and_names_are_settings_to_correct() {
    let server = TestPostgres::start().await;
    for (url, named) in [
        (server.url().replace(":secret@", ":wrong@"), "password authentication failed"),
        (server.url().replace("/postgres", "/nowhere"), "nowhere"),
    ] {
        let error = open(TestDatabase::sqlite().config().with("DATABASE_URL", url)).ping().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Configuration, false));
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn an_unreadable_url_is_a_setting_to_correct() {
    for url in ["mysql://localhost/app", "nonsense", "postgres://host:port/", ""] {
        let config = TestDatabase::sqlite().config().with("DATABASE_URL", url);
        let settings = omnistack_core::db::DbSettings { url: url.into(), ..config.read_settings().unwrap() };
        let error = Db::open(&settings, Clock::system()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}: {error}");
    }
}

async fn family(database: &TestDatabase) -> Db {
    let db = database.open_db();
    for sql in [
        "create table parents (code bigint primary key, name text not null unique, check_me bigint,
            constraint parents_check_me_check check (check_me > 0))",
        "create table children (code bigint not null references parents (code))",
        "create table pairs (a bigint, b text, unique (a, b))",
        "insert into parents values (1, 'Ann', null)",
        "insert into children values (1)",
        "insert into pairs values (1, 'Ann')",
    ] {
        db.query(sql).execute().await.unwrap();
    }
    db
}
