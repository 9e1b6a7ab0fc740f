//! Tests of the choice between models, without an app.

mod models;
mod order;
mod warnings;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use omnistack_core::{
    clock::MockClock,
    http::Error,
    id::Id,
    identity::{Plan, TenantId, UserId},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::*;
use crate::{
    call::CallOptions,
    chat::{ChatRequest, ChatResponse, ChatStream, Message},
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
