//! Named routes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{complexity::Complexity, experiment::ExperimentUnit, strategy::RouteStrategy};
use crate::catalog::check_name;

/// The routes that come with this crate.
const ROUTES: &str = include_str!("routes.toml");
/// The most routes of an app.
const MAX_ROUTES: usize = 500;
/// The most targets of a route.
const MAX_TARGETS_PER_ROUTE: usize = 20;
/// The greatest weight of a target.
const MAX_WEIGHT: u32 = 1_000_000;

/// The named routes of an app: under which name a caller reaches which models, and in which order they are tried.
///
/// ```
/// use omnistack_ai::ModelRoutes;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let routes = ModelRoutes::from_toml(
///     r#"
///     [routes.support]
///     strategy = "weighted"
///     targets = [{ model = "fast", weight = 9 }, { model = "fake/fake-large", weight = 1 }]
///     "#,
/// )?;
/// assert_eq!(routes.names().collect::<Vec<_>>(), ["support"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRoutes(BTreeMap<String, ModelRoute>);

/// A named route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelRoute {
    #[serde(default)]
    pub(super) strategy: RouteStrategy,
    pub(super) targets: Vec<RouteEntry>,
    /// The unit that keeps its variant, for the strategy `experiment`.
    pub(super) sticky_by: Option<ExperimentUnit>,
    /// The feature flag whose variant decides, for the strategy `experiment`.
    pub(super) flag: Option<String>,
}

/// A target of a route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    /// A model, an alias, or `provider/model`.
    pub(super) model: String,
    #[serde(default = "default_weight")]
    pub(super) weight: u32,
    pub(super) complexity: Option<Complexity>,
    /// The name of the variant, for the strategy `experiment`.
    pub(super) variant: Option<String>,
}

const fn default_weight() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesFile {
    #[serde(default)]
    routes: BTreeMap<String, ModelRoute>,
}

/// The error of routes that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the routes are not accepted: {}", .problems.join("; "))]
pub struct RoutesError {
    problems: Vec<String>,
}

impl RoutesError {
    /// Returns all problems.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl ModelRoutes {
    /// Returns the routes that come with this crate: `auto`, for which the difficulty of the request decides.
    pub fn built_in() -> Self {
        let routes = Self::from_toml(ROUTES);
        debug_assert!(routes.is_ok(), "the built-in routes are correct");
        routes.unwrap_or_default()
    }

    /// Reads routes. See the chapter *Routing and budgets* of the book for the form.
    ///
    /// # Errors
    /// Fails with all problems of the text.
    pub fn from_toml(text: &str) -> Result<Self, RoutesError> {
        let file: RoutesFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let place =
                before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1));
            RoutesError { problems: vec![format!("{place}{}", error.message())] }
        })?;
        let mut problems: Vec<String> = file
            .routes
            .iter()
            .filter_map(|(name, route)| {
                let problem = check_name(name).and_then(|()| route.check()).err()?;
                Some(format!("the route `{}`: {problem}", name.escape_debug()))
            })
            .collect();
        if file.routes.len() > MAX_ROUTES {
            problems.push(format!("there are more than {MAX_ROUTES} routes"));
        }
        if problems.is_empty() { Ok(Self(file.routes)) } else { Err(RoutesError { problems }) }
    }

    /// Returns these routes with further ones, which replace those of the same name.
    #[must_use]
    pub fn with(mut self, routes: Self) -> Self {
        self.0.extend(routes.0);
        self
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&ModelRoute> {
        self.0.get(name)
    }

    /// Returns the models and aliases that routes name.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|route| &route.targets).map(|target| target.model.as_str())
    }
}

impl ModelRoute {
    fn check(&self) -> Result<(), String> {
        if self.targets.is_empty() || self.targets.len() > MAX_TARGETS_PER_ROUTE {
            return Err(format!("it needs from 1 to {MAX_TARGETS_PER_ROUTE} targets"));
        }
        for target in &self.targets {
            check_name(&target.model)?;
            let model = target.model.as_str();
            if target.weight > MAX_WEIGHT {
                return Err(format!("the weight of `{model}` must be from 0 to {MAX_WEIGHT}"));
            }
            let needs_complexity = self.strategy == RouteStrategy::Complexity;
            if needs_complexity && target.complexity.is_none() {
                return Err(format!("`{model}` needs `complexity`: `simple`, `moderate` or `complex`"));
            }
            if !needs_complexity && target.complexity.is_some() {
                return Err(format!("`complexity` of `{model}` is for the strategy `complexity`"));
            }
        }
        self.check_experiment()?;
        let needs_weight = matches!(self.strategy, RouteStrategy::Weighted | RouteStrategy::Experiment);
        if needs_weight && self.targets.iter().all(|target| target.weight == 0) {
            return Err("at least one target needs a weight".to_owned());
        }
        Ok(())
    }

