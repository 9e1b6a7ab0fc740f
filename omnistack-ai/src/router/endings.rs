//! The models of the app that end soon.

use std::collections::BTreeSet;

use jiff::civil::Date;
use omnistack_core::clock::Timestamp;

use super::candidate::ModelDirectory;
use crate::catalog::{ModelInfo, ModelTarget};

/// The time before the end of a model in which the app warns, in days.
pub(super) const WARNING_DAYS: u16 = 60;

/// A model which the app names, and which has ended or ends soon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EndingModel {
    /// The date from which on the provider does not offer it.
    pub retires_on: Date,
    /// The model.
    pub provider: String,
    /// The name of the model at the provider.
    pub model: String,
    /// The name by which the app names it: an alias, or the model itself.
    pub named_as: String,
    /// The model that takes its place, if it is known.
    pub successor: Option<String>,
}

impl EndingModel {
    /// Returns the text of the warning.
    pub(super) fn to_text(&self, today: Date) -> String {
        let Self { retires_on, provider, model, named_as, successor } = self;
        let verb = if *retires_on <= today { "ended" } else { "ends" };
        let name = if named_as == model { String::new() } else { format!(" (named by `{named_as}`)") };
        let hint = successor.as_ref().map_or_else(String::new, |successor| format!("; its successor is {successor}"));
        format!("{provider}/{model}{name} {verb} on {retires_on}{hint}")
    }
}

/// Returns the models that the app names, and that have ended or end within 60 days, by date: those of the aliases at
/// providers that are set up, those of routes, and the default.
pub(super) fn ending_models(directory: &ModelDirectory, default_model: &str, now: Timestamp) -> Vec<EndingModel> {
    let ending = directory.catalog.ending_within(WARNING_DAYS, now);
    let mut found = BTreeSet::new();
    let mut add = |model: &ModelInfo, named_as: &str| {
        if let (Some(retires_on), true) =
            (model.retires_on, ending.iter().any(|ending| ending.target() == model.target()))
        {
            found.insert(EndingModel {
                retires_on,
                provider: model.provider.clone(),
                model: model.id.clone(),
                named_as: named_as.to_owned(),
                successor: model.successor.clone(),
            });
        }
    };
    for (alias, targets) in directory.catalog.aliases() {
        for ModelTarget { provider, model } in targets {
            if let (Some(model), true) =
                (directory.catalog.find(provider, model), directory.provider(provider).is_some())
            {
                add(model, alias);
            }
        }
    }
    for name in directory.routes.models().chain([default_model]) {
        let written =
            ModelTarget::parse(name).and_then(|target| directory.catalog.find(&target.provider, &target.model));
        for model in directory.catalog.by_name(name).chain(written) {
            add(model, name);
        }
    }
    found.into_iter().collect()
}
