//! The catalog of models.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use jiff::{Span, civil::Date, tz::TimeZone};
use omnistack_core::clock::Timestamp;

use super::{
    ModelInfo, ModelTarget,
    file::{CatalogContent, CatalogFile},
};

/// The models and prices that come with this crate, which `cargo xtask models` makes.
const MODELS: &str = include_str!("models.toml");
/// The aliases that come with this crate, and the models of the built-in fake.
const ALIASES: &str = include_str!("aliases.toml");

/// The built-in catalog, which is read once.
static BUILT_IN: LazyLock<ModelCatalog> = LazyLock::new(|| {
    let mut content = CatalogContent::default();
    let mut problems = Vec::new();
    for text in [MODELS, ALIASES] {
        match toml::from_str::<CatalogFile>(text) {
            Ok(file) => problems.extend(content.add(file)),
            Err(error) => problems.push(error.message().to_owned()),
        }
    }
    debug_assert_eq!(problems, Vec::<String>::new(), "the built-in catalog is correct");
    ModelCatalog::from_content(content).unwrap_or_default()
});

/// The error of a catalog that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the catalog of models is not accepted: {}", .problems.join("; "))]
pub struct CatalogError {
    problems: Vec<String>,
}

impl CatalogError {
    /// Returns all problems.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// The meaning of a name of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// An alias: the models that it stands for, in order. Those that have ended are left out.
    Alias(Vec<ModelTarget>),
    /// A model, at each provider that offers it.
    Model(Vec<ModelTarget>),
    /// A model that has ended, and that no alias replaces.
    Retired {
        /// The model that takes its place, if it is known.
        successor: Option<ModelTarget>,
    },
    /// No model of the catalog.
    Unknown,
}

/// The models that are known: their limits and prices, how long they are offered, and the aliases of models.
///
/// Clones share the content.
///
/// ```
/// use omnistack_ai::ModelCatalog;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catalog = ModelCatalog::built_in().with_overrides(
///     r#"
///     [[models]]
///     provider = "azure"
///     id = "my-deployment"
///     base_model = "fake/fake-small"
///
///     [aliases]
///     fast = ["azure/my-deployment"]
///     "#,
/// )?;
/// let model = catalog.find("azure", "my-deployment").ok_or("is in the catalog")?;
/// assert!(model.prices.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ModelCatalog(Arc<CatalogIndex>);

#[derive(Debug, Default)]
struct CatalogIndex {
    /// The content of the files, for [`ModelCatalog::with_overrides`].
    content: CatalogContent,
    models: Vec<ModelInfo>,
    /// The place of a model in `models`, by its provider and its name.
    places: HashMap<String, HashMap<String, usize>>,
    /// The places of the models with a name.
    by_name: HashMap<String, Vec<usize>>,
}

impl ModelCatalog {
    /// Returns the models, prices and aliases that come with this crate.
    pub fn built_in() -> Self {
        BUILT_IN.clone()
    }

