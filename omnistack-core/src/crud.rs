//! The ordinary resource: created, listed, searched, changed, deleted and restored, for one tenant.
//!
//! A resource is a struct, its table and the columns callers may sort, filter and search by. Everything else follows:
//! six routes with their descriptions, cursors and pages, 404 for what is somebody else's.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::{clock::Timestamp, crud::{Column, Fields, Resource}, http::Patch, id::Id};
//! use serde::{Deserialize, Serialize};
//! use utoipa::ToSchema;
//!
//! #[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
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
//! struct NewNote {
//!     #[garde(length(chars, min = 1, max = 200))]
//!     title: String,
//!     #[garde(inner(length(chars, max = 10_000)))]
//!     text: Option<String>,
//! }
//!
//! #[derive(Deserialize, Validate, ToSchema)]
//! struct NoteChange {
//!     #[garde(inner(length(chars, min = 1, max = 200)))]
//!     title: Option<String>,
//!     #[garde(skip)]
//!     #[serde(default)]
//!     text: Patch<String>,
//! }
//!
//! impl Resource for Note {
//!     const NAME: &'static str = "note";
//!     const TABLE: &'static str = "notes";
//!     const COLUMNS: &'static [Column] = &[Column::text("title").sorts().filters().searches(), Column::text("text").searches()];
//!     type Create = NewNote;
//!     type Update = NoteChange;
//!
//!     fn id(&self) -> Id<Self> {
//!         self.id
//!     }
//!
//!     fn create(new: NewNote, fields: &mut Fields) {
//!         fields.set("title", new.title).set("text", new.text);
//!     }
//!
//!     fn update(change: NoteChange, fields: &mut Fields) {
//!         fields.change("title", change.title).change("text", change.text.change());
//!     }
//! }
//! ```
//!
//! and, in a module's `register`:
//!
//! ```text
//! registry.routes(Mount::app("/notes"), crud::routes::<Note>(), Crud::from_ctx);
//! ```
//!
//! The table has, besides the columns named, `id`, `created_at` and `updated_at`; `tenant_id` and `owner_id` as its
//! [`Scope`] says; and `deleted_at` unless [`Resource::SOFT_DELETE`] is off.

mod column;
mod cursor;
mod describe;
mod fields;
mod list;
mod resource;
mod routes;
mod store;

pub use column::{Column, Kind};
pub use fields::Fields;
pub use list::{Deleted, ListRequest};
pub use resource::{Resource, Scope};
pub use routes::routes;
pub use store::Crud;
