//! The contact form: who may write, what is kept and sent, and what bots are told.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bots;
mod messages;
mod operators;
mod refusals;
mod webhook;

use std::time::Duration;

use omnistack_core::{app::AppBuilder, contact::Contact, email::Mail};
use omnistack_testkit::{Answer, TestApp, TestDatabase};
use serde_json::{Value, json};

pub(crate) const FORM: &str = "/api/v1/public/contact";
pub(crate) const STATUS: &str = "/api/v1/public/contact/status";
pub(crate) const ADMIN: &str = "/api/v1/admin/contact";

/// An app with a form whose messages go to `help@example.com`.
pub(crate) async fn app(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| {
        more(app.with(Mail::default()).with(Contact::default()).set("CONTACT_TO", "help@example.com"))
    })
    .await
}

/// The token of a form that is opened now.
pub(crate) async fn open(app: &TestApp) -> Value {
    let answer = app.anonymous().get(STATUS).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.expect(200).json()["token"].clone()
}

/// What a person sends who has taken ten seconds to write.
pub(crate) async fn written(app: &TestApp) -> Value {
    let token = open(app).await;
    app.clock().advance(Duration::from_secs(10));
    json!({ "name": "Ada Lovelace", "email": "ada@example.org", "message": "What does the team plan cost?", "token": token })
}

/// The same with other fields.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

pub(crate) async fn send(app: &TestApp, body: Value) -> Answer {
    app.anonymous().post(FORM, body).await
}

pub(crate) async fn kept(app: &TestApp) -> Vec<Value> {
    let list = app.admin().get(format!("{ADMIN}?limit=100")).await.expect(200).json();
    list["items"].as_array().unwrap().clone()
}
