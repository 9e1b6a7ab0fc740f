//! Values that modules provide to and require of each other.

use std::any::{TypeId, type_name};

use super::{MissingValues, ProvideFn, ProvidedLater, Registry, Requirement};
use crate::module::{Context, MissingDependency, providing_module::public_name};

impl Registry {
    /// Provides a value to all modules.
    pub fn provide<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> &mut Self {
        self.claim_type::<T>();
        self.ctx.insert(value);
        self
    }

    /// Like [`provide`](Self::provide), but creates the value from other provided values. The order in which modules
    /// register has no effect.
    pub fn provide_from<T: Clone + Send + Sync + 'static>(
        &mut self,
        value: impl Fn(&Context) -> Result<T, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.claim_type::<T>();
        let provide: ProvideFn = Box::new(move |ctx| {
            // A test may have replaced the value.
            if !ctx.has(TypeId::of::<T>()) {
                let value = value(ctx)?;
                ctx.insert(value);
            }
            Ok(())
        });
        let module = self.module;
        self.provided_later.push(ProvidedLater { module, name: type_name::<T>(), provide });
        self
    }

    /// Records that the module provides a `T`. Only one module may.
    fn claim_type<T: 'static>(&mut self) {
        let id = TypeId::of::<T>();
        if let Some((_, other)) = self.providers.iter().find(|(provided, _)| *provided == id) {
            let what = format!("provides `{}`, which module `{other}` also provides", public_name(type_name::<T>()));
            self.report_problem(what, format!("remove one of the modules `{other}` and `{}`", self.module));
        }
        self.providers.push((id, self.module));
    }

    /// Creates the values of [`provide_from`](Self::provide_from) in the order of their dependencies. Returns what is
    /// missing for those that can't be created.
    pub(crate) fn resolve_provided(&mut self) -> Vec<MissingValues> {
        let mut waiting = std::mem::take(&mut self.provided_later);
        loop {
            let before = waiting.len();
            let mut all_missing = Vec::new();
            waiting.retain(|later| match (later.provide)(&mut self.ctx) {
                Ok(()) => false,
                Err(missing) => {
                    all_missing.push(MissingValues { module: later.module, missing, creates: Some(later.name) });
                    true
                }
            });
            if waiting.is_empty() || waiting.len() == before {
                return all_missing;
            }
        }
    }

    /// Provides a default value, unless a module provides a value of its type.
    pub fn provide_default<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> &mut Self {
        if !self.provides::<T>() {
            self.ctx.insert(value);
        }
        self
    }

    /// Returns whether core or a module provides a `T`, even if it is yet to be created.
    pub fn provides<T: 'static>(&self) -> bool {
        let id = TypeId::of::<T>();
        self.ctx.has(id) || self.providers.iter().any(|(provided, _)| *provided == id)
    }

    /// Returns whether a module requires a `T`.
    pub fn requires<T: 'static>(&self) -> bool {
        self.requirements.iter().any(|requirement| requirement.id == TypeId::of::<T>())
    }

    /// Requires that a module provides a `T`. The build fails if none does.
    pub fn require<T: 'static>(&mut self) -> &mut Self {
        self.add_requirement::<T>(None)
    }

    /// Like [`require`](Self::require), with messages of the module: what is wrong without a `T`, and what to do.
    pub fn require_with_message<T: 'static>(&mut self, what: impl Into<String>, fix: impl Into<String>) -> &mut Self {
        self.add_requirement::<T>(Some((what.into(), fix.into())))
    }

    fn add_requirement<T: 'static>(&mut self, message: Option<(String, String)>) -> &mut Self {
        let (id, name, module) = (TypeId::of::<T>(), type_name::<T>(), self.module);
        self.requirements.push(Requirement { id, name, module, message });
        self
    }

    /// Returns a value that has been provided so far. Core's own values are always there while modules register:
    /// `Db`, `Jobs`, `Events`, `Clock`, `Config`, `Health`. A value of another module is there only if that module
    /// registered first, so read those in the closures, from [`Context`], or in [`after_modules`](Self::after_modules).
    pub fn provided<T: Clone + 'static>(&self) -> Option<T> {
        self.ctx.get().ok()
    }
}
