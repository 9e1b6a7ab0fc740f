//! What an app says about a resource.

use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{Column, Fields};
use crate::{db::Record, id::Id};

/// Who shares a resource's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All callers: no column.
    Everyone,
    /// The members of a tenant: `tenant_id`.
    Tenant,
    /// One user within a tenant: `tenant_id` and `owner_id`.
    Owner,
}

/// A struct kept in a table. See [`crud`](super) for an example.
///
/// The struct's fields bear the columns' names, in Rust and in JSON.
pub trait Resource: Record + Serialize + ToSchema + Send + Sync + 'static {
    /// What one is called: `project`. It names operations and appears in messages.
    const NAME: &'static str;
    /// The table.
    const TABLE: &'static str;
    /// Who shares the rows.
    const SCOPE: Scope = Scope::Tenant;
    /// Whether deleting keeps the row, to be restored.
    const SOFT_DELETE: bool = true;
    /// The columns beside those every table has. `created_at` sorts and filters; `updated_at` does neither, unless it is named
    /// here. What sorts, filters or searches has an [index](super#indexes).
    const COLUMNS: &'static [Column];

    /// The body of a create.
    type Create: DeserializeOwned + Validate<Context: Default> + ToSchema + Send + 'static;
    /// The body of a change: absent fields stay as they are.
    type Update: DeserializeOwned + Validate<Context: Default> + ToSchema + Send + 'static;

    /// Its id.
    fn id(&self) -> Id<Self>;

    /// The columns of a new row.
    fn create(new: Self::Create, fields: &mut Fields);

    /// The columns a change sets.
    fn update(change: Self::Update, fields: &mut Fields);
}

/// The columns callers see, in the order they are selected.
pub(super) fn columns<R: Resource>() -> Vec<Column> {
    let own = R::COLUMNS.iter().copied();
    let declared = R::COLUMNS.iter().any(|column| column.name == "updated_at");
    let created = Column::timestamp("created_at").sorts().filters();
    let updated = (!declared).then_some(Column::timestamp("updated_at"));
    let deleted = R::SOFT_DELETE.then_some(Column::timestamp("deleted_at"));
    std::iter::once(Column::id("id")).chain(own).chain([created]).chain(updated).chain(deleted).collect()
}
