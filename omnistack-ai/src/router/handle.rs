//! The router.

use std::{collections::HashSet, sync::Arc, time::Duration};

use omnistack_core::{
    clock::{Clock, Timestamp},
    flag_variant::{FlagSubject, FlagVariants},
    http::Error,
    identity::{Plan, TenantId, UserId},
};

use super::{
    allowed::AllowedModels,
    candidate::{Candidate, Candidates, ModelDirectory},
    complexity::{Complexity, complexity_of},
    endings::{EndingModel, ending_models},
    error,
    experiment::stable_seed,
    health::{Availability, HealthTrial, ProviderHealth},
    needs::RequestNeeds,
    strategy::{OrderSeed, RouteStrategy, TargetFacts, order},
};
use crate::{
    call::CallOptions,
    catalog::{ModelCatalog, ModelInfo},
    chat::ChatRequest,
    embedding::EmbeddingRequest,
    provider::LlmProvider,
};

/// The most targets of a call.
const MAX_TARGETS: usize = 10;
/// The tokens of the output by which costs are compared if the request sets no maximum.
const ASSUMED_OUTPUT_TOKENS: u64 = 1_000;
/// The name that stands for the default model, as no name does.
const DEFAULT_NAME: &str = "default";
/// The alias that answers requests for embeddings without a model.
const EMBEDDING_ALIAS: &str = "embedding";

/// A request that is routed.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// The request. Its model is a model, an alias, a route, `provider/model`, or empty for the default.
    pub request: &'a ChatRequest,
    /// The tenant that pays.
    pub tenant: TenantId,
    /// The user, by whom experiments can choose the variant.
    pub user: Option<UserId>,
    /// The plan of the tenant.
    pub plan: &'a Plan,
    /// The options of the call.
    pub options: &'a CallOptions,
    /// The estimated number of tokens of the input.
    pub estimated_input: u64,
}

/// A request for embeddings that is routed.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingRouteQuery<'a> {
    /// The request. An empty model stands for the alias `embedding`.
    pub request: &'a EmbeddingRequest,
    /// The tenant that pays.
    pub tenant: TenantId,
    /// The plan of the tenant.
    pub plan: &'a Plan,
    /// The options of the call.
    pub options: &'a CallOptions,
    /// The estimated number of tokens of the input.
    pub estimated_input: u64,
}

/// A model at a provider that may answer a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteTarget {
    /// The provider.
    pub provider: Arc<dyn LlmProvider>,
    /// The name of the model at the provider.
    pub model: String,
    /// The facts about the model. `None` if it is not in the catalog.
    pub info: Option<ModelInfo>,
    /// The reason for its place, such as `smart: place 1`.
    pub reason: String,
    /// The trial of a target whose last calls failed. It is given back with the last clone of the target.
    _trial: Option<Arc<HealthTrial>>,
    /// Whether it is of another variant than the caller has in an experiment.
    pub(crate) is_of_other_variant: bool,
}

impl RouteTarget {
    /// Creates a target.
    pub fn new(provider: Arc<dyn LlmProvider>, model: impl Into<String>) -> Self {
        let model = model.into();
        Self { provider, model, info: None, reason: String::new(), _trial: None, is_of_other_variant: false }
    }
}

/// The models that may answer a request, in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct RoutedTargets {
    pub(crate) targets: Vec<RouteTarget>,
    /// The shortest time after which one of them accepts calls, if the accounts of all of them must wait.
    pub(crate) wait: Option<Duration>,
    /// The route and the variant that the caller has in an experiment, such as `support@new`.
    pub(crate) variant: Option<String>,
}

impl RoutedTargets {
    fn ready(self) -> Result<Vec<RouteTarget>, Error> {
        match self.wait {
            Some(wait) => Err(error::all_wait(wait)),
            None => Ok(self.targets),
        }
    }
}

/// The choice of the models that may answer a request, in the order in which they are tried. Clones share the health of
/// the providers.
#[derive(Clone, Debug)]
pub struct AiRouter(Arc<RouterState>);

/// The parts of a router.
#[derive(Debug)]
pub(super) struct RouterState {
    pub(super) directory: ModelDirectory,
    pub(super) default_model: String,
    /// The models that tenants may use. Empty: all.
    pub(super) allowed_models: Vec<String>,
    pub(super) requires_prices: bool,
    pub(super) health: ProviderHealth,
    pub(super) flags: FlagVariants,
    pub(super) clock: Clock,
}

/// A request of either kind.
struct Question<'a> {
    asked: &'a str,
    tenant: TenantId,
    user: Option<UserId>,
    plan: &'a Plan,
    options: &'a CallOptions,
    input: u64,
    output: u64,
    needs: RequestNeeds,
    chat: Option<&'a ChatRequest>,
}

impl AiRouter {
    pub(super) fn new(state: RouterState) -> Self {
        Self(Arc::new(state))
    }

