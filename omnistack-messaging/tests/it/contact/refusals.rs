//! Tests of rejected messages.

use std::{net::IpAddr, time::Duration};

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{FORM, STATUS, app, form_token, kept, send, valid_message, with_fields};

fn fields(error: &Value) -> Vec<String> {
    let fields = error["error"]["details"]["fields"].as_array().cloned().unwrap_or_default();
    fields.iter().map(|problem| problem["field"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let app = app(TestDatabase::sqlite(), |app| {
        app.set("CONTACT_REQUIRE_SUBJECT", "true")
            .set("CONTACT_REQUIRE_PHONE", "1")
            .set("CONTACT_REQUIRE_COMPANY", "yes")
    })
    .await;
    let good = with_fields(valid_message(&app).await, json!({ "subject": "s", "phone": "12345", "company": "c" }));
    let many: Value = (0..21).map(|n| (format!("f{n}"), Value::from(n))).collect();
    let large: Value = (0..9).map(|n| (format!("f{n}"), Value::from("x".repeat(1000)))).collect();
    for (more, expected) in [
        (
            json!({ "name": " ", "email": "", "message": "\n", "subject": null, "phone": "", "company": " " }),
            vec!["name", "subject", "phone", "company", "message", "email"],
        ),
        (json!({ "name": "Ada\r\nBcc: eve@example.com" }), vec!["name"]),
        (json!({ "subject": "Hello\nBcc: eve@example.com" }), vec!["subject"]),
        (json!({ "subject": "Hello\u{1b}[2J" }), vec!["subject"]),
        (json!({ "company": "a\u{85}b", "source": "a\tb" }), vec!["company", "source"]),
        (json!({ "email": "ada@example.com, eve@example.com" }), vec!["email"]),
        (json!({ "email": "ada@example.com\r\nBcc: eve@example.com" }), vec!["email"]),
        (json!({ "email": "Ada <ada@example.com>" }), vec!["email"]),
        (json!({ "phone": "call me" }), vec!["phone"]),
        (json!({ "phone": "1<script>" }), vec!["phone"]),
        (json!({ "name": "x".repeat(101) }), vec!["name"]),
        (json!({ "message": "x".repeat(5001) }), vec!["message"]),
        (json!({ "message": "a\u{0}b" }), vec!["body"]),
        (json!({ "extra_fields": many }), vec!["extra_fields"]),
        (json!({ "extra_fields": large }), vec!["extra_fields"]),
        (json!({ "extra_fields": { "a": "x".repeat(1001) } }), vec!["extra_fields"]),
        (json!({ "extra_fields": { "a": { "b": 1 } } }), vec!["extra_fields"]),
        (json!({ "extra_fields": { "a": null } }), vec!["extra_fields"]),
        (json!({ "extra_fields": { "a b\r\n": 1 } }), vec!["extra_fields"]),
        (json!({ "token": null }), vec!["token"]),
        (json!({ "token": "v1.development.AAAA" }), vec!["token"]),
        (json!({ "surprise": 1 }), vec!["body"]),
    ] {
        let answer = send(&app, with_fields(good.clone(), more.clone())).await;
        let found = fields(&answer.expect(422).json());
        let same = found == expected || expected == ["body"] && found.len() == 1;
        assert!(same, "{more}: {found:?}");
    }
    let huge = with_fields(good.clone(), json!({ "message": "x".repeat(70_000) }));
    send(&app, huge).await.expect(413);
    assert!(kept(&app).await.is_empty());
    app.run_jobs().await;
    assert!(app.sent_mails().is_empty());
    send(&app, good).await.expect(202);
}

on_each_database! {
    async fn an_address_sends_five_an_hour(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_SEND_CONFIRMATION", "false")).await;
        let body = valid_message(&app).await;
        // Rejected messages don't count towards the limit.
        for _ in 0..10 {
            send(&app, with_fields(body.clone(), json!({ "email": "nobody" }))).await.expect(422);
        }
        for _ in 0..5 {
            send(&app, body.clone()).await.expect(202);
        }
        let refused = send(&app, body.clone()).await;
        assert_eq!(refused.headers["retry-after"], "720");
        refused.expect_error(429, "RATE_LIMIT_EXCEEDED");
        // A bot's messages count like others.
        send(&app, with_fields(body.clone(), json!({ "website": "x" }))).await.expect(429);
        let elsewhere = |address: &str| address.parse::<IpAddr>().unwrap();
        app.anonymous().post(FORM, body.clone()).client_ip(elsewhere("198.51.100.7")).await.expect(202);
        for n in 0..6 {
            let one_network = elsewhere(&format!("2001:db8:1:2::{n}"));
            app.anonymous().post(FORM, body.clone()).client_ip(one_network).await.expect(if n < 5 { 202 } else { 429 });
        }
        app.clock().advance(Duration::from_secs(720));
        send(&app, body).await.expect(202);
        assert_eq!(kept(&app).await.len(), 12);
    }
}

#[tokio::test]
async fn a_form_that_is_too_old_is_to_be_opened_again() {
    let app = app(TestDatabase::sqlite(), |app| app.set("CONTACT_MAX_TIME", "1h")).await;
    let body = valid_message(&app).await;
    app.clock().advance(Duration::from_secs(3591));
    let refused = send(&app, body.clone()).await;
    assert_eq!(fields(&refused.expect(422).json()), ["token"]);
    // A replica whose clock is slightly behind accepts a new token of another replica, but a token of another day is
    // rejected.
    let token = form_token(&app).await;
    app.clock().set("2029-12-31T23:59:00Z".parse().unwrap());
    send(&app, with_fields(body, json!({ "token": token }))).await.expect(422);
    assert!(kept(&app).await.is_empty());
}

#[tokio::test]
async fn a_closed_form_takes_nothing() {
    let app = app(TestDatabase::sqlite(), |app| app.set("CONTACT_OPEN", "false")).await;
    let form = app.anonymous().get(STATUS).await.expect(200).json();
    assert_eq!((&form["open"], &form["token"]), (&json!(false), &Value::Null));
    let body = json!({ "name": "Ada", "email": "ada@example.org", "message": "Hello" });
    send(&app, body).await.expect_error(403, "CONTACT_CLOSED");
}
