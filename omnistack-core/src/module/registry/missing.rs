//! Reports of values that no module provides.

use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet},
};

use super::Registry;
use crate::{
    db::Db,
    module::{
        MissingDependency, Problem,
        providing_module::{providing_module, public_name},
    },
};

/// Values that core creates only if a module requires them.
const CREATED_ON_DEMAND: [&str; 4] = [
    "omnistack::crypto::KeyRing",
    "omnistack::http::client::Client",
    "omnistack::http::client::SettingsClient",
    "omnistack::http::client::GuardedClient",
];

/// A requirement of a module: a type, and what is reported without a value of it.
pub(super) struct Requirement {
    pub(super) id: TypeId,
    /// Name of the type, as the compiler writes it.
    pub(super) name: &'static str,
    pub(super) module: &'static str,
    /// The module's own description and fix.
    pub(super) message: Option<(String, String)>,
}

/// Values that a module needs and that are missing.
pub(crate) struct MissingValues {
    pub(crate) module: &'static str,
    pub(crate) missing: MissingDependency,
    /// Name of the type of the value that can't be created without them.
    pub(crate) creates: Option<&'static str>,
}

impl Registry {
    /// Reports the requirements that no module meets, and the values that are missing. Each type is reported once for
    /// each module. What follows from another problem is not reported: a value that is missing because the module that
    /// provides it has a problem, or because a value that it is created from is missing.
    pub(crate) fn report_missing(&mut self, missing: Vec<MissingValues>) {
        let troubled: BTreeSet<&'static str> = self.problems.iter().map(|problem| problem.module).collect();
        let waiting: BTreeMap<&'static str, Vec<&'static str>> =
            missing.iter().filter_map(|values| Some((values.creates?, values.missing.types().to_vec()))).collect();
        let first = missing.iter().find_map(|values| Some((values.module, *values.missing.types().first()?)));
        let mut reported: BTreeSet<(&'static str, &'static str)> = BTreeSet::new();
        for requirement in std::mem::take(&mut self.requirements) {
            let Requirement { id, name, module, message } = requirement;
            let is_explained = waiting.contains_key(name) || self.follows_from_a_problem(name, &troubled);
            if self.ctx.has(id) || is_explained || !reported.insert((module, name)) {
                continue;
            }
            let problem = match message {
                Some((what, fix)) => Problem { module, what, fix },
                None => self.missing_problem(module, name),
            };
            self.problems.push(problem);
        }
        for MissingValues { module, missing, creates } in missing {
            // A module with a problem may have ended its registration before it provided its own values.
            let is_own = |name: &str| troubled.contains(module) && !name.starts_with("omnistack_");
            for name in missing.types().iter().copied() {
                let problem = match creates {
                    Some(created) if leads_to(name, created, &waiting) => circular(module, created, name),
                    _ if waiting.contains_key(name) || is_own(name) => continue,
                    _ if self.follows_from_a_problem(name, &troubled) => continue,
                    _ => self.missing_problem(module, name),
                };
                if reported.insert((module, name)) {
                    self.problems.push(problem);
                }
            }
        }
        // No app is built with less than its modules contribute.
        if let (true, Some((module, name))) = (self.problems.is_empty(), first) {
            let problem = self.missing_problem(module, name);
            self.problems.push(problem);
        }
    }

    /// Returns whether a value is missing because of a problem that is reported already.
    fn follows_from_a_problem(&self, name: &str, troubled: &BTreeSet<&'static str>) -> bool {
        match providing_module(name) {
            Some(provider) => troubled.contains(provider.name),
            None if !name.starts_with("omnistack_core::") => false,
            // Without a database, core provides little.
            None => {
                !self.ctx.has(TypeId::of::<Db>())
                    || (troubled.contains("core") && CREATED_ON_DEMAND.contains(&public_name(name).as_str()))
            }
        }
    }

    fn missing_problem(&self, module: &'static str, name: &'static str) -> Problem {
        let public = public_name(name);
        let fix = match providing_module(name) {
            Some(provider) if self.added.contains(&provider.name) => {
                format!(
                    "module `{}` provides it in other settings or in another environment: see the documentation of \
                     `{}`",
                    provider.name, provider.call
                )
            }
            Some(provider) => {
                let development = if provider.name == "auth" && name.starts_with("omnistack_core::") {
                    ", or `.with(DevIdentity::default())` while developing"
                } else {
                    ""
                };
                format!("add `.with({})`, of the feature `{}`{development}", provider.call, provider.feature)
            }
            None if CREATED_ON_DEMAND.contains(&public.as_str()) => {
                let last = public.rsplit("::").next().unwrap_or(&public);
                format!("call `registry.require::<{last}>()` in the module")
            }
            None => format!("add the module that provides `{public}`, or provide one with `registry.provide(…)`"),
        };
        Problem { module, what: format!("needs `{public}`, which no module provides"), fix }
    }
}

/// Returns whether the value `first` is created from `needed`, directly or by way of other values that can't be created.
fn leads_to(first: &'static str, needed: &'static str, waiting: &BTreeMap<&'static str, Vec<&'static str>>) -> bool {
    let mut reached = BTreeSet::from([first]);
    let mut next = vec![first];
    while let Some(name) = next.pop() {
        if name == needed {
            return true;
        }
        next.extend(waiting.get(name).into_iter().flatten().copied().filter(|other| reached.insert(*other)));
    }
    false
}

fn circular(module: &'static str, created: &str, needed: &str) -> Problem {
    let (created, needed) = (public_name(created), public_name(needed));
    if created == needed {
        let what = format!("can't create `{created}`");
        return Problem { module, what, fix: "check the settings of the module".into() };
    }
    Problem {
        module,
        what: format!("creates `{created}` from `{needed}`, which is created from `{created}`"),
        fix: "create one of them without the other".into(),
    }
}
