//! Tests of lists: filters, search, deleted rows, and unknown parameters.

use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::json;

use super::shelf::{BOOKS, NOTICES, Shelf};

const SERIES: &str = "0191d9c0-0000-7000-8000-000000000001";

on_each_database! {
    async fn each_filter_finds_its_rows(database: TestDatabase) {
        let (_app, caller) = library(database).await;
        let series = format!("series={SERIES}");
        let series_in_capitals = format!("series={}", SERIES.to_uppercase());
        for (query, codes) in [
            ("title=alpha", "a"),
            ("title=Alpha", ""),
            ("title=alpha,gamma", "ac"),
            ("title=alpha,,gamma", "acd"),
            ("title=alpha&title=gamma", "ac"),
            ("title=alpha&title=gamma,beta", "abc"),
            ("title=", "d"),
            ("title=%25", ""),
            ("pages=10", "ab"),
            ("pages=10,30", "abd"),
            ("pages_gt=10", "cd"),
            ("pages_gte=20", "cd"),
            ("pages_lt=20", "ab"),
            ("pages_lte=20", "abc"),
            ("pages_gt=10&pages_lt=30", "c"),
            ("pages_gte=-9223372036854775808", "abcd"),
            ("rating=1.5", "a"),
            ("rating_gte=2", "bcd"),
            ("rating_lt=2.5e0", "ab"),
            ("in_print=true", "ac"),
            ("in_print=true,false", "abcd"),
            ("published=2000-01-01T00:00:00Z", "a"),
            ("published=2000-01-01T01:00:00%2B01:00", "a"),
            ("published_gt=2000-01-01T00:00:00Z", "bcd"),
            ("published_gte=2000-01-01T00:00:00.5Z", "bcd"),
            ("published_lt=2000-01-01T00:00:01Z", "ab"),
            (series.as_str(), "b"),
            (series_in_capitals.as_str(), "b"),
            ("created_at=2030-01-01T00:00:00Z", "abcd"),
            ("updated_at_gt=2030-01-01T00:00:00Z", ""),
            ("title=alpha&pages=30", ""),
            ("pages=10&in_print=false&q=bet", "b"),
        ] {
            assert_eq!(found(&caller, query).await, codes, "{query}");
            let numbered = caller.get(format!("{BOOKS}?{query}&page=1")).await.expect(200).json();
            assert_eq!(numbered["total"], json!(codes.len()), "{query}");
        }
    }

    async fn search_takes_every_character_as_itself(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        for (code, title, note) in [
            ("a", "100% wool", None),
            ("b", "100 wool", Some("snake_case")),
            ("c", "back\\slash", Some("CamelCase")),
            ("d", "it's \"quoted\"", Some("ÜBER")),
        ] {
            caller.post(BOOKS, json!({"code": code, "title": title, "note": note})).await.expect(201);
        }
        for (query, codes) in [
            ("q=%25", "a"),
            ("q=0%25+w", "a"),
            ("q=_", "b"),
            ("q=e_c", "b"),
            ("q=%5C", "c"),
            ("q=k%5Cs", "c"),
            ("q=%5C%25", ""),
            ("q=CASE", "bc"),
            ("q=camelcase", "c"),
            ("q=WOOL", "ab"),
            ("q=++wool+", "ab"),
            ("q=it's", "d"),
            ("q=%22quoted", "d"),
            ("q=%C3%9CBER", "d"),
            ("q=", "abcd"),
            ("q=+", "abcd"),
            ("q=nowhere", ""),
        ] {
            assert_eq!(found(&caller, query).await, codes, "{query}");
        }
    }

    async fn deleted_rows_are_listed_when_asked_for(database: TestDatabase) {
        let (_app, caller) = library(database).await;
        let items = caller.get(format!("{BOOKS}?title=beta")).await.expect(200).json();
        caller.delete(format!("{BOOKS}/{}", items["items"][0]["id"].as_str().unwrap())).await.expect(204);
        for (query, codes) in [
            ("", "acd"),
            ("deleted=exclude", "acd"),
            ("deleted=include", "abcd"),
            ("deleted=only", "b"),
            ("deleted=only&pages=10", "b"),
            ("deleted=only&title=alpha", ""),
        ] {
            assert_eq!(found(&caller, query).await, codes, "{query}");
        }
    }

    async fn a_wrong_parameter_is_refused_by_name(database: TestDatabase) {
        let (_app, caller) = library(database).await;
        let many = format!("title={}", vec!["x"; 51].join(","));
        for (query, field) in [
            ("unknown=1", "unknown"),
            ("code=a", "code"),
            ("note=x", "note"),
            ("id=x", "id"),
            ("tenant_id=x", "tenant_id"),
            ("deleted_at=2030-01-01T00:00:00Z", "deleted_at"),
            ("title_gt=a", "title_gt"),
            ("in_print_gt=true", "in_print_gt"),
            ("series_lt=x", "series_lt"),
            ("pages[ne]=1", "pages[ne]"),
            ("pages_gt=1,2", "pages_gt"),
            ("pages=many", "pages"),
            ("pages=", "pages"),
            ("pages=1,", "pages"),
            ("pages=1.5", "pages"),
            ("pages=9223372036854775808", "pages"),
            ("rating=NaN", "rating"),
            ("rating=inf", "rating"),
            ("rating=1e999", "rating"),
            ("in_print=yes", "in_print"),
            ("published=2000-01-01", "published"),
            ("published_gt=soon", "published_gt"),
            ("published=12000-01-01T00:00:00Z", "published"),
            ("series=x", "series"),
            (many.as_str(), "title"),
            ("q=a&q=b", "q"),
            ("pages_gt=1&pages_gt=2", "pages_gt"),
            ("pages%5Bgte%5D=30", "pages[gte]"),
            ("sort=code", "sort"),
            ("sort=", "sort"),
            ("sort=title,", "sort"),
            ("sort=--title", "sort"),
            ("sort=title,-title", "sort"),
            ("sort=title,pages,rating,in_print", "sort"),
            ("sort=title;drop", "sort"),
            ("deleted=all", "deleted"),
            ("deleted=", "deleted"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("limit=", "limit"),
            ("limit=4294967297", "limit"),
            ("page=0", "page"),
            ("page=10001", "page"),
            ("page=101&page_size=100", "page"),
            ("page_size=101", "page_size"),
            ("page_size=0", "page_size"),
            ("page=1&limit=1", "page"),
            ("page=1&cursor=x", "page"),
            ("cursor=x", "cursor"),
            ("Q=x", "Q"),
        ] {
            let answer = caller.get(format!("{BOOKS}?{query}")).await.expect_error(422, "VALIDATION_FAILED").json();
            let fields = answer["error"]["details"]["fields"].as_array().unwrap();
            assert!(fields.iter().any(|problem| problem["field"] == json!(field)), "{query}: {answer}");
        }
        caller.get(format!("{BOOKS}?limit=100")).await.expect(200);
        caller.get(format!("{BOOKS}?page=100&page_size=100")).await.expect(200);
        for query in ["q=a%00b", "title=%FF", "title=a%00b"] {
            caller.get(format!("{BOOKS}?{query}")).await.expect_error(400, "MALFORMED_URL");
        }
        for (query, field) in
            [("q=x", "q"), ("deleted=exclude", "deleted"), ("sort=updated_at", "sort"), ("updated_at=2030-01-01T00:00:00Z", "updated_at")]
        {
            let answer = caller.get(format!("{NOTICES}?{query}")).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(answer["error"]["details"]["fields"][0]["field"], json!(field), "{answer}");
        }
        let answer = caller.get(format!("{BOOKS}?pages=x&sort=y&unknown=z")).await.expect_error(422, "VALIDATION_FAILED");
        assert_eq!(answer.json()["error"]["details"]["fields"].as_array().unwrap().len(), 3, "all at once");
    }
}

async fn library(database: TestDatabase) -> (TestApp, TestClient) {
    let app = TestApp::start(database, |app| app.with(Shelf)).await;
    let caller = app.user();
    for (code, title, pages, rating, in_print, published, series) in [
        ("a", "alpha", 10, 1.5, true, "2000-01-01T00:00:00Z", None),
        ("b", "beta", 10, 2.0, false, "2000-01-01T00:00:00.5Z", Some(SERIES)),
        ("c", "gamma", 20, 2.5, true, "2000-01-01T00:00:01Z", None),
        ("d", "", 30, 1e9, false, "2010-01-01T00:00:00Z", None),
    ] {
        let book = json!({
            "code": code, "title": title, "pages": pages, "rating": rating, "in_print": in_print,
            "published": published, "series": series,
        });
        caller.post(BOOKS, book).await.expect(201);
    }
    (app, caller)
}

/// Returns the codes of the books that a query finds, in order.
async fn found(caller: &TestClient, query: &str) -> String {
    let items = caller.get(format!("{BOOKS}?{query}")).await.expect(200).json();
    let items = items["items"].as_array().unwrap();
    let mut codes: Vec<_> = items.iter().map(|item| item["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes.concat()
}
