//! Exports of tenants: the rows that modules hand out when a tenant asks for its data.
//!
//! A module registers its rows; `omnistack-storage` writes them, with the tenant's files, into an archive for the tenant.
//!
//! ```
//! use futures_util::{StreamExt as _, TryStreamExt as _, stream};
//! use omnistack_core::{BoxError, db::Db, identity::TenantId, module::Registry, tenant_export::ExportRows};
//! use serde_json::json;
//!
//! fn rows(db: Db, tenant: TenantId) -> ExportRows {
//!     let read = async move {
//!         let mut tx = db.tenant(tenant).begin_read().await?;
//!         let sql = "select name, moons from planets where tenant_id = $1 order by name limit 1000";
//!         let planets: Vec<(String, i64)> = tx.query(sql).bind(tenant).fetch_all().await?;
//!         let rows = planets.into_iter().map(|(name, moons)| Ok(json!({ "name": name, "moons": moons })));
//!         Ok::<_, BoxError>(stream::iter(rows.collect::<Vec<_>>()))
//!     };
//!     stream::once(read).try_flatten().boxed()
//! }
//!
//! fn register(registry: &mut Registry) {
//!     registry.tenant_export("planets", |ctx| {
//!         let db = ctx.get::<Db>()?;
//!         Ok(move |tenant| rows(db.clone(), tenant))
//!     });
//! }
//! ```
//!
//! For a resource, [`Crud::export`](crate::crud::Crud::export) returns the rows.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::{BoxError, id::TenantId};

/// Rows of a tenant, as JSON objects. They must contain no secrets: no hashes of passwords and keys, no sealed values.
pub type ExportRows = BoxStream<'static, Result<Value, BoxError>>;

type ReadRows = Arc<dyn Fn(TenantId) -> ExportRows + Send + Sync>;

/// The rows that modules hand out, by name. It is in the [`Context`](crate::module::Context) of every app. Cheap to clone.
#[derive(Clone, Default)]
pub struct TenantExports(Arc<Mutex<Vec<(&'static str, ReadRows)>>>);

impl TenantExports {
    /// Adds rows. Returns `false` if there are rows of this name.
    pub(crate) fn add(
        &self,
        name: &'static str,
        rows: impl Fn(TenantId) -> ExportRows + Send + Sync + 'static,
    ) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(index) = all.binary_search_by(|(known, _)| known.cmp(&name)) else { return false };
        all.insert(index, (name, Arc::new(rows)));
        true
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(name, _)| *name).collect()
    }

    /// Returns the rows of a tenant by their name, or `None` if no module hands out such rows.
    pub fn rows(&self, name: &str, tenant: TenantId) -> Option<ExportRows> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, read) = all.iter().find(|(known, _)| *known == name)?;
        Some(read(tenant))
    }
}

impl fmt::Debug for TenantExports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TenantExports").field(&self.names()).finish()
    }
}
