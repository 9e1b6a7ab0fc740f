//! The app's own accounts at payment providers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::PaymentProvider;

/// The app's own accounts at payment providers, by name, and the one that new customers pay through. It is in the
/// [`Context`](crate::module::Context) of every app, and empty without the module of payments. Cheap to clone.
#[derive(Clone, Default)]
pub struct PaymentProviders(Arc<ProvidersInner>);

#[derive(Default)]
struct ProvidersInner {
    by_name: BTreeMap<&'static str, Arc<dyn PaymentProvider>>,
    default: Option<&'static str>,
}

impl PaymentProviders {
    /// Creates the set of these providers. The first one is the default; a later one of the same name replaces an
    /// earlier one.
    pub fn new(providers: impl IntoIterator<Item = Arc<dyn PaymentProvider>>) -> Self {
        let mut inner = ProvidersInner::default();
        for provider in providers {
            inner.default = inner.default.or(Some(provider.name()));
            inner.by_name.insert(provider.name(), provider);
        }
        Self(Arc::new(inner))
    }

    /// Returns the provider that new customers pay through. Returns `None` if there is none.
    pub fn default_provider(&self) -> Option<&Arc<dyn PaymentProvider>> {
        self.get(self.0.default?)
    }

    /// Returns the provider of a name. Returns `None` if the app has no account there.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn PaymentProvider>> {
        self.0.by_name.get(name)
    }

    /// Returns all providers, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn PaymentProvider>> {
        self.0.by_name.values()
    }
}

impl fmt::Debug for PaymentProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PaymentProviders").field(&self.0.by_name.keys()).finish()
    }
}
