//! Tests of the contact form: validation, stored and sent messages, bots.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

mod bots;
mod messages;
mod operators;
mod refusals;
mod webhook;

use std::time::Duration;

use omnistack_core::app::AppBuilder;
use omnistack_messaging::{contact::Contact, email::Mail};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse};
use serde_json::{Value, json};

pub(crate) const FORM: &str = "/api/v1/public/contact";
pub(crate) const STATUS: &str = "/api/v1/public/contact/status";
pub(crate) const ADMIN: &str = "/api/v1/admin/contact";

/// Starts an app with a contact form that sends messages to `help@example.com`.
pub(crate) async fn app(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| {
        more(app.with(Mail::default()).with(Contact::default()).set("CONTACT_TO", "help@example.com"))
    })
    .await
}

/// Returns the token of a form opened now.
pub(crate) async fn form_token(app: &TestApp) -> Value {
    let answer = app.anonymous().get(STATUS).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.expect(200).json()["token"].clone()
}

/// Returns a valid message of a person who takes ten seconds to write it.
pub(crate) async fn valid_message(app: &TestApp) -> Value {
    let token = form_token(app).await;
    app.clock().advance(Duration::from_secs(10));
    json!({ "name": "Ada Lovelace", "email": "ada@example.org", "message": "What does the team plan cost?", "token": token })
}

/// Returns the body with the fields of `more`.
pub(crate) fn with_fields(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

pub(crate) async fn send(app: &TestApp, body: Value) -> TestResponse {
    app.anonymous().post(FORM, body).await
}

pub(crate) async fn kept(app: &TestApp) -> Vec<Value> {
    let list = app.operator().get(format!("{ADMIN}?limit=100")).await.expect(200).json();
    list["items"].as_array().unwrap().clone()
}
