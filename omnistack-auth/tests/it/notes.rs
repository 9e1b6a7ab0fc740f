//! A resource of tenants, as an app defines one.

use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crud::{self, Column, Crud, Resource, RowValues},
    db::Migration,
    id::Id,
    module::{Module, Mount, Registry},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) const NOTES: &str = "/api/v1/app/notes";

/// The module with the resource.
pub(crate) struct Notes;

impl Module for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(&[Migration { name: "0001_notes", postgres: POSTGRES, sqlite: SQLITE }]).routes(
            Mount::app("/notes").permissions("notes"),
            crud::routes::<Note>(),
            Crud::from_ctx,
        );
    }
}

const POSTGRES: &str = "
create table notes (
    id uuid primary key, tenant_id uuid not null, title text not null,
    created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz
);
select omnistack_protect('notes');";

const SQLITE: &str = "
create table notes (
    id blob primary key, tenant_id blob not null, title text not null,
    created_at text not null, updated_at text not null, deleted_at text
) strict;";

/// A note of a team.
#[derive(Serialize, ToSchema, omnistack_core::db::FromRow)]
struct Note {
    id: Id<Note>,
    title: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNote {
    #[garde(length(chars, min = 1, max = 100))]
    title: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NoteChange {
    #[garde(inner(length(chars, min = 1, max = 100)))]
    title: Option<String>,
}

impl Resource for Note {
    const NAME: &'static str = "note";
    const TABLE: &'static str = "notes";
    const COLUMNS: &'static [Column] = &[Column::text("title").sortable().filterable().searchable()];
    type Create = NewNote;
    type Update = NoteChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewNote, fields: &mut RowValues) {
        fields.set("title", new.title);
    }

    fn update(change: NoteChange, fields: &mut RowValues) {
        fields.set_if_some("title", change.title);
    }
}
