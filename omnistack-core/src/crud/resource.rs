//! The definition of a resource.

use std::time::Duration;

use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{Column, RowValues};
use crate::{db::Record, id::Id};

/// The scope of a resource: the callers that share its rows.
#[doc(alias = "multi-tenant")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All callers. No column.
    Global,
    /// The members of a tenant. Column `tenant_id`.
    Tenant,
    /// One user within a tenant. Columns `tenant_id` and `owner_id`.
    Owner,
}

/// A struct whose rows are stored in a table. See [`crud`](super) for an example.
///
/// The struct's fields have the names of the columns, in Rust and in JSON.
#[doc(alias("CRUD", "soft delete"))]
pub trait Resource: Record + Serialize + ToSchema + Send + Sync + 'static {
    /// Name of one item, such as `project`; used in operation ids and messages.
    const NAME: &'static str;
    /// Name of the table. On PostgreSQL it may include the schema: `crm.notes`.
    const TABLE: &'static str;
    /// Scope of the rows.
    const SCOPE: Scope = Scope::Tenant;
    /// Whether a deleted row is kept and can be restored.
    #[doc(alias = "soft delete")]
    const SOFT_DELETE: bool = true;
    /// Time after which a soft-deleted row is removed for good, by a nightly job of core. `None` keeps it forever.
    const PURGE_AFTER: Option<Duration> = None;
    /// The columns besides those every table has. `created_at` can be sorted and filtered by; `updated_at` can't,
    /// unless it is declared here. Columns that callers sort, filter or search by need an [index](super#indexes).
    const COLUMNS: &'static [Column];

    /// Request body of a create.
    type Create: DeserializeOwned + Validate<Context: Default> + ToSchema + Send + 'static;
    /// Request body of an update. Absent fields stay unchanged.
    type Update: DeserializeOwned + Validate<Context: Default> + ToSchema + Send + 'static;

    /// Returns the id of the row.
    fn id(&self) -> Id<Self>;

    /// Sets the columns of a new row. It can [refuse](RowValues::refuse) fields.
    fn create(new: Self::Create, fields: &mut RowValues);

    /// Sets the columns that an update changes. It can [refuse](RowValues::refuse) fields.
    fn update(change: Self::Update, fields: &mut RowValues);
}

/// Returns the columns that callers see, in the order they are selected.
pub(super) fn columns<R: Resource>() -> Vec<Column> {
    let own = R::COLUMNS.iter().copied();
    let declared = R::COLUMNS.iter().any(|column| column.name == "updated_at");
    let created = Column::timestamp("created_at").sortable().filterable();
    let updated = (!declared).then_some(Column::timestamp("updated_at"));
    let deleted = R::SOFT_DELETE.then_some(Column::timestamp("deleted_at"));
    std::iter::once(Column::id("id")).chain(own).chain([created]).chain(updated).chain(deleted).collect()
}
