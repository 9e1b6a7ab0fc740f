//! The models that a name stands for, at the providers of the app.

use std::sync::Arc;

use omnistack_core::{clock::Timestamp, http::Error};

use super::{
    complexity::Complexity,
    error,
    experiment::ExperimentRule,
    routes::{ModelRoute, ModelRoutes, RouteEntry},
    strategy::RouteStrategy,
};
use crate::{
    catalog::{ModelCatalog, ModelInfo, ModelTarget, Resolved, check_name},
    provider::LlmProvider,
};

/// The most successors of successors that are followed.
const MAX_SUCCESSIONS: usize = 4;

/// The entry of models that no route lists.
const PLAIN_ENTRY: RouteEntry = RouteEntry { model: String::new(), weight: 1, complexity: None, variant: None };

/// The app's models, providers and routes.
#[derive(Clone, Debug)]
pub(super) struct ModelDirectory {
    pub(super) catalog: ModelCatalog,
    pub(super) providers: Vec<Arc<dyn LlmProvider>>,
    pub(super) routes: ModelRoutes,
    /// The order of the models of an alias.
    pub(super) strategy: RouteStrategy,
    pub(super) uses_successors: bool,
}

/// The models that a name stands for.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
    pub(super) strategy: RouteStrategy,
    /// Whether other models take the place of the asked one, which has ended or whose provider is not set up.
    pub(super) is_replaced: bool,
    pub(super) experiment: Option<ExperimentRule>,
}

/// A model at a provider.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) provider: Arc<dyn LlmProvider>,
    pub(super) model: String,
    pub(super) info: Option<ModelInfo>,
    pub(super) weight: u32,
    pub(super) complexity: Option<Complexity>,
    /// The variant of an experiment.
    pub(super) variant: Option<String>,
}

/// The meaning of a name, and whether other models take its place.
struct Meaning {
    targets: Vec<ModelTarget>,
    is_replaced: bool,
    is_model: bool,
}

impl ModelDirectory {
    pub(super) fn provider(&self, name: &str) -> Option<&Arc<dyn LlmProvider>> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// Returns the models that a name stands for. With `only`, those of one provider.
    pub(super) fn find(&self, asked: &str, only: Option<&str>, now: Timestamp) -> Result<Candidates, Error> {
        if let Some(name) = only.filter(|name| self.provider(name).is_none()) {
            return Err(error::unknown_provider(name));
        }
        if check_name(asked).is_err() {
            return Err(error::unknown_model(asked));
        }
        match self.routes.get(asked) {
            Some(route) => self.find_route(asked, route, only, now),
            None => self.find_model(asked, only, now),
        }
    }

    /// Returns the models of a route. Those that have ended or whose provider is not set up are left out.
    fn find_route(
        &self,
        asked: &str,
        route: &ModelRoute,
        only: Option<&str>,
        now: Timestamp,
    ) -> Result<Candidates, Error> {
        let experiment = (route.strategy == RouteStrategy::Experiment).then(|| ExperimentRule {
            route: asked.to_owned(),
            unit: route.sticky_by.unwrap_or_default(),
            flag: route.flag.clone(),
            variants: route.variants(),
        });
        let mut found = Candidates { list: Vec::new(), strategy: route.strategy, is_replaced: false, experiment };
        let (mut first_error, mut first_provider) = (None, None);
        for entry in &route.targets {
            match self.meaning(&entry.model, None, now) {
                Ok(Meaning { targets, is_replaced, .. }) => {
                    found.is_replaced |= is_replaced;
                    self.add(&mut found.list, &targets, only, entry);
                    first_provider = first_provider.or(targets.into_iter().next().map(|target| target.provider));
                }
                Err(problem) => first_error = first_error.or(Some(problem)),
            }
        }
        if found.list.is_empty() {
            let provider = only.or(first_provider.as_deref()).unwrap_or_default();
            return Err(first_error.unwrap_or_else(|| error::not_set_up(asked, provider)));
        }
        Ok(found)
    }

    fn find_model(&self, asked: &str, only: Option<&str>, now: Timestamp) -> Result<Candidates, Error> {
        let meaning = self.meaning(asked, only, now)?;
        let mut list = Vec::new();
        self.add(&mut list, &meaning.targets, only, &PLAIN_ENTRY);
        let mut is_replaced = meaning.is_replaced;
        if list.is_empty() && meaning.is_model {
            match only {
                // The provider may offer models that the catalog knows only at others.
                Some(only) => self.add(&mut list, &[ModelTarget::new(only, asked)], None, &PLAIN_ENTRY),
                None => {
                    let id = meaning.targets.first().map_or(asked, |target| target.model.as_str());
                    self.add(&mut list, &self.catalog.successors(id, now), None, &PLAIN_ENTRY);
                    is_replaced = true;
                }
            }
        }
        if list.is_empty() {
            let provider = only.or_else(|| meaning.targets.first().map(|target| target.provider.as_str()));
            return Err(error::not_set_up(asked, provider.unwrap_or_default()));
        }
        Ok(Candidates { list, strategy: self.strategy, is_replaced, experiment: None })
    }

    /// Returns the meaning of the name of a model or of an alias. A name that the catalog does not have is that of a model
    /// if it names one of the app's providers, or if `only` does.
    fn meaning(&self, asked: &str, only: Option<&str>, now: Timestamp) -> Result<Meaning, Error> {
        let mut name = asked.to_owned();
        let mut is_replaced = false;
        for _ in 0..MAX_SUCCESSIONS {
            match self.catalog.resolve(&name, now) {
                Resolved::Alias(targets) => {
                    let is_alias = self.catalog.aliases().any(|(alias, _)| alias == name);
                    return Ok(Meaning { targets, is_replaced: is_replaced || !is_alias, is_model: false });
                }
                Resolved::Model(targets) => return Ok(Meaning { targets, is_replaced, is_model: true }),
                Resolved::Retired { successor: Some(successor) } if self.uses_successors => {
                    (name, is_replaced) = (successor.to_string(), true);
                }
                Resolved::Retired { successor } => return Err(error::retired(asked, successor.as_ref())),
                Resolved::Unknown => {
                    let written = ModelTarget::parse(&name).filter(|target| self.provider(&target.provider).is_some());
                    let target = written.or_else(|| only.map(|only| ModelTarget::new(only, &name)));
                    let Some(target) = target else { return Err(error::unknown_model(asked)) };
                    return Ok(Meaning { targets: vec![target], is_replaced, is_model: true });
                }
            }
        }
        Err(error::retired(asked, None))
    }

    /// Adds the targets of an entry at providers of the app, each once for a variant.
    fn add(&self, list: &mut Vec<Candidate>, targets: &[ModelTarget], only: Option<&str>, entry: &RouteEntry) {
        for target in targets.iter().filter(|target| only.is_none_or(|only| only == target.provider)) {
            let Some(provider) = self.provider(&target.provider) else { continue };
            let is_known = |known: &Candidate| {
                known.provider.name() == target.provider
                    && known.model == target.model
                    && known.variant == entry.variant
            };
            if list.iter().any(is_known) {
                continue;
            }
            list.push(Candidate {
                provider: Arc::clone(provider),
                model: target.model.clone(),
                info: self.catalog.find(&target.provider, &target.model).cloned(),
                weight: entry.weight,
                complexity: entry.complexity,
                variant: entry.variant.clone(),
            });
        }
    }
}
