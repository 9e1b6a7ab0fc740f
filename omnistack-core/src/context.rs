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
        value.cloned().ok_or_else(MissingDependency::of::<T>)
    }

    /// Returns several values, as a tuple of up to eight types. If some are missing, the error names all of them, where
    /// a sequence of calls of [`get`](Self::get) names the first.
    ///
    /// ```
    /// # use omnistack_core::{db::Db, email::Mailer, jobs::Jobs, module::{Context, MissingDependency}};
    /// # fn state(ctx: &Context) -> Result<(), MissingDependency> {
    /// let (db, jobs, mailer) = ctx.get_all::<(Db, Jobs, Mailer)>()?;
    /// # _ = (db, jobs, mailer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A state that is a tuple needs no closure: `registry.job::<SendReport>(Context::get_all)`.
    ///
    /// # Errors
    /// Returns [`MissingDependency`] with the types that no module provides.
    pub fn get_all<T: ContextValues>(&self) -> Result<T, MissingDependency> {
        T::from_context(self)
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

/// A tuple of values that [`Context::get_all`] returns.
pub trait ContextValues: Sized {
    /// Returns the values.
    ///
    /// # Errors
    /// Returns [`MissingDependency`] with all types that no module provides.
    fn from_context(ctx: &Context) -> Result<Self, MissingDependency>;
}

macro_rules! context_values {
    ($($value:ident $at:tt),+) => {
        impl<$($value: Clone + 'static),+> ContextValues for ($($value,)+) {
            fn from_context(ctx: &Context) -> Result<Self, MissingDependency> {
                let found = ($(ctx.get::<$value>(),)+);
                let missing = [$(found.$at.as_ref().err()),+];
                if let Some(missing) = MissingDependency::merge(missing.into_iter().flatten()) {
                    return Err(missing);
                }
                Ok(($(found.$at?,)+))
            }
        }
    };
}
context_values!(A 0);
context_values!(A 0, B 1);
context_values!(A 0, B 1, C 2);
context_values!(A 0, B 1, C 2, D 3);
context_values!(A 0, B 1, C 2, D 3, E 4);
context_values!(A 0, B 1, C 2, D 3, E 4, F 5);
context_values!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
context_values!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// Error: no module provides values of these types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingDependency {
    /// Names of the types, as the compiler writes them.
    types: Vec<&'static str>,
}

impl MissingDependency {
    /// Creates the error for a missing `T`.
    pub fn of<T: 'static>() -> Self {
        Self { types: vec![type_name::<T>()] }
    }

    /// Combines errors. Returns `None` if there are none.
    pub(crate) fn merge<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut types: Vec<&'static str> = Vec::new();
        for name in all.into_iter().flat_map(|missing| &missing.types) {
            if !types.contains(name) {
                types.push(name);
            }
        }
        (!types.is_empty()).then_some(Self { types })
    }

    /// Returns the names of the types, as the compiler writes them.
    pub(crate) fn types(&self) -> &[&'static str] {
        &self.types
    }
}

impl fmt::Display for MissingDependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.types.iter().map(|name| format!("`{name}`")).collect();
        write!(f, "no module provides {}", names.join(" and "))
    }
}

impl std::error::Error for MissingDependency {}