    /// Returns the models that may answer a request, in the order in which they are tried. Those whose account at the
    /// provider must wait are left out. Those whose rate limit is nearly used up come later, and those whose last calls
    /// failed come last.
    ///
    /// # Errors
    /// | status | code | reason |
    /// |---|---|---|
    /// | 403 | `MODEL_NOT_ALLOWED` | the plan, or the app, does not allow the model |
    /// | 404 | `MODEL_NOT_FOUND` | the model is not known, or its provider is not set up |
    /// | 404 | `AI_PROVIDER_NOT_FOUND` | the provider that the options name is not set up |
    /// | 410 | `MODEL_RETIRED` | the model has ended; the details name its `successor` |
    /// | 422 | `MODEL_NOT_SUITABLE` | the model can't call tools, read images, or answer in conversations |
    /// | 422 | `MODEL_PRICE_UNKNOWN` | the price is not known, and the app requires one |
    /// | 429 | `PROVIDER_RATE_LIMITED` | all providers ask to wait; `Retry-After` is the shortest wait |
    pub fn targets(&self, query: RouteQuery<'_>) -> Result<Vec<RouteTarget>, Error> {
        self.route(query)?.ready()
    }

    /// Returns the targets of [`targets`](Self::targets), also if all of them must wait.
    pub(crate) fn route(&self, query: RouteQuery<'_>) -> Result<RoutedTargets, Error> {
        let RouteQuery { request, tenant, user, plan, options, estimated_input } = query;
        let default = self.0.default_model.as_str();
        self.select(&Question {
            asked: if matches!(request.model.as_str(), "" | DEFAULT_NAME) { default } else { &request.model },
            tenant,
            user,
            plan,
            options,
            input: estimated_input,
            output: request.max_output_tokens.unwrap_or(ASSUMED_OUTPUT_TOKENS),
            needs: RequestNeeds::of_chat(request),
            chat: Some(request),
        })
    }

    /// Returns the targets for embeddings, which are all of one model: vectors of different models can't be compared.
    ///
    /// # Errors
    /// Fails as [`targets`](Self::targets) does.
    pub fn embedding_targets(&self, query: EmbeddingRouteQuery<'_>) -> Result<Vec<RouteTarget>, Error> {
        self.route_embeddings(query)?.ready()
    }

    /// Returns the targets of [`embedding_targets`](Self::embedding_targets), also if all of them must wait.
    pub(crate) fn route_embeddings(&self, query: EmbeddingRouteQuery<'_>) -> Result<RoutedTargets, Error> {
        let EmbeddingRouteQuery { request, tenant, plan, options, estimated_input } = query;
        self.select(&Question {
            asked: if request.model.is_empty() { EMBEDDING_ALIAS } else { &request.model },
            tenant,
            user: None,
            plan,
            options,
            input: estimated_input,
            output: 0,
            needs: RequestNeeds::of_embeddings(),
            chat: None,
        })
    }

    /// Returns the health of the providers, which the gateway records.
    pub fn health(&self) -> &ProviderHealth {
        &self.0.health
    }

    /// Returns the models and prices.
    pub fn catalog(&self) -> &ModelCatalog {
        &self.0.directory.catalog
    }

    /// Returns the providers that the app uses.
    pub fn providers(&self) -> &[Arc<dyn LlmProvider>] {
        &self.0.directory.providers
    }

