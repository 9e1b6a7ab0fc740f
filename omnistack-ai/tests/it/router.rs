//! Tests of the models, the routes and the choice between them, in an app.

#![cfg(test)]

use std::time::Duration;

use omnistack_ai::{Ai, AiRouter, CallOptions, ChatRequest, LlmError, LlmErrorKind, Message, RouteQuery};
use omnistack_core::{app::App, id::Id, identity::Plan};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

const MODELS: &str = "/api/v1/admin/ai/models";
const PROVIDERS: &str = "/api/v1/admin/ai/providers";

/// Writes a file for a setting, and returns its path.
fn file(name: &str, text: &str) -> String {
    let path = std::env::temp_dir().join(format!("omnistack-ai-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn models(client: &TestClient, query: &str) -> Vec<Value> {
    let list = client.get(format!("{MODELS}?{query}")).await.expect(200).json();
    list["items"].as_array().unwrap().clone()
}

/// Returns the targets of a name as `provider/model`, or the code of the error.
fn targets(app: &TestApp, model: &str) -> Vec<String> {
    let router: AiRouter = app.app().context().get().unwrap();
    let request = ChatRequest::new(model, [Message::user("Hi")]);
    let (plan, options) = (Plan::new("test"), CallOptions::default());
    let (tenant, request, plan, options) = (Id::from_uuid(uuid::Uuid::nil()), &request, &plan, &options);
    let query = RouteQuery { request, tenant, user: None, plan, options, estimated_input: 10 };
    match router.targets(query) {
        Ok(targets) => targets.iter().map(|target| format!("{}/{}", target.provider.name(), target.model)).collect(),
        Err(error) => vec![error.code().to_owned()],
    }
}

on_each_database! {
    async fn operators_see_models_prices_and_ends(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
        let operator = app.operator();
        let fakes = models(&operator, "available=true").await;
        let names: Vec<&str> = fakes.iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(names, ["fake-embedding", "fake-large", "fake-small"]);
        assert_eq!(fakes[1]["prices"][0]["input"], 2_000_000);
        assert_eq!((&fakes[1]["retires_on"], &fakes[1]["retired"]), (&json!(null), &json!(false)));

        let all = operator.get(MODELS).await.expect(200).json();
        assert!(all["items"].as_array().unwrap().len() > 200);
        assert_eq!(all["routes"], json!(["auto"]));
        let aliases: Vec<&str> =
            all["aliases"].as_array().unwrap().iter().map(|alias| alias["name"].as_str().unwrap()).collect();
        assert_eq!(aliases, ["cheap", "embedding", "fast", "smart"]);

        let ended = models(&operator, "provider=openai&ending_within_days=0").await;
        let old = ended.iter().find(|model| model["id"] == "gpt-4o").unwrap();
        assert_eq!((&old["retires_on"], &old["retired"]), (&json!("2027-01-14"), &json!(true)));
        assert_eq!((&old["successor"], &old["available"]), (&json!("gpt-6-luna"), &json!(false)));
        assert!(models(&operator, "mode=embedding&provider=fake").await.len() == 1);
        for query in ["mode=song", "ending_within_days=3651", "page=1"] {
            operator.get(format!("{MODELS}?{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
        app.user().get(MODELS).await.expect(403);
        app.anonymous().get(PROVIDERS).await.expect(401);
    }

    async fn operators_see_the_health_of_providers(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
        let operator = app.operator();
        let router: AiRouter = app.app().context().get().unwrap();
        let before = operator.get(PROVIDERS).await.expect(200).json();
        let fake = json!({ "name": "fake", "account": "fake", "wait_ms": null, "avoided": false, "models": [] });
        assert_eq!(before, json!({ "items": [fake] }));

        let request = ChatRequest::new("smart", [Message::user("Hi")]);
        let (plan, options) = (Plan::new("test"), CallOptions::default());
        let (tenant, request, plan, options) = (Id::from_uuid(uuid::Uuid::nil()), &request, &plan, &options);
        let query = RouteQuery { request, tenant, user: None, plan, options, estimated_input: 10 };
        let target = router.targets(query).unwrap().remove(0);
        router.health().record(&target, Ok(()), Duration::from_millis(20));
        let mut error = LlmError::new(LlmErrorKind::RateLimited, "fake", "slow down");
        error.retry_after = Some(Duration::from_secs(2));
        router.health().record(&target, Err(&error), Duration::from_millis(5));

        let after = operator.get(PROVIDERS).await.expect(200).json();
        let wait = after["items"][0]["wait_ms"].as_u64().unwrap();
        assert!((2_000..=2_200).contains(&wait), "{wait}");
        let model = &after["items"][0]["models"][0];
        assert_eq!((&model["model"], &model["calls"], &model["latency_ms"]), (&json!("fake-large"), &json!(2), &json!(20)));
        assert_eq!(targets(&app, "smart"), ["PROVIDER_RATE_LIMITED"]);
        app.clock().advance(Duration::from_millis(2_201));
        assert_eq!(targets(&app, "smart"), ["fake/fake-large"]);
    }

    async fn the_fake_answers_to_aliases_routes_and_old_names(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
        for (asked, expected) in [
            ("", "fake/fake-large"),
            ("fast", "fake/fake-small"),
            ("fake-small", "fake/fake-small"),
            ("fake/fake-tiny", "fake/fake-tiny"),
            ("gpt-4o", "fake/fake-small"),
            ("claude-sonnet-4-5", "fake/fake-large"),
            ("gpt-4o-mini", "MODEL_RETIRED"),
            ("nope", "MODEL_NOT_FOUND"),
        ] {
            assert_eq!(targets(&app, asked), [expected], "{asked}");
        }
        assert_eq!(targets(&app, "auto"), ["fake/fake-small", "fake/fake-large"]);
    }

    async fn settings_change_models_and_routes(database: TestDatabase) {
        let models_file = file(
            "models",
            "[[models]]\nprovider = 'fake'\nid = 'my-deploy'\nbase_model = 'fake-large'\n\
             [[models]]\nprovider = 'fake'\nid = 'no-price'\n[aliases]\nfast = ['fake/my-deploy']\n",
        );
        let routes = file("routes", "[routes.support]\ntargets = [{ model = 'fast' }, { model = 'fake-small' }]\n");
        let app = TestApp::start(database, |app| {
            app.set("AI_MODELS_FILE", models_file)
                .set("AI_ROUTES_FILE", routes)
                .set("AI_DEFAULT_MODEL", "support")
                .set("AI_REQUIRE_PRICES", "true")
                .set("AI_ALLOWED_MODELS", "fake/my-*, no-price, support")
                .with(Ai::from_env())
        })
        .await;
        for (asked, expected) in [
            ("", vec!["fake/my-deploy", "fake/fake-small"]),
            ("support", vec!["fake/my-deploy", "fake/fake-small"]),
            ("fast", vec!["fake/my-deploy"]),
            ("fake-small", vec!["MODEL_NOT_ALLOWED"]),
            ("no-price", vec!["MODEL_PRICE_UNKNOWN"]),
        ] {
            assert_eq!(targets(&app, asked), expected, "{asked}");
        }
        let listed = models(&app.operator(), "available=true").await;
        let mine = listed.iter().find(|model| model["id"] == "my-deploy").unwrap();
        assert_eq!((&mine["base_model"], &mine["prices"][0]["output"]), (&json!("fake-large"), &json!(10_000_000)));
    }
}

#[tokio::test]
async fn files_that_are_not_accepted_keep_the_app_from_starting() {
    let models = file("wrong-models", "[[models]]\nprovider = 'fake'\nid = 'x'\nbase_model = 'nope'\n");
    let routes = file("wrong-routes", "[routes.a]\ntargets = []\n");
    for (setting, value, part) in [
        ("AI_MODELS_FILE", models.as_str(), "no base model `nope`"),
        ("AI_MODELS_FILE", "/nowhere/models.toml", "can't be read"),
        ("AI_ROUTES_FILE", routes.as_str(), "from 1 to 20 targets"),
        ("AI_STRATEGY", "complexity", "AI_STRATEGY"),
    ] {
        let database = TestDatabase::sqlite();
        let built = App::builder(database.config()).set(setting, value).with(Ai::from_env()).build();
        let problem = built.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(problem.contains(part), "{setting}={value}: {problem}");
    }
}
