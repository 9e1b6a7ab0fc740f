//! Tests of the models that a request can have.

use omnistack_core::http::StatusCode;
use serde_json::json;

use super::*;
use crate::{
    chat::{Media, Part, Role, Tool},
    embedding::EmbeddingRequest,
};

#[test]
fn a_name_stands_for_models() {
    let routed = routed(|_| {});
    for (asked, expected) in [
        ("", "acme/large bolt/large"),
        ("default", "acme/large bolt/large"),
        ("fast", "acme/small bolt/words"),
        ("large", "acme/large bolt/large"),
        ("bolt/large", "bolt/large"),
        ("cheapest", "acme/small bolt/large acme/large bolt/words"),
        // A model that the catalog does not have, of a provider of the app.
        ("bolt/new/model", "bolt/new/model"),
        ("mixed", "bolt/large"),
        ("partly", "acme/small"),
        // The model that both variants have is asked once.
        ("common", "bolt/words acme/small"),
        ("away", "bolt/words"),
        ("ancient", "acme/large"),
        ("lost", "MODEL_NOT_FOUND"),
        ("nope", "MODEL_NOT_FOUND"),
        ("gone/new", "MODEL_NOT_FOUND"),
        ("with space", "MODEL_NOT_FOUND"),
        ("old", "MODEL_RETIRED"),
        ("acme/old", "MODEL_RETIRED"),
        ("ended", "MODEL_RETIRED"),
    ] {
        assert_eq!(routed.names(&ask(asked)), expected, "{asked}");
    }
    let long = "x".repeat(10_000);
    let error = routed.find(&ask(&long)).unwrap_err();
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn a_model_that_has_ended_is_named_with_its_successor() {
    let refused = routed(|_| {}).find(&ask("old")).unwrap_err();
    assert_eq!(refused.status(), StatusCode::GONE);
    assert!(refused.to_string().contains("ask for its successor `large`"), "{refused}");

    let follows = routed(|state| state.directory.uses_successors = true);
    for asked in ["old", "oldest", "acme/old", "ended"] {
        let targets = follows.find(&ask(asked)).unwrap();
        assert_eq!(join(&targets), "acme/large", "{asked}");
        assert!(targets[0].reason.contains("in place of another model"), "{}", targets[0].reason);
    }
    let before = routed(|_| {});
    before.clock.set("2027-01-13T23:59:59Z".parse().unwrap());
    assert_eq!(before.names(&ask("old")), "acme/old");
}

#[test]
fn models_that_end_are_known_before() {
    let ends = |now: &str, change: fn(&mut RouterState)| {
        let routed = routed(change);
        routed.clock.set(now.parse().unwrap());
        let ending = routed.router.ending_models();
        ending.iter().map(|model| model.to_text(day(routed.router.now()))).collect::<Vec<_>>()
    };
    assert_eq!(ends("2026-11-14T23:00:00Z", |_| {}), Vec::<String>::new());
    let soon = ends("2026-11-15T00:00:00Z", |_| {});
    assert_eq!(
        soon,
        [
            "acme/old (named by `mixed`) ends on 2027-01-14; its successor is large",
            "acme/old ends on 2027-01-14; its successor is large",
        ]
    );
    let ended = ends("2027-01-15T00:00:00Z", |state| state.default_model = "oldest".into());
    assert_eq!(ended[0], "acme/oldest ended on 2026-01-14; its successor is old");
}

#[test]
fn options_can_name_the_provider() {
    let mut routed = routed(|_| {});
    routed.options.provider = Some("bolt".into());
    for (asked, expected) in [
        ("smart", "bolt/large"),
        ("large", "bolt/large"),
        ("unlisted", "bolt/unlisted"),
        ("small", "bolt/small"),
        ("cheapest", "bolt/large bolt/words"),
    ] {
        assert_eq!(routed.names(&ask(asked)), expected, "{asked}");
    }
    routed.options.provider = Some("nope".into());
    assert_eq!(routed.names(&ask("smart")), "AI_PROVIDER_NOT_FOUND");
}

#[test]
fn plans_and_the_app_limit_the_models() {
    let mut routed = routed(|state| state.allowed_models = vec!["acme/*".into(), "bolt/words".into()]);
    assert_eq!(routed.names(&ask("smart")), "acme/large");
    assert_eq!(routed.names(&ask("bolt/large")), "MODEL_NOT_ALLOWED");
    routed.plan = Plan::new("free").feature("export").feature("ai_model:fast");
    assert_eq!(routed.names(&ask("fast")), "acme/small bolt/words");
    let refused = routed.find(&ask("small")).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (StatusCode::FORBIDDEN, "MODEL_NOT_ALLOWED"));
    assert!(refused.to_string().contains("the plan `free`"), "{refused}");
    assert!(!routed.router.allows(&routed.plan, "acme", "small"));
}

