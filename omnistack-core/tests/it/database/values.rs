//! Tests that values are read as they were written, on both databases.

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{Arguments, Db, Sql},
    id::Id,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use sqlx::types::Json;

use super::SeededRng;

#[derive(Clone, Debug, PartialEq, omnistack_core::db::FromRow)]
struct Row {
    id: Id<Row>,
    words: String,
    whole: i64,
    real: f64,
    truth: bool,
    bytes: Vec<u8>,
    json: Json<Value>,
    moment: Timestamp,
    maybe_words: Option<String>,
    maybe_whole: Option<i64>,
    maybe_real: Option<f64>,
    maybe_truth: Option<bool>,
    maybe_bytes: Option<Vec<u8>>,
    maybe_json: Option<Json<Value>>,
    maybe_moment: Option<Timestamp>,
    maybe_id: Option<Id<Row>>,
}

const TABLE: Sql = Sql {
    postgres: "create table rows (id uuid primary key, words text not null, whole bigint not null,
        real double precision not null, truth boolean not null, bytes bytea not null, json jsonb not null,
        moment timestamptz not null, maybe_words text, maybe_whole bigint, maybe_real double precision,
        maybe_truth boolean, maybe_bytes bytea, maybe_json jsonb, maybe_moment timestamptz, maybe_id uuid)",
    sqlite: "create table rows (id blob primary key, words text not null, whole integer not null,
        real real not null, truth integer not null, bytes blob not null, json text not null,
        moment text not null, maybe_words text, maybe_whole integer, maybe_real real,
        maybe_truth integer, maybe_bytes blob, maybe_json text, maybe_moment text, maybe_id blob) strict",
};

const INSERT: &str = "insert into rows values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

fn rows() -> Vec<Row> {
    let now = Clock::system().now();
    let plain = Row {
        id: Id::new(now),
        words: "plain".into(),
        whole: 1,
        real: 0.5,
        truth: true,
        bytes: vec![0, 1, 255],
        json: Json(json!({"list": [1, 2.5, "three", null], "nested": {"ü": true}})),
        moment: now,
        maybe_words: Some("some".into()),
        maybe_whole: Some(-1),
        maybe_real: Some(-0.25),
        maybe_truth: Some(false),
        maybe_bytes: Some(vec![7]),
        maybe_json: Some(Json(json!(null))),
        maybe_moment: Some(now),
        maybe_id: Some(Id::new(now)),
    };
    let low = Row {
        id: Id::new(now),
        words: String::new(),
        whole: i64::MIN,
        real: f64::MIN,
        truth: false,
        bytes: Vec::new(),
        json: Json(json!("text")),
        moment: Timestamp::from_micros(i64::MIN),
        maybe_words: None,
        maybe_whole: None,
        maybe_real: None,
        maybe_truth: None,
        maybe_bytes: None,
        maybe_json: None,
        maybe_moment: None,
        maybe_id: None,
    };
    let high = Row {
        id: Id::new(now),
        words: "'\"; drop table rows; -- \\ % _ \n\t ünï\u{10ffff}🦀".into(),
        whole: i64::MAX,
        real: f64::INFINITY,
        moment: Timestamp::from_micros(i64::MAX),
        maybe_words: Some("x".repeat(1_000_000)),
        maybe_real: Some(f64::MIN_POSITIVE),
        maybe_bytes: Some((0..=255).cycle().take(1_000_000).collect()),
        maybe_moment: Some(Timestamp::from_micros(-1)),
        ..plain.clone()
    };
    vec![plain, low, high]
}

