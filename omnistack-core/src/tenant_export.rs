//! Exports of tenants: the rows that modules hand out when a tenant asks for its data.
//!
//! A module registers its rows; `omnistack-storage` writes them, with the tenant's files, into an archive for the tenant.
//!
//! ```
//! use omnistack_core::{
//!     db::{Arguments, Db},
//!     module::Registry,
//!     tenant_export::ExportRow,
//! };
//!
//! #[derive(serde::Serialize, omnistack_core::db::FromRow)]
//! struct PlanetRecord {
//!     name: String,
//!     moons: i64,
//! }
//!
//! impl ExportRow for PlanetRecord {
//!     const SELECT: &'static str = "select name, moons from planets where tenant_id = $1";
//!     const KEY: &'static [&'static str] = &["name"];
//!
//!     fn push_key(&self, values: &mut Arguments) {
//!         values.push(self.name.clone());
//!     }
//! }
//!
//! fn register(registry: &mut Registry) {
//!     registry.tenant_export_table::<PlanetRecord>("planets", |ctx| ctx.get::<Db>());
//! }
//! ```
//!
//! For a resource, [`Crud::export`](crate::crud::Crud::export) returns the rows. Rows that are in no table are a stream of the
//! module's own: [`Registry::tenant_export`](crate::module::Registry::tenant_export).

mod stored_json;
mod table;

pub use stored_json::StoredJson;
pub use table::ExportRow;
pub(crate) use table::table_rows;

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
