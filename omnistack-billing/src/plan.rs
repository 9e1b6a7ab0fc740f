//! Plans: what tenants can buy, with features and limits.
//!
//! An app has a [`PlanCatalogue`], written in code or in a plan file. The definitions that were ever in use are stored,
//! so that a customer keeps the version of a plan that it has, after the app has changed or removed that plan.

mod catalogue;
mod definition;
mod file;
mod sale;
mod versions;

pub use catalogue::{PlanCatalogue, PlanCatalogueError};
pub(crate) use definition::limit_name;
pub use definition::{PlanDefinition, PlanPrice};
pub(crate) use versions::{PlanVersions, store_versions};
