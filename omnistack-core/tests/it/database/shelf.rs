//! Three resources for tests, one for each scope.

use std::time::Duration;

use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crud::{self, Column, Crud, Resource, RowValues, Scope},
    db::Migration,
    http::Patch,
    id::Id,
    module::{Module, Mount, Registry},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) const BOOKS: &str = "/api/v1/app/books";
pub(crate) const DRAFTS: &str = "/api/v1/app/drafts";
pub(crate) const NOTICES: &str = "/api/v1/app/notices";

/// The module with the three resources.
pub(crate) struct Shelf;

impl Module for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .migrations(&[Migration { name: "0001_shelf", postgres: POSTGRES, sqlite: SQLITE }])
            .routes(Mount::app("/books"), crud::routes::<Book>(), Crud::from_ctx)
            .routes(Mount::app("/drafts"), crud::routes::<Draft>(), Crud::from_ctx)
            .routes(Mount::app("/notices"), crud::routes::<Notice>(), Crud::from_ctx);
    }
}

const POSTGRES: &str = "
create table books (
    id uuid primary key, tenant_id uuid not null, code text not null, title text not null, note text,
    pages bigint not null default 0, rating double precision not null default 0, in_print boolean not null default true,
    published timestamptz not null default '2000-01-01T00:00:00Z', series uuid,
    created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz,
    unique (tenant_id, code)
);
select omnistack_protect('books');
create table drafts (
    id uuid primary key, tenant_id uuid not null, owner_id uuid not null, title text not null,
    created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz
);
create unique index drafts_owner_id_title_key on drafts (owner_id, title) where deleted_at is null;
select omnistack_protect('drafts');
create table notices (
    id uuid primary key, words text not null unique, created_at timestamptz not null, updated_at timestamptz not null
);
create index books_by_creation on books (tenant_id, created_at, id);
create index books_by_title on books (tenant_id, title, id);
create index books_by_pages on books (tenant_id, pages, id);
create index books_deleted on books (tenant_id, created_at, id) where deleted_at is not null;
select omnistack_search('books', 'title', 'note');";

const SQLITE: &str = "
create table books (
    id blob primary key, tenant_id blob not null, code text not null, title text not null, note text,
    pages integer not null default 0, rating real not null default 0, in_print integer not null default true,
    published text not null default '2000-01-01T00:00:00.000000Z', series blob,
    created_at text not null, updated_at text not null, deleted_at text,
    unique (tenant_id, code)
) strict;
create table drafts (
    id blob primary key, tenant_id blob not null, owner_id blob not null, title text not null,
    created_at text not null, updated_at text not null, deleted_at text
) strict;
create unique index drafts_owner_id_title_key on drafts (owner_id, title) where deleted_at is null;
create table notices (
    id blob primary key, words text not null unique, created_at text not null, updated_at text not null
) strict;
create index books_by_creation on books (tenant_id, created_at, id);
create index books_by_title on books (tenant_id, title, id);
create index books_by_pages on books (tenant_id, pages, id);
create index books_deleted on books (tenant_id, created_at, id) where deleted_at is not null;
select omnistack_search('books', 'title', 'note');";

/// A resource of a tenant, with a column of every type.
#[derive(Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(crate) struct Book {
    id: Id<Book>,
    code: String,
    title: String,
    note: Option<String>,
    pages: i64,
    rating: f64,
    in_print: bool,
    published: Timestamp,
    series: Option<Uuid>,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
pub(crate) struct NewBook {
    #[garde(length(min = 1))]
    code: String,
    #[serde(default)]
    title: String,
    note: Option<String>,
    #[serde(default)]
    pages: i64,
    #[serde(default)]
    rating: f64,
    #[serde(default)]
    in_print: bool,
    #[serde(default)]
    published: Timestamp,
    series: Option<Uuid>,
}

impl NewBook {
    pub(crate) fn with_code(code: &str) -> Self {
        let (title, published) = (String::new(), Timestamp::default());
        let (pages, rating, in_print) = (0, 0.0, true);
        Self { code: code.into(), title, note: None, pages, rating, in_print, published, series: None }
    }
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
pub(crate) struct BookChange {
    code: Option<String>,
    title: Option<String>,
    #[serde(default)]
    note: Patch<String>,
}

impl Resource for Book {
    const NAME: &'static str = "book";
    const TABLE: &'static str = "books";
    const PURGE_AFTER: Option<Duration> = Some(Duration::from_hours(30 * 24));
    const COLUMNS: &'static [Column] = &[
        Column::text("code"),
        Column::text("title").sortable().filterable().searchable(),
        Column::text("note").searchable(),
        Column::integer("pages").sortable().filterable(),
        Column::real("rating").sortable().filterable(),
        Column::boolean("in_print").sortable().filterable(),
        Column::timestamp("published").sortable().filterable(),
        Column::id("series").filterable(),
        Column::timestamp("updated_at").sortable().filterable(),
    ];
    type Create = NewBook;
    type Update = BookChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewBook, fields: &mut RowValues) {
        fields.set("code", new.code).set("title", new.title).set("note", new.note).set("pages", new.pages);
        fields.set("rating", new.rating).set("in_print", new.in_print).set("published", new.published);
        fields.set("series", new.series);
    }

    fn update(change: BookChange, fields: &mut RowValues) {
        fields
            .set_if_some("code", change.code)
            .set_if_some("title", change.title)
            .set_if_some("note", change.note.into_nested_option());
    }
}

/// A resource of one user.
#[derive(Serialize, ToSchema, omnistack_core::db::FromRow)]
struct Draft {
    id: Id<Draft>,
    title: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct NewDraft {
    title: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct DraftChange {
    title: Option<String>,
}

impl Resource for Draft {
    const NAME: &'static str = "draft";
    const TABLE: &'static str = "drafts";
    const SCOPE: Scope = Scope::Owner;
    const COLUMNS: &'static [Column] = &[Column::text("title")];
    type Create = NewDraft;
    type Update = DraftChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewDraft, fields: &mut RowValues) {
        fields.set("title", new.title);
    }

    fn update(change: DraftChange, fields: &mut RowValues) {
        fields.set_if_some("title", change.title);
    }
}

/// A resource of the whole app, without soft delete.
#[derive(Serialize, ToSchema, omnistack_core::db::FromRow)]
struct Notice {
    id: Id<Notice>,
    words: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct NewNotice {
    words: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct NoticeChange {
    words: Option<String>,
}

impl Resource for Notice {
    const NAME: &'static str = "notice";
    const TABLE: &'static str = "notices";
    const SCOPE: Scope = Scope::Global;
    const SOFT_DELETE: bool = false;
    const COLUMNS: &'static [Column] = &[Column::text("words").filterable()];
    type Create = NewNotice;
    type Update = NoticeChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewNotice, fields: &mut RowValues) {
        fields.set("words", new.words);
    }

    fn update(change: NoticeChange, fields: &mut RowValues) {
        fields.set_if_some("words", change.words);
    }
}
