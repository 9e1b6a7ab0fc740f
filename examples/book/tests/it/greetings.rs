//! Tests of the module in the chapter "Writing a module".

use book_examples::{greetings::Greetings, keys::PartnerKeys};
use omnistack::{
    app::{App, AppBuilder},
    config::Config,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

// ANCHOR: test
fn app(builder: AppBuilder) -> AppBuilder {
    builder.with(Greetings).set("GREETING_NAME", "moon")
}

on_each_database! {
    async fn the_caller_is_greeted_by_name(database: TestDatabase) {
        let app = TestApp::start(database, app).await;
        let anybody = app.anonymous();

        let answer = anybody.get("/api/v1/public/greetings").await.expect(200);
        assert_eq!(answer.json(), json!({"text": "Hello, moon!"}));
        assert_eq!(answer.header("content-language"), Some("en"));

        let answer = anybody.get("/api/v2/public/greetings?name=Ada").await.expect(200);
        assert_eq!(answer.json()["data"]["text"], "Hello, Ada!");
        anybody.get("/api/v1/public/greetings?nmae=Ada").await.expect_error(422, "VALIDATION_FAILED");
    }
}
// ANCHOR_END: test

// ANCHOR: time
#[tokio::test]
async fn the_sixty_first_greeting_of_a_minute_is_refused() {
    let app = TestApp::start(TestDatabase::sqlite(), app).await;
    let anybody = app.anonymous();
    for _ in 0..60 {
        anybody.get("/api/v1/public/greetings").await.expect(200);
    }
    anybody.get("/api/v1/public/greetings").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    app.clock().advance(std::time::Duration::from_secs(1));
    anybody.get("/api/v1/public/greetings").await.expect(200);
}
// ANCHOR_END: time

#[tokio::test]
async fn every_problem_comes_in_one_report() {
    let config =
        Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("GREETING_EVERY", "often"), ("HTTP_TIMEOUT", "30")]);
    let report = App::builder(config).with(Greetings).with(saas::projects::Projects).build().unwrap_err().to_string();
    assert_eq!(report, include_str!("report.txt").trim_end());
}

#[tokio::test]
async fn a_program_is_known_by_its_key() {
    let config = TestDatabase::sqlite().config();
    let app = App::builder(config).with(PartnerKeys).with(saas::projects::Projects).build().unwrap();
    let authenticator: omnistack::identity::Authenticator = app.context().get().unwrap();
    let request = |key: &str| {
        let request = axum::http::Request::builder().header("authorization", format!("Bearer {key}"));
        request.body(()).unwrap().into_parts().0
    };
    let known = authenticator.authenticate(&request("let-me-in")).await.unwrap().unwrap();
    assert!(known.service_account && known.tenant.is_some());
    assert_eq!(authenticator.authenticate(&request("guess")).await.unwrap_err().status(), 401);
}

#[tokio::test]
async fn the_parameters_are_described() {
    let app = TestApp::start(TestDatabase::sqlite(), app).await;
    let description = app.anonymous().get("/openapi.json").await.expect(200).json();
    for version in ["v1", "v2"] {
        let parameters = &description["paths"][format!("/api/{version}/public/greetings")]["get"]["parameters"];
        assert_eq!((&parameters[0]["name"], parameters.as_array().map(Vec::len)), (&json!("name"), Some(1)));
    }
}
