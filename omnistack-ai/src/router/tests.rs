//! Tests of the choice between models, without an app.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use omnistack_core::{
    clock::MockClock,
    http::{Error, StatusCode},
    id::Id,
    identity::{Plan, TenantId, UserId},
};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::*;
use crate::{
    call::CallOptions,
    chat::{ChatRequest, ChatResponse, ChatStream, Media, Message, Part, Role, Tool},
    embedding::EmbeddingRequest,
    error::{LlmError, LlmErrorKind},
    provider::{Call, ProviderModel},
};

/// A provider that only answers probes.
#[derive(Debug)]
pub(super) struct ProbedProvider {
    name: &'static str,
    account: &'static str,
    responds: AtomicBool,
    probes: UnboundedSender<()>,
}

impl ProbedProvider {
    pub(super) fn new(name: &'static str, account: &'static str) -> (Arc<Self>, UnboundedReceiver<()>) {
        let (probes, received) = unbounded_channel();
        (Arc::new(Self { name, account, responds: AtomicBool::new(true), probes }), received)
    }

    pub(super) fn respond(&self, responds: bool) {
        self.responds.store(responds, Ordering::SeqCst);
    }

    fn error(&self) -> LlmError {
        LlmError::new(LlmErrorKind::Unreachable, self.name, "does not respond")
    }
}

#[async_trait]
impl LlmProvider for ProbedProvider {
    fn name(&self) -> &str {
        self.name
    }

    fn account(&self) -> &str {
        self.account
    }

    async fn complete(&self, _: &ChatRequest, _: &Call) -> Result<ChatResponse, LlmError> {
        Err(self.error())
    }

    async fn stream(&self, _: &ChatRequest, _: &Call) -> Result<ChatStream, LlmError> {
        Err(self.error())
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        _ = self.probes.send(());
        if self.responds.load(Ordering::SeqCst) { Ok(Vec::new()) } else { Err(self.error()) }
    }
}

pub(super) fn mock_clock() -> MockClock {
    MockClock::at("2027-01-14T00:00:00Z".parse().unwrap())
}

const MODELS: &str = r#"
    [[models]]
    provider = "acme"
    id = "small"
    max_input = 1000
    prices = [{ input = 100, output = 500 }]

    [[models]]
    provider = "acme"
    id = "large"
    prices = [{ input = 1000, output = 9000 }]

    [[models]]
    provider = "bolt"
    id = "large"
    prices = [{ input = 900, output = 9000 }]

    [[models]]
    provider = "bolt"
    id = "words"
    capabilities = ["chat"]

    [[models]]
    provider = "acme"
    id = "vectors"
    mode = "embedding"

    [[models]]
    provider = "bolt"
    id = "vectors"
    mode = "embedding"

    [[models]]
    provider = "bolt"
    id = "other-vectors"
    mode = "embedding"

    [[models]]
    provider = "acme"
    id = "old"
    retires_on = "2027-01-14"
    successor = "large"

    [[models]]
    provider = "acme"
    id = "oldest"
    retires_on = "2026-01-14"
    successor = "old"

    [[models]]
    provider = "gone"
    id = "away"

    [aliases]
    fast = ["acme/small", "bolt/words"]
    smart = ["acme/large", "bolt/large"]
    mixed = ["acme/old", "bolt/large"]
    lost = ["gone/away"]
    embedding = ["acme/vectors", "bolt/other-vectors", "bolt/vectors"]

    [successors]
    away = ["bolt/words"]
    ancient = ["acme/large"]
"#;

const ROUTES: &str = r#"
    [routes.auto]
    strategy = "complexity"
    targets = [{ model = "fast", complexity = "simple" }, { model = "smart", complexity = "complex" }]

    [routes.cheapest]
    strategy = "cheapest"
    targets = [{ model = "bolt/words" }, { model = "acme/large" }, { model = "bolt/large" }, { model = "acme/small" }]

    [routes.shared]
    strategy = "weighted"
    targets = [{ model = "acme/small", weight = 1 }, { model = "acme/large", weight = 1 }, { model = "bolt/large", weight = 1 }]

    [routes.measured]
    strategy = "fastest"
    targets = [{ model = "acme/large" }, { model = "bolt/large" }]

    [routes.ended]
    targets = [{ model = "old" }]

    [routes.partly]
    targets = [{ model = "old" }, { model = "nope" }, { model = "lost" }, { model = "acme/small" }]

    [routes.compared]
    strategy = "experiment"
    sticky_by = "user"
    targets = [
        { model = "acme/small", variant = "a" },
        { model = "bolt/words", variant = "b" },
        { model = "acme/large", variant = "c" },
    ]

    [routes.common]
    strategy = "experiment"
    targets = [{ model = "fast", variant = "old", weight = 0 }, { model = "bolt/words", variant = "new" }]
"#;

/// A router of the providers `acme` and `bolt`.
struct Routed {
    router: AiRouter,
    clock: MockClock,
    user: Option<UserId>,
    plan: Plan,
    options: CallOptions,
}