    /// Reads a catalog. See the chapter *Models and prices* of the book for the form.
    ///
    /// # Errors
    /// Fails with all problems of the text.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        Self::default().with_overrides(text)
    }

    /// Returns this catalog with further models and aliases, which replace those of the same name.
    ///
    /// # Errors
    /// Fails with all problems of the text.
    pub fn with_overrides(&self, text: &str) -> Result<Self, CatalogError> {
        let file: CatalogFile = toml::from_str(text).map_err(|error| {
            let line =
                error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            CatalogError { problems: vec![format!("{place}{}", error.message())] }
        })?;
        let mut content = self.0.content.clone();
        let problems = content.add(file);
        if problems.is_empty() { Self::from_content(content) } else { Err(CatalogError { problems }) }
    }

    fn from_content(content: CatalogContent) -> Result<Self, CatalogError> {
        let mut problems = Vec::new();
        let models: Vec<ModelInfo> = content
            .models
            .iter()
            .map(|(key, model)| match &model.base_model {
                None => model.clone(),
                Some(base) => match find_base(&content.models, base) {
                    Some(base) => with_base(model, base, !content.without_kind.contains(key)),
                    None => {
                        let name = model.target();
                        problems.push(format!(
                            "the model `{name}`: the catalog has no base model `{}`",
                            base.escape_debug()
                        ));
                        model.clone()
                    }
                },
            })
            .collect();
        if !problems.is_empty() {
            return Err(CatalogError { problems });
        }
        let mut index = CatalogIndex { content, ..CatalogIndex::default() };
        for (place, model) in models.iter().enumerate() {
            index.places.entry(model.provider.clone()).or_default().insert(model.id.clone(), place);
            index.by_name.entry(model.id.clone()).or_default().push(place);
        }
        index.models = models;
        Ok(Self(Arc::new(index)))
    }

    /// Returns a model of a provider.
    pub fn find(&self, provider: &str, model: &str) -> Option<&ModelInfo> {
        let place = self.0.places.get(provider)?.get(model)?;
        self.0.models.get(*place)
    }

    /// Returns the model by which an answer is priced: the one that answered, or, if the catalog does not have it and
    /// the asked one is a deployment with a name of its own, the asked one. Names that only resemble each other are not
    /// taken for the same model.
    pub fn find_answered(&self, provider: &str, asked: &str, answered: &str) -> Option<&ModelInfo> {
        let deployment = || self.find(provider, asked).filter(|model| model.base_model.is_some());
        self.find(provider, answered).or_else(deployment)
    }

    /// Returns the models with a name, of all providers.
    pub fn by_name(&self, model: &str) -> impl Iterator<Item = &ModelInfo> {
        let places = self.0.by_name.get(model).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.0.models.get(*place))
    }

    /// Returns all models, by provider and name.
    pub fn models(&self) -> &[ModelInfo] {
        &self.0.models
    }

    /// Returns the aliases and the targets of each.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &[ModelTarget])> {
        self.0.content.aliases.iter().map(|(name, targets)| (name.as_str(), targets.as_slice()))
    }

    /// Returns the models that take the place of a name after its end, without those that have ended too.
    pub fn successors(&self, name: &str, now: Timestamp) -> Vec<ModelTarget> {
        self.0.content.successors.get(name).map(|targets| self.offered(targets, day(now))).unwrap_or_default()
    }

    /// Returns the meaning of a name: an alias, a model, or `provider/model`. An alias comes before a model, and a
    /// successor of a name before the successor in the prices of its model.
    pub fn resolve(&self, name: &str, now: Timestamp) -> Resolved {
        let today = day(now);
        if let Some(targets) = self.0.content.aliases.get(name) {
            let offered = self.offered(targets, today);
            if !offered.is_empty() {
                return Resolved::Alias(offered);
            }
            let successor =
                targets.iter().find_map(|target| Self::successor(self.find(&target.provider, &target.model)?));
            return Resolved::Retired { successor };
        }
        let mut models: Vec<&ModelInfo> = self.by_name(name).collect();
        if models.is_empty()
            && let Some(target) = ModelTarget::parse(name)
        {
            models.extend(self.find(&target.provider, &target.model));
        }
        let offered: Vec<ModelTarget> =
            models.iter().filter(|model| !model.is_retired_on(today)).map(|model| model.target()).collect();
        if !offered.is_empty() {
            return Resolved::Model(offered);
        }
        let id = models.first().map_or(name, |model| model.id.as_str());
        let successors = self.successors(id, now);
        if !successors.is_empty() {
            return Resolved::Alias(successors);
        }
        if models.is_empty() {
            return Resolved::Unknown;
        }
        Resolved::Retired { successor: models.iter().find_map(|model| Self::successor(model)) }
    }

    /// Returns the models whose end is within so many days, or has passed, by their date.
    pub fn ending_within(&self, days: u16, now: Timestamp) -> Vec<&ModelInfo> {
        let until = day(now).saturating_add(Span::new().days(i64::from(days)));
        let mut ending: Vec<&ModelInfo> =
            self.0.models.iter().filter(|model| model.retires_on.is_some_and(|date| date <= until)).collect();
        ending.sort_by_key(|model| model.retires_on);
        ending
    }

    fn offered(&self, targets: &[ModelTarget], today: Date) -> Vec<ModelTarget> {
        let is_offered = |target: &&ModelTarget| {
            self.find(&target.provider, &target.model).is_none_or(|model| !model.is_retired_on(today))
        };
        targets.iter().filter(is_offered).cloned().collect()
    }

    fn successor(model: &ModelInfo) -> Option<ModelTarget> {
        model.successor.as_deref().map(|successor| ModelTarget::new(&model.provider, successor))
    }
}

/// Returns the day of a time in UTC.
pub(crate) fn day(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now.to_jiff()).date()
}

/// Returns the model with the name `provider/model`, or else the only one with the name. A base has no base itself.
fn find_base<'a>(models: &'a BTreeMap<(String, String), ModelInfo>, name: &str) -> Option<&'a ModelInfo> {
    let exact = ModelTarget::parse(name).and_then(|target| models.get(&(target.provider, target.model)));
    let mut named = models.values().filter(|model| model.id == name);
    let only = named.next().filter(|_| named.next().is_none());
    exact.or(only).filter(|model| model.base_model.is_none())
}

fn with_base(model: &ModelInfo, base: &ModelInfo, has_kind: bool) -> ModelInfo {
    let kind = if has_kind { model } else { base };
    ModelInfo {
        mode: kind.mode,
        capabilities: kind.capabilities,
        max_input: model.max_input.or(base.max_input),
        max_output: model.max_output.or(base.max_output),
        prices: model.prices.clone().or_else(|| base.prices.clone()),
        retires_on: model.retires_on.or(base.retires_on),
        ..model.clone()
    }
}

#[cfg(test)]
mod tests;
