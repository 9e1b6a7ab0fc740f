//! Tables that modules declare.

use std::time::Duration;

/// A table that core maintains: the table of a resource, or one with rows of tenants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeclaredTable {
    pub(crate) name: &'static str,
    /// Whether each row belongs to the tenant in its column `tenant_id`.
    pub(crate) has_tenant: bool,
    /// Whether it is the table of a resource, which publishes its changes.
    pub(crate) is_resource: bool,
    /// Age at which soft-deleted rows are deleted permanently.
    pub(crate) purge_after: Option<Duration>,
}