fn routed(change: impl FnOnce(&mut RouterState)) -> Routed {
    let clock = mock_clock();
    let providers: Vec<Arc<dyn LlmProvider>> =
        vec![ProbedProvider::new("acme", "acme").0, ProbedProvider::new("bolt", "bolt").0];
    let health = ProviderHealth::new(clock.clock(), 3, &providers, None);
    let directory = ModelDirectory {
        catalog: ModelCatalog::from_toml(MODELS).unwrap(),
        providers,
        routes: ModelRoutes::from_toml(ROUTES).unwrap(),
        strategy: RouteStrategy::Ordered,
        uses_successors: false,
    };
    let mut state = RouterState {
        directory,
        default_model: "smart".into(),
        allowed_models: Vec::new(),
        requires_prices: false,
        health,
        flags: FlagVariants::default(),
        clock: clock.clock(),
    };
    change(&mut state);
    let (plan, options) = (Plan::new("test"), CallOptions::default());
    Routed { router: AiRouter::new(state), clock, user: None, plan, options }
}

fn tenant() -> TenantId {
    Id::from_uuid(Uuid::nil())
}

fn ask(model: &str) -> ChatRequest {
    ChatRequest::new(model, [Message::user("Hi")])
}

impl Routed {
    fn find(&self, request: &ChatRequest) -> Result<Vec<RouteTarget>, Error> {
        let (user, plan, options) = (self.user, &self.plan, &self.options);
        self.router.targets(RouteQuery { request, tenant: tenant(), user, plan, options, estimated_input: 100 })
    }

    fn names(&self, request: &ChatRequest) -> String {
        self.find(request).map_or_else(|error| error.code().to_owned(), |targets| join(&targets))
    }

    fn record(&self, target: &RouteTarget, kind: Option<LlmErrorKind>, latency_ms: u64) {
        let error = kind.map(|kind| LlmError::new(kind, "acme", "failed"));
        let result = error.as_ref().map_or(Ok(()), Err);
        self.router.health().record(target, result, Duration::from_millis(latency_ms));
    }
}

fn join(targets: &[RouteTarget]) -> String {
    let names: Vec<String> =
        targets.iter().map(|target| format!("{}/{}", target.provider.name(), target.model)).collect();
    names.join(" ")
}

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

#[test]
fn the_difficulty_decides() {
    let routed = routed(|_| {});
    assert_eq!(routed.names(&ask("auto")), "acme/small bolt/words acme/large bolt/large");
    let hard = "Prove step by step that the algorithm ends, and compare it with quicksort.";
    let hard = ChatRequest::new("auto", [Message::user(hard)]);
    let targets = routed.find(&hard).unwrap();
    assert_eq!(join(&targets), "acme/large bolt/large acme/small bolt/words");
    assert_eq!(targets[0].reason, "auto: the request is complex");
}

#[test]
fn calls_that_stick_keep_their_order() {
    let mut routed = routed(|_| {});
    routed.options.sticky = Some("conversation".into());
    let first = routed.names(&ask("shared"));
    assert!((0..20).all(|_| routed.names(&ask("shared")) == first));
    let mut others = (0..50).map(|other| {
        routed.options.sticky = Some(format!("conversation {other}"));
        routed.names(&ask("shared"))
    });
    assert!(others.any(|other| other != first));
}

#[test]
fn the_fastest_comes_first() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("measured")).unwrap();
    assert_eq!(targets[0].reason, "measured: fastest: not measured yet");
    routed.record(&targets[0], None, 90);
    assert_eq!(routed.names(&ask("measured")), "bolt/large acme/large", "the other one is measured next");
    routed.record(&targets[1], None, 200);
    assert_eq!(routed.names(&ask("measured")), "acme/large bolt/large");
    for _ in 0..20 {
        routed.record(&targets[0], None, 900);
    }
    assert_eq!(routed.names(&ask("measured")), "bolt/large acme/large");
}

#[test]
fn an_account_that_must_wait_is_left_out() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("smart")).unwrap();
    let limited = |target: &RouteTarget, seconds| {
        let mut error = LlmError::new(LlmErrorKind::RateLimited, "acme", "slow down");
        error.retry_after = Some(Duration::from_secs(seconds));
        routed.router.health().record(target, Err(&error), Duration::ZERO);
    };
    limited(&targets[0], 2);
    assert_eq!(routed.names(&ask("smart")), "bolt/large");
    assert_eq!(routed.names(&ask("acme/small")), "PROVIDER_RATE_LIMITED", "another model of the account");
    routed.clock.advance(Duration::from_millis(1_999));
    assert_eq!(routed.names(&ask("smart")), "bolt/large");

    // When all wait, the shortest wait is told.
    limited(&targets[1], 60);
    let refused = routed.find(&ask("smart")).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (StatusCode::TOO_MANY_REQUESTS, "PROVIDER_RATE_LIMITED"));
    assert!(refused.to_string().contains("try again in 1 s"), "{refused}");
    routed.clock.advance(Duration::from_millis(201));
    assert_eq!(routed.names(&ask("smart")), "acme/large");
}

#[test]
fn an_account_without_money_comes_last() {
    let routed = routed(|_| {});
    let targets = routed.find(&ask("smart")).unwrap();
    routed.record(&targets[0], Some(LlmErrorKind::QuotaExhausted), 1);
    assert_eq!(routed.names(&ask("smart")), "bolt/large acme/large");
    routed.clock.advance(Duration::from_secs(60));
    assert_eq!(routed.names(&ask("smart")), "acme/large bolt/large");
}
