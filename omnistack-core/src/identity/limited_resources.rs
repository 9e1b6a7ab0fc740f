//! Resources that plans limit.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::{FutureExt as _, future::BoxFuture};

use super::TenantId;
use crate::BoxError;

type CountOf = Arc<dyn Fn(TenantId) -> BoxFuture<'static, Result<u64, BoxError>> + Send + Sync>;

/// The resources that plans limit, such as `projects` and `team_members`, and how those of a tenant are counted. Modules
/// declare them with [`Registry::limited_resource`](crate::module::Registry::limited_resource). It is in the
/// [`Context`](crate::module::Context) of every app. Cheap to clone.
///
/// Amounts that are used, such as requests and tokens, are no resources: their meters count them.
#[derive(Clone, Default)]
pub struct LimitedResources(Arc<RwLock<BTreeMap<&'static str, Option<CountOf>>>>);

impl LimitedResources {
    /// Returns the names, in alphabetical order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Returns how many resources of this name a tenant has. Returns `None` if there are no such resources.
    ///
    /// # Errors
    /// The error of the count.
    pub async fn count(&self, name: &str, tenant: TenantId) -> Result<Option<u64>, BoxError> {
        let count = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().flatten();
        match count {
            Some(count) => count(tenant).await.map(Some),
            None => Ok(None),
        }
    }

    /// Declares resources whose count is set later. Returns `false` if they are declared already.
    pub(crate) fn declare(&self, name: &'static str) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, None).is_none()
    }

    pub(crate) fn set<C, F>(&self, name: &'static str, count: C)
    where
        C: Fn(TenantId) -> F + Send + Sync + 'static,
        F: Future<Output = Result<u64, BoxError>> + Send + 'static,
    {
        let count: CountOf = Arc::new(move |tenant| count(tenant).boxed());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, Some(count));
    }
}

impl fmt::Debug for LimitedResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LimitedResources").field(&self.names()).finish()
    }
}
