//! Values that modules provide to each other while the app is built.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
    sync::Arc,
};

/// Values by type. They are read while the app is built and in [`Module::start`](crate::module::Module::start), never in a
/// handler: each handler has a small state of its own.
#[derive(Clone, Default)]
pub struct Context {
    values: HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>,
}

impl Context {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), (type_name::<T>(), Arc::new(value)));
    }

    /// Returns the value of type `T` that a module or core provides.
    ///
    /// # Errors
    /// Returns [`MissingDependency`] if no module provides one.
    pub fn get<T: Clone + 'static>(&self) -> Result<T, MissingDependency> {
        let value = self.values.get(&TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref::<T>());
        value.cloned().ok_or(MissingDependency(type_name::<T>()))
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.values.contains_key(&id)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.values().map(|(name, _)| name)).finish()
    }
}

/// Error: no module provides a value of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no module provides `{0}`")]
pub struct MissingDependency(pub &'static str);
