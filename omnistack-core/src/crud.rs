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
//!
//! # Indexes
//!
//! A list is as fast with a million rows as with ten if the migration has an index for what it offers. Of a tenant's notes:
//!
//! ```sql
//! create index notes_by_creation on notes (tenant_id, created_at, id);   -- the default order, and filters by `created_at`
//! create index notes_by_title on notes (tenant_id, title, id);           -- for a column that `.sorts()` or `.filters()`
//! create index notes_deleted on notes (tenant_id, created_at, id) where deleted_at is not null;  -- `?deleted=only`
//! ```
//!
//! `?q=` has an index of the trigrams of all columns that `.searches()`. On PostgreSQL a function of the framework makes it,
//! and the triggers that keep it; it needs no extension:
//!
//! ```sql
//! select omnistack_search('notes', 'title', 'text');
//! ```
//!
//! On SQLite it is a virtual table of FTS5. Without a column `tenant_id` the value of `tenant` is `null`:
//!
//! ```sql
//! create table notes_search_ids (number integer primary key, id blob not null unique) strict;
//! create virtual table notes_search using fts5(
//!     tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
//! create trigger notes_search_insert after insert on notes begin
//!     insert into notes_search_ids (id) values (new.id);
//!     insert into notes_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
//!         concat_ws(char(10), new.title, new.text) from notes_search_ids where id = new.id;
//! end;
//! create trigger notes_search_update after update of title, text on notes begin
//!     insert or replace into notes_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
//!         concat_ws(char(10), new.title, new.text) from notes_search_ids where id = new.id;
//! end;
//! create trigger notes_search_delete after delete on notes begin
//!     delete from notes_search where rowid = (select number from notes_search_ids where id = old.id);
//!     delete from notes_search_ids where id = old.id;
//! end;
//! ```
//!
//! What stays slow with many rows: a text of one or two characters that few rows contain, a text that many rows contain, none
//! of them near the beginning of the list, several filters of which each holds for many rows and all for few, and a second
//! key of `?sort=` where many rows have the same first one. A search is given up after three seconds.

mod column;
mod cursor;
mod describe;
mod fields;
mod list;
mod listing;
mod resource;
mod routes;
mod search;
mod store;

pub use column::{Column, Kind};
pub use fields::Fields;
pub use list::{Deleted, ListRequest};
pub use listing::Listing;
pub use resource::{Resource, Scope};
pub use routes::routes;
pub use search::Search;
pub use store::Crud;
