//! Tests of forged cursors.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::shelf::{BOOKS, Shelf};

const ID: &str = "0191d9c0-0000-7000-8000-000000000001";

on_each_database! {
    async fn a_forged_cursor_is_refused_and_never_a_server_error(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        for code in ["a", "b"] {
            caller.post(BOOKS, json!({"code": code, "title": code})).await.expect(201);
        }
        let genuine = |sort: &str| {
            let path = format!("{BOOKS}?sort={sort}&limit=1");
            let caller = caller.clone();
            async move { caller.get(path).await.expect(200).json()["next_cursor"].as_str().unwrap().to_owned() }
        };
        let title = genuine("title").await;
        let garbage = ["", "x", "%25", "!!!", "....", "null", "e30=", "%F0%9F%A6%80"].map(str::to_owned);
        let json = [
            json!(null), json!([]), json!({}), json!("text"), json!(7), json!({"s": "title"}), json!({"s": "title", "k": {}}),
            json!({"s": 1, "k": []}), json!({"s": "title", "k": []}), json!({"s": "title", "k": ["a"]}),
            json!({"s": "title", "k": ["a", ID, ID]}), json!({"s": "-title", "k": ["a", ID]}),
            json!({"s": "title", "k": [7, ID]}), json!({"s": "title", "k": [null, ID]}), json!({"s": "title", "k": [["a"], ID]}),
            json!({"s": "title", "k": ["a", "no id"]}), json!({"s": "title", "k": ["a", null]}),
            json!({"s": "title", "k": ["a", 7]}), json!({"s": "title", "k": ["a\0b", ID]}),
        ];
        let mut forged: Vec<_> = garbage.into_iter().chain(json.iter().map(encode)).collect();
        forged.push(genuine("-title").await);
        forged.push(genuine("pages").await);
        forged.push(genuine("title,pages").await);
        forged.push(title[..title.len() - 2].to_owned());
        forged.push(format!("{title}{title}"));
        forged.push("A".repeat(50_000));
        forged.push(URL_SAFE_NO_PAD.encode([0xff; 40]));
        forged.push(URL_SAFE_NO_PAD.encode("[".repeat(10_000)));
        forged.push(URL_SAFE_NO_PAD.encode(format!("{{\"s\":\"title\",\"k\":[{}\"a\"{}]}}", "[".repeat(9_000), "]".repeat(9_000))));
        forged.push(STANDARD.encode("??>>??>>").replace('+', "%2B").replace('/', "%2F"));
        for cursor in forged {
            let answer = caller.get(format!("{BOOKS}?sort=title&cursor={cursor}")).await;
            let shown: String = cursor.chars().take(200).collect();
            assert_eq!(answer.status.as_u16(), 422, "{shown}: {}", answer.text());
            let body = answer.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(body["error"]["details"]["fields"][0]["field"], json!("cursor"), "{shown}");
        }
    }

    async fn values_of_another_kind_are_refused(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        for (sort, values) in [
            ("pages", vec![json!("1"), json!(1.5), json!(9_223_372_036_854_775_808_u64), json!(true)]),
            ("rating", vec![json!("1"), json!(null), json!(false)]),
            ("in_print", vec![json!(1), json!("true"), json!(null)]),
            ("published", vec![json!(1), json!("soon"), json!("99999-01-01T00:00:00Z"), json!("")]),
            ("created_at", vec![json!({}), json!("2030-01-01")]),
        ] {
            for value in values {
                let cursor = encode(&json!({"s": sort, "k": [value, ID]}));
                let answer = caller.get(format!("{BOOKS}?sort={sort}&cursor={cursor}")).await;
                answer.expect_error(422, "VALIDATION_FAILED");
            }
            let cursor = encode(&json!({"s": sort, "k": [value_of(sort), ID]}));
            caller.get(format!("{BOOKS}?sort={sort}&cursor={cursor}")).await.expect(200);
        }
    }

    async fn a_cursor_shows_nobody_elses_rows(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (alice, bob) = (app.user(), app.user());
        for code in ["a", "b"] {
            alice.post(BOOKS, json!({"code": code, "title": code})).await.expect(201);
        }
        let page = alice.get(format!("{BOOKS}?sort=title&limit=1")).await.expect(200);
        assert_eq!(bob.get(page.next_link().unwrap()).await.expect(200).json(), json!({"items": []}));
    }
}

fn encode(cursor: &Value) -> String {
    URL_SAFE_NO_PAD.encode(cursor.to_string())
}

/// Returns a value of the type of the sort column.
fn value_of(sort: &str) -> Value {
    match sort {
        "pages" | "rating" => json!(1),
        "in_print" => json!(false),
        _ => json!("2030-01-01T00:00:00+02:00"),
    }
}