    /// Returns the names and the weights of the variants of an experiment.
    pub(super) fn variants(&self) -> Vec<(String, u32)> {
        self.targets.iter().filter_map(|target| Some((target.variant.clone()?, target.weight))).collect()
    }

    fn check_experiment(&self) -> Result<(), String> {
        if self.strategy != RouteStrategy::Experiment {
            let has_variant = self.targets.iter().any(|target| target.variant.is_some());
            let is_free = !has_variant && self.sticky_by.is_none() && self.flag.is_none();
            return if is_free {
                Ok(())
            } else {
                Err("`variant`, `sticky_by` and `flag` are for the strategy `experiment`".to_owned())
            };
        }
        for (place, target) in self.targets.iter().enumerate() {
            let Some(variant) = &target.variant else {
                return Err(format!("`{}` needs a `variant`", target.model));
            };
            check_name(variant)?;
            if self.targets[..place].iter().any(|other| other.variant.as_ref() == Some(variant)) {
                return Err(format!("two targets have the variant `{variant}`"));
            }
        }
        if self.targets.len() < 2 {
            return Err("an experiment needs at least 2 targets".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_replace_those_of_the_same_name() {
        let own = ModelRoutes::from_toml(
            "[routes.auto]\ntargets = [{ model = 'fast' }]\n[routes.b]\ntargets = [{ model = 'b' }]",
        );
        let routes = ModelRoutes::built_in().with(own.unwrap());
        assert_eq!(routes.names().collect::<Vec<_>>(), ["auto", "b"]);
        assert_eq!(routes.get("auto").unwrap().strategy, RouteStrategy::Ordered);
        assert_eq!(ModelRoutes::built_in().get("auto").unwrap().targets.len(), 3);
    }

    #[test]
    fn routes_that_are_not_accepted_are_named() {
        for (text, part) in [
            ("routes = 1", "line 1: "),
            ("[routes.a]\ntargets = []", "from 1 to 20 targets"),
            ("[routes.a]\nstrategy = 'best'\ntargets = [{ model = 'b' }]", "best"),
            ("[routes.a]\ntargets = [{ model = 'b', colour = 'red' }]", "colour"),
            ("[routes.a]\ntargets = [{ model = 'b', weight = 1000001 }]", "the weight of `b`"),
            ("[routes.a]\ntargets = [{ model = 'b', weight = -1 }]", "line 2: "),
            ("[routes.a]\nstrategy = 'weighted'\ntargets = [{ model = 'b', weight = 0 }]", "needs a weight"),
            ("[routes.a]\nstrategy = 'complexity'\ntargets = [{ model = 'b' }]", "`b` needs `complexity`"),
            ("[routes.a]\ntargets = [{ model = 'b', complexity = 'simple' }]", "is for the strategy"),
            ("[routes.a]\ntargets = [{ model = 'b', variant = 'c' }]", "are for the strategy `experiment`"),
            ("[routes.a]\nflag = 'c'\ntargets = [{ model = 'b' }]", "are for the strategy `experiment`"),
            ("[routes.a]\nstrategy = 'experiment'\ntargets = [{ model = 'b' }]", "`b` needs a `variant`"),
            ("[routes.a]\nstrategy = 'experiment'\ntargets = [{ model = 'b', variant = 'c' }]", "at least 2 targets"),
            (
                "[routes.a]\nstrategy = 'experiment'\ntargets = [{ model = 'b', variant = 'd' }, \
                 { model = 'c', variant = 'd' }]",
                "two targets have the variant `d`",
            ),
            ("[routes.'a b']\ntargets = [{ model = 'b' }]", "without spaces"),
        ] {
            let error = ModelRoutes::from_toml(text).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