#[test]
fn models_that_can_not_answer_are_left_out() {
    let routed = routed(|_| {});
    let tool = |model: &str| ask(model).tool(Tool::new("find", "Finds", json!({ "type": "object" })));
    assert_eq!(routed.names(&tool("fast")), "acme/small");
    let refused = routed.find(&tool("words")).unwrap_err();
    assert_eq!(refused.code(), "MODEL_NOT_SUITABLE");
    assert!(refused.to_string().contains("does not support tools"), "{refused}");
    let image = Message::new(Role::User, vec![Part::Image(Media::url("https://example.com/a.png"))]);
    assert_eq!(routed.names(&ChatRequest::new("fast", [image])), "acme/small");
    assert_eq!(routed.names(&ask("vectors")), "MODEL_NOT_SUITABLE");

    let strict = self::routed(|state| state.requires_prices = true);
    assert_eq!(strict.names(&ask("fast")), "acme/small");
    assert_eq!(strict.names(&ask("words")), "MODEL_PRICE_UNKNOWN");
    assert_eq!(strict.names(&ask("bolt/new")), "MODEL_PRICE_UNKNOWN");
}

#[test]
fn a_request_that_some_variants_can_not_answer_moves_no_caller_of_the_others() {
    let mut routed = routed(|_| {});
    let mut kept = 0;
    for number in 0..32 {
        routed.user = Some(Id::from_uuid(Uuid::from_u128(number)));
        routed.options.provider = None;
        let own = routed.find(&ask("compared")).unwrap().remove(0);
        if own.provider.name() == "acme" {
            routed.options.provider = Some("acme".to_owned());
            assert_eq!(routed.find(&ask("compared")).unwrap()[0].model, own.model, "{number}");
            kept += 1;
        }
    }
    assert!(kept > 0);
}

#[test]
fn a_model_that_is_too_small_comes_later() {
    let routed = routed(|_| {});
    let (request, tenant) = (ask("fast"), tenant());
    let (plan, options) = (&routed.plan, &routed.options);
    let query = RouteQuery { request: &request, tenant, user: None, plan, options, estimated_input: 1_001 };
    assert_eq!(join(&routed.router.targets(query).unwrap()), "bolt/words acme/small");
}

#[test]
fn embeddings_come_from_one_model() {
    let routed = routed(|_| {});
    let find = |model: &str| {
        let request = EmbeddingRequest::new(model, ["text"]);
        let (plan, options) = (&routed.plan, &routed.options);
        let query = EmbeddingRouteQuery { request: &request, tenant: tenant(), plan, options, estimated_input: 1 };
        routed.router.embedding_targets(query).map_or_else(|error| error.code().to_owned(), |targets| join(&targets))
    };
    for (asked, expected) in [
        ("", "acme/vectors bolt/vectors"),
        ("embedding", "acme/vectors bolt/vectors"),
        ("other-vectors", "bolt/other-vectors"),
        ("bolt/unlisted", "bolt/unlisted"),
        ("large", "MODEL_NOT_SUITABLE"),
    ] {
        assert_eq!(find(asked), expected, "{asked}");
    }
}
