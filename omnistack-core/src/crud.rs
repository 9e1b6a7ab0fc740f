//! CRUD resources: rows that callers create, list, search, change, delete and restore, for one tenant.
//!
//! A resource is a struct, its table, and the columns that callers may sort, filter and search by. [`resource()`]
//! has its six routes with their OpenAPI description, cursor pages and numbered pages. Rows outside the caller's
//! scope are reported as 404.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::{clock::Timestamp, crud::{Column, RowValues, Resource}, http::Patch, id::Id, text::Text};
//! use serde::{Deserialize, Serialize};
//! use utoipa::ToSchema;
//!
//! #[derive(Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
//! struct Note {
//!     id: Id<Note>,
//!     title: String,
//!     text: Option<String>,
//!     created_at: Timestamp,
//!     updated_at: Timestamp,
//!     deleted_at: Option<Timestamp>,
//! }
//!
//! #[derive(Deserialize, Validate, ToSchema)]
//! #[garde(allow_unvalidated)]
//! struct NewNote {
//!     title: Text<1, 200>,
//!     text: Option<Text<0, 10_000>>,
//! }
//!
//! #[derive(Deserialize, Validate, ToSchema)]
//! #[garde(allow_unvalidated)]
//! struct NoteChange {
//!     title: Option<Text<1, 200>>,
//!     #[serde(default)]
//!     text: Patch<Text<0, 10_000>>,
//! }
//!
//! impl Resource for Note {
//!     const NAME: &'static str = "note";
//!     const TABLE: &'static str = "notes";
//!     const COLUMNS: &'static [Column] = &[Column::text("title").sortable().filterable().searchable(), Column::text("text").searchable()];
//!     type Create = NewNote;
//!     type Update = NoteChange;
//!
//!     fn id(&self) -> Id<Self> {
//!         self.id
//!     }
//!
//!     fn create(new: NewNote, fields: &mut RowValues) {
//!         fields.set("title", new.title).set("text", new.text);
//!     }
//!
//!     fn update(change: NoteChange, fields: &mut RowValues) {
//!         fields.set_if_some("title", change.title).set_if_some("text", change.text.into_nested_option());
//!     }
//! }
//! ```
//!
//! It is mounted in a module's `register`:
//!
//! ```text
//! registry.resource(Mount::app("/notes"), crud::resource::<Note>());
//! ```
//!
//! [`ResourceMount`] has what can be added: a limit of plans, events of changes, hooks.
//!
//! Besides the named columns, the table has `id`, `created_at` and `updated_at`; `tenant_id` and `owner_id`,
//! depending on its [`Scope`]; and `deleted_at`, unless [`Resource::SOFT_DELETE`] is `false`. On PostgreSQL the
//! migration of a table with a `tenant_id` ends with `select omnistack_protect('notes');`.
//!
//! The rows of a deleted tenant are deleted by core, and soft-deleted rows after [`Resource::PURGE_AFTER`].
//!
//! # What differs for a resource
//!
//! - [`RowValues::refuse`] refuses a value with the name of its field, for rules that a type can't state.
//! - [`ResourceHooks`] run in the transaction of a change: checks against other rows, further columns, jobs, audit
//!   entries.
//! - [`without`](ResourceMount::without) leaves out the route of one [`Verb`], so that your own handler takes its
//!   place. The other routes stay.
//! - [`ListRequest`] and [`ListPage`] make a handler of your own a list with the same parameters, pages and `Link`
//!   header.
//!
//! # Indexes
//!
//! A list stays fast with a million rows if the migration has an index for each order and filter the resource
//! offers. For notes that belong to a tenant:
//!
//! ```sql
//! create index notes_by_creation on notes (tenant_id, created_at, id);   -- the default order, and filters by `created_at`
//! create index notes_by_title on notes (tenant_id, title, id);           -- for a column that `.sortable()` or `.filterable()`
//! create index notes_deleted on notes (tenant_id, created_at, id) where deleted_at is not null;  -- `?deleted=only`
//! ```
//!
//! `?q=` uses an index of the trigrams of all columns that `.searchable()`. A statement of the framework creates it on
//! both databases, with the rows that the table has, and the triggers that update it:
//!
//! ```sql
//! select omnistack_search('notes', 'title', 'text');
//! ```
//!
//! Lists of at most 2,000 rows are searched without this index.
//!
//! These lists stay slow with many rows: a search for one or two characters that few rows contain; a search for a
//! text that many rows contain, but none near the start of the list; several filters that each match many rows
//! and together match few; and a second key of `?sort=` if many rows have the same first key. A search ends with
//! 503 `SEARCH_TIMEOUT` after three seconds.

mod changes;
mod column;
mod cursor;
mod describe;
mod export;
mod fields;
mod hooks;
mod list;
mod listing;
mod maintenance;
mod mount;
mod page;
mod plan_limit;
mod resource;
mod routes;
mod search;
mod statement;
mod store;

pub use changes::{ResourceChanged, RowChange};
pub use column::{Column, ColumnType};
pub use fields::RowValues;
pub use hooks::ResourceHooks;
pub use list::{DeletedFilter, ListRequest};
pub use listing::SqlList;
pub(crate) use maintenance::CrudModule;
pub use mount::{ResourceMount, resource};
pub use page::ListPage;
pub use resource::{Resource, Scope};
pub use routes::{Verb, routes};
pub use search::Search;
pub use store::Crud;