on_each_database! {
    async fn every_type_comes_back_as_it_went(database: TestDatabase) {
        let db = database.open_db();
        db.query(TABLE).execute().await.unwrap();
        for row in rows() {
            let written = row.clone();
            let insert = db.query(INSERT)
                .bind(row.id).bind(row.words).bind(row.whole).bind(row.real).bind(row.truth).bind(row.bytes)
                .bind(row.json).bind(row.moment).bind(row.maybe_words).bind(row.maybe_whole).bind(row.maybe_real)
                .bind(row.maybe_truth).bind(row.maybe_bytes).bind(row.maybe_json).bind(row.maybe_moment)
                .bind(row.maybe_id);
            assert_eq!(insert.execute().await.unwrap(), 1);
            let read: Row = db.query("select * from rows where id = $1").bind(row.id).fetch_one().await.unwrap();
            assert_eq!(read, written);
        }
    }

    async fn moments_keep_their_microseconds_from_year_1_to_9999(database: TestDatabase) {
        let db = moments(&database).await;
        for (text, micros) in [
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("0999-12-31T23:59:59.999999Z", -30_610_224_000_000_001),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("1969-12-31T23:59:58.5Z", -1_500_000),
            ("1970-01-01T00:00:00Z", 0),
            ("1999-12-31T23:59:59.999999Z", 946_684_799_999_999),
            ("2000-01-01T00:00:00.000001Z", 946_684_800_000_001),
            ("2030-01-01T00:00:00.1Z", 1_893_456_000_100_000),
            ("9999-12-30T22:00:00.999999Z", 253_402_207_200_999_999),
            ("9999-12-30T22:00:01Z", 253_402_207_201_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ] {
            let moment: Timestamp = text.parse().unwrap();
            assert_eq!((moment.as_micros(), moment.to_string().as_str()), (micros, text));
            assert_eq!(serde_json::to_value(moment).unwrap(), text);
            let sql = "insert into moments (moment) values ($1) returning moment";
            let (read,): (Timestamp,) = db.query(sql).bind(moment).fetch_one().await.unwrap();
            assert_eq!(read, moment, "{text}");
            let (equal,): (i64,) =
                db.query("select count(*) from moments where moment = $1").bind(moment).fetch_one().await.unwrap();
            assert_eq!(equal, 1, "{text}");
        }
    }

    async fn moments_sort_in_sql_as_in_rust(database: TestDatabase) {
        let db = moments(&database).await;
        let mut dice = SeededRng(7);
        let mut expected: Vec<_> = (0..400)
            .map(|_| {
                let second = i64::try_from(dice.roll(250_000_000_000)).unwrap() - 62_000_000_000;
                // Many timestamps in one second, some without a fraction, some with trailing zeros.
                let second = dice.pick(&[second, 0, 1_893_456_000, -1]);
                Timestamp::from_micros(second * 1_000_000 + dice.pick(&[0, 1, 10, 100_000, 999_999, 500_000]))
            })
            .collect();
        for moment in &expected {
            db.query("insert into moments (moment) values ($1)").bind(*moment).execute().await.unwrap();
        }
        expected.sort();
        let sorted: Vec<(Timestamp,)> = db.query("select moment from moments order by moment").fetch_all().await.unwrap();
        assert_eq!(sorted.into_iter().map(|(moment,)| moment).collect::<Vec<_>>(), expected);

        for pivot in [expected[100], expected[200], Timestamp::from_micros(0)] {
            let (before,): (i64,) =
                db.query("select count(*) from moments where moment < $1").bind(pivot).fetch_one().await.unwrap();
            assert_eq!(before, i64::try_from(expected.iter().filter(|moment| **moment < pivot).count()).unwrap());
        }
    }

    async fn one_text_has_a_placeholder_twice_and_on_conflict_and_returning(database: TestDatabase) {
        let db = database.open_db();
        db.query("create table visits (page text primary key, first text not null, hits bigint not null)")
            .execute().await.unwrap();
        let sql = "insert into visits (page, first, hits) values ($1, $1, $2)
            on conflict (page) do update set hits = visits.hits + $2 returning page, first, hits";
        for hits in [3, 6] {
            let row: (String, String, i64) = db.query(sql).bind("home").bind(3_i64).fetch_one().await.unwrap();
            assert_eq!(row, ("home".into(), "home".into(), hits));
        }
    }

    async fn collected_args_number_their_placeholders(database: TestDatabase) {
        let db = database.open_db();
        let mut args = Arguments::new(db.dialect());
        assert_eq!([args.push(20_i64), args.push("a"), args.push(None::<i64>)], [1, 2, 3]);
        let sql = "select cast($1 as bigint) + 1, cast($2 as text), cast($3 as bigint)";
        let row: (i64, String, Option<i64>) = db.query(sql).args(args).fetch_one().await.unwrap();
        assert_eq!(row, (21, "a".into(), None));
    }
}

async fn moments(database: &TestDatabase) -> Db {
    let db = database.open_db();
    let table = Sql {
        postgres: "create table moments (moment timestamptz not null)",
        sqlite: "create table moments (moment text not null) strict",
    };
    db.query(table).execute().await.unwrap();
    db
}
