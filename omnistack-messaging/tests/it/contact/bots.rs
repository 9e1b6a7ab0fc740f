//! Tests that bots get the same responses as people, and that their messages are dropped.

use std::time::Duration;

use omnistack_core::jobs::JobFilter;
use omnistack_testkit::{TestDatabase, TestResponse, on_each_database};
use serde_json::json;

use super::{app, form_token, kept, send, valid_message, with_fields};

/// Returns what a caller sees of a response, without the message number, request id and time.
fn seen(answer: &TestResponse) -> (u16, Vec<(String, String)>, usize) {
    let varies = ["x-request-id", "ratelimit"];
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status.as_u16(), headers.filter(|(name, _)| !varies.contains(&name.as_str())).collect(), answer.body.len())
}

on_each_database! {
    async fn a_bot_is_told_the_same_and_nothing_comes_of_it(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let body = valid_message(&app).await;
        let filled = send(&app, with_fields(body.clone(), json!({ "website": "https://spam.example" }))).await;
        let token = form_token(&app).await;
        app.clock().advance(Duration::from_secs(2));
        let hasty = send(&app, with_fields(body.clone(), json!({ "token": token }))).await;
        assert!(kept(&app).await.is_empty());
        assert_eq!(app.jobs().list(&JobFilter::default(), None, 10).await.unwrap().len(), 0);
        assert_eq!((app.run_jobs().await, app.sent_mails().len()), (0, 0));

        let person = send(&app, body.clone()).await;
        assert_eq!(kept(&app).await.len(), 1);
        assert_eq!(seen(&filled), seen(&person));
        assert_eq!(seen(&hasty), seen(&person));
        let numbers = [filled, hasty, person].map(|answer| answer.expect(202).json()["reference"].clone());
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2]);

        // Validation errors do not reveal that the message was recognised as spam either.
        let wrong = json!({ "email": "nobody", "website": "https://spam.example" });
        let refused = send(&app, with_fields(body, wrong)).await.expect(422).json();
        assert!(!refused.to_string().contains("website"));
    }

    async fn three_seconds_make_a_person_unless_told_otherwise(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let body = with_fields(valid_message(&app).await, json!({ "token": form_token(&app).await }));
        app.clock().advance(Duration::from_secs(3));
        send(&app, body).await.expect(202);
        assert_eq!(kept(&app).await.len(), 1);
    }
}

#[tokio::test]
async fn without_the_check_no_token_is_asked_for() {
    let app = app(TestDatabase::sqlite(), |app| app.set("CONTACT_MIN_TIME", "0s")).await;
    assert_eq!(form_token(&app).await, serde_json::Value::Null);
    send(&app, json!({ "name": "Ada", "email": "ada@example.org", "message": "Hello" })).await.expect(202);
    assert_eq!(kept(&app).await.len(), 1);
}