    /// Returns the names of the routes, sorted.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.0.directory.routes.names()
    }

    /// Returns whether a plan allows a model at a provider.
    pub fn allows(&self, plan: &Plan, provider: &str, model: &str) -> bool {
        AllowedModels::new(&self.0.allowed_models, plan).allows(model, provider, model)
    }

    /// Returns the models which the app names, and which have ended or end within 60 days.
    pub fn ending_models(&self) -> Vec<EndingModel> {
        ending_models(&self.0.directory, &self.0.default_model, self.0.clock.now())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn select(&self, question: &Question<'_>) -> Result<RoutedTargets, Error> {
        let asked = question.asked;
        let only = question.options.provider.as_deref();
        let Candidates { list, strategy, is_replaced, experiment } =
            self.0.directory.find(asked, only, self.0.clock.now())?;
        let list = self.permitted(list, question)?;
        let subject = FlagSubject { tenant: question.tenant, user: question.user, plan: question.plan };
        let chosen = experiment.as_ref().and_then(|rule| rule.choose(&list, subject, &self.0.flags));
        let variant = experiment.zip(chosen.as_deref()).map(|(rule, chosen)| rule.reference(chosen));
        let facts: Vec<TargetFacts> = list
            .iter()
            .map(|candidate| {
                let is_chosen = chosen.is_some() && candidate.variant == chosen;
                self.facts(candidate, question, is_chosen)
            })
            .collect();
        let mut ordered = order(&facts, strategy, seed(strategy, question));
        // Variants of an experiment may have models in common.
        let mut seen = HashSet::new();
        ordered.retain(|(place, _)| seen.insert((list[*place].provider.name(), list[*place].model.as_str())));
        // The estimate is not exact, so a model that seems too small is only tried later.
        ordered.sort_by_key(|(place, _)| is_too_long(&list[*place], question.input));
        if question.needs.embeddings
            && let Some(model) = ordered.first().map(|(place, _)| list[*place].model.as_str())
        {
            ordered.retain(|(place, _)| list[*place].model == model);
        }
        let is_only = ordered.len() == 1;
        let reasoned = ordered.into_iter().map(|(place, why)| {
            let replaced = if is_replaced { " (in place of another model)" } else { "" };
            let why = if is_only { "the only target".to_owned() } else { why };
            (&list[place], format!("{asked}{replaced}: {why}"))
        });
        let tokens = question.input.saturating_add(question.output);
        Ok(RoutedTargets { variant, ..self.by_health(reasoned.collect(), tokens, chosen.as_deref()) })
    }

    /// Returns the candidates that the tenant may use and that are able to answer.
    fn permitted(&self, mut list: Vec<Candidate>, question: &Question<'_>) -> Result<Vec<Candidate>, Error> {
        let allowed = AllowedModels::new(&self.0.allowed_models, question.plan);
        list.retain(|candidate| allowed.allows(question.asked, candidate.provider.name(), &candidate.model));
        if list.is_empty() {
            return Err(error::not_allowed(question.asked, question.plan));
        }
        let missing = list.first().map(|candidate| question.needs.missing(candidate)).unwrap_or_default();
        list.retain(|candidate| question.needs.missing(candidate).is_empty());
        if list.is_empty() {
            return Err(error::not_suitable(question.asked, &missing));
        }
        if self.0.requires_prices {
            list.retain(|candidate| candidate.info.as_ref().is_some_and(|info| info.prices.is_some()));
        }
        if list.is_empty() {
            return Err(error::price_unknown(question.asked));
        }
        Ok(list)
    }

    fn facts(&self, candidate: &Candidate, question: &Question<'_>, is_chosen: bool) -> TargetFacts {
        TargetFacts {
            weight: candidate.weight,
            complexity: candidate.complexity,
            cost: candidate.info.as_ref().and_then(|info| info.estimate(question.input, question.output)),
            latency: self.0.health.latency(candidate.provider.name(), &candidate.model),
            is_chosen,
        }
    }

    /// Puts those last whose last calls failed, before them those whose rate limit hardly has so many tokens left, and
    /// leaves out those whose account must wait, unless all must. `chosen` is the variant of the caller.
    fn by_health(&self, ordered: Vec<(&Candidate, String)>, tokens: u64, chosen: Option<&str>) -> RoutedTargets {
        let health = &self.0.health;
        let (mut ready, mut near_limit, mut avoided, mut waiting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut shortest: Option<Duration> = None;
        for (candidate, reason) in ordered {
            let provider = candidate.provider.as_ref();
            let target = |reason, trial| RouteTarget {
                provider: Arc::clone(&candidate.provider),
                model: candidate.model.clone(),
                info: candidate.info.clone(),
                reason,
                _trial: trial,
                is_of_other_variant: chosen.is_some() && candidate.variant.as_deref() != chosen,
            };
            let last = |reason: String| target(format!("{reason}; last, because its last calls failed"), None);
            match health.availability(provider, &candidate.model, tokens) {
                Availability::Ready => ready.push(target(reason, None)),
                Availability::Trial => {
                    // Only a call that begins with this target finds out whether it works.
                    let trial = if ready.is_empty() { health.take_trial(provider, &candidate.model) } else { None };
                    match trial {
                        Some(trial) => {
                            ready.push(target(format!("{reason}; a trial after failures"), Some(Arc::new(trial))));
                        }
                        None => avoided.push(last(reason)),
                    }
                }
                Availability::NearLimit => {
                    let reason = format!("{reason}; later, because its rate limit is nearly used up");
                    near_limit.push(target(reason, None));
                }
                Availability::Avoided => avoided.push(last(reason)),
                Availability::Waiting(wait) => {
                    shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
                    waiting.push(target(reason, None));
                }
            }
        }
        ready.append(&mut near_limit);
        ready.append(&mut avoided);
        let wait = shortest.filter(|_| ready.is_empty());
        let mut targets = if wait.is_some() { waiting } else { ready };
        targets.truncate(MAX_TARGETS);
        RoutedTargets { targets, wait, variant: None }
    }
}

/// Returns whether the input is longer than a model accepts, by its estimate.
fn is_too_long(candidate: &Candidate, input: u64) -> bool {
    candidate.info.as_ref().and_then(|info| info.max_input).is_some_and(|most| input > most)
}

/// Returns what decides between targets: the hash of the text that calls of the tenant have in common, or chance.
fn seed(strategy: RouteStrategy, question: &Question<'_>) -> OrderSeed {
    let complexity = match (strategy, question.chat) {
        (RouteStrategy::Complexity, Some(request)) => complexity_of(request),
        _ => Complexity::Moderate,
    };
    let Some(sticky) = &question.options.sticky else {
        return OrderSeed { complexity, seed: rand::random(), is_sticky: false };
    };
    OrderSeed { complexity, seed: stable_seed(question.tenant, sticky), is_sticky: true }
}
