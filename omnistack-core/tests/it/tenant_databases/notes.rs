//! A module with notes, and a route that writes rows, jobs, events and audit entries in one transaction.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    crud::{self, Column, Crud, Resource, RowValues},
    db::{Db, Migration, Migrations},
    events::{Delivery, Event, Events, Subscriber},
    http::{Error, Json, Patch, Response, StatusCode},
    id::Id,
    idempotency::Idempotency,
    identity::Identity,
    jobs::{Job, JobContext, JobError, Jobs, NewJob},
    module::{Api, Context, MissingDependency, Module, Mount, Registry},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) const NOTES: &str = "/api/v1/app/notes";
pub(super) const FULL: &str = "/api/v1/app/full";

/// The records of jobs and subscribers.
#[derive(Clone, Default)]
pub(super) struct Records(Arc<(Mutex<Vec<String>>, Notify)>);

impl Records {
    fn push(&self, what: String) {
        self.0.0.lock().unwrap().push(what);
        self.0.1.notify_one();
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    pub(super) fn sorted(&self) -> Vec<String> {
        let mut told = self.all();
        told.sort();
        told
    }

    /// Waits until there are this many records.
    pub(super) async fn wait_for(&self, much: usize) {
        while self.sorted().len() < much {
            tokio::time::timeout(Duration::from_secs(20), self.0.1.notified()).await.unwrap();
        }
    }
}

pub(super) struct Notes {
    told: Records,
    migrations: Migrations,
}

impl Notes {
    pub(super) fn new(told: Records) -> Self {
        Self { told, migrations: &[FIRST] }
    }

    /// Returns the module of the next release.
    pub(super) fn newer(told: Records) -> Self {
        Self { told, migrations: &[FIRST, SECOND] }
    }
}

const FIRST: Migration = Migration {
    name: "0001_notes",
    // Without a policy, so that only the separate databases isolate tenants.
    postgres: "create table notes (id uuid primary key, tenant_id uuid not null, title text not null,
        created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz);
        create table told (text text not null)",
    sqlite: "create table notes (id blob primary key, tenant_id blob not null, title text not null,
        created_at text not null, updated_at text not null, deleted_at text) strict;
        create table told (text text not null) strict",
};

const SECOND: Migration = Migration {
    name: "0002_stars",
    postgres: "alter table notes add stars bigint not null default 7",
    sqlite: "alter table notes add stars integer not null default 7",
};

impl Module for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn register(&self, registry: &mut Registry) {
        let (told, heard) = (self.told.clone(), self.told.clone());
        registry
            .migrations(self.migrations)
            .unprotected_tables(["notes"])
            .routes(Mount::app("/notes"), crud::routes::<Note>(), Crud::from_ctx)
            .routes(Mount::app("/full"), Api::new().routes(routes!(full)), Full::from_ctx)
            .job::<CountNote>(move |_| Ok(told))
            .subscribe("listener", move |_| Ok(RecordingSubscriber(heard)));
    }
}

#[derive(Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(super) struct Note {
    id: Id<Note>,
    title: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Deserialize, Validate, ToSchema)]
pub(super) struct NewNote {
    #[garde(length(chars, min = 1, max = 100))]
    title: String,
}

#[derive(Deserialize, Validate, ToSchema)]
pub(super) struct NoteChange {
    #[garde(skip)]
    #[serde(default)]
    title: Patch<String>,
}

impl Resource for Note {
    const NAME: &'static str = "note";
    const TABLE: &'static str = "notes";
    const PURGE_AFTER: Option<Duration> = Some(Duration::from_hours(30 * 24));
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
        fields.set_if_some("title", change.title.into_nested_option().flatten());
    }
}

/// A job that records that a note was counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CountNote {
    pub(super) title: String,
}

#[async_trait]
impl Job for CountNote {
    const NAME: &'static str = "count";
    type State = Records;

    async fn run(self, told: &Records, _: &JobContext) -> Result<(), JobError> {
        told.push(format!("job {}", self.title));
        Ok(())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NoteWritten {
    pub(super) title: String,
}

impl Event for NoteWritten {
    const NAME: &'static str = "noted";

    fn key(&self) -> String {
        "all".into()
    }
}

/// A subscriber that writes events into the tenant's database.
struct RecordingSubscriber(Records);

#[async_trait]
impl Subscriber for RecordingSubscriber {
    type Event = NoteWritten;

    async fn handle(&self, event: NoteWritten, delivery: &mut Delivery) -> Result<(), JobError> {
        self.0.push(format!("event {}", event.title));
        let tx = delivery.tx().await?;
        tx.query("insert into told (text) values ($1)").bind(event.title).execute().await?;
        Ok(())
    }
}

#[derive(Clone)]
struct Full {
    db: Db,
    jobs: Jobs,
    events: Events,
    audit: AuditLog,
}

impl Full {
    fn from_ctx(ctx: &Context) -> Result<Self, MissingDependency> {
        Ok(Self { db: ctx.get()?, jobs: ctx.get()?, events: ctx.get()?, audit: ctx.get()? })
    }
}

/// Writes a note, enqueues a job, publishes an event and records an audit entry.
#[utoipa::path(post, path = "/", request_body = NewNote, responses((status = 201)))]
async fn full(
    State(Full { db, jobs, events, audit }): State<Full>,
    caller: Identity,
    idempotency: Idempotency,
    Json(NewNote { title }): Json<NewNote>,
) -> Result<Response, Error> {
    let tenant = caller.require_tenant()?;
    let mut tx = db.tenant(tenant).begin().await?;
    let now = Timestamp::from_micros(0);
    tx.query("insert into notes (id, tenant_id, title, created_at, updated_at) values ($1, $2, $3, $4, $4)")
        .bind(Id::<Note>::from_uuid(uuid::Uuid::new_v4()))
        .bind(tenant)
        .bind(title.as_str())
        .bind(now)
        .execute()
        .await?;
    jobs.enqueue_in(&mut tx, NewJob::new(CountNote { title: title.clone() }).tenant(tenant)).await?;
    events.publish_in(&mut tx, &NoteWritten { title: title.clone() }).await?;
    audit.record_in(&mut tx, AuditEntry::new("noted").actor(&caller).resource("note", &title)).await?;
    idempotency.commit(tx, (StatusCode::CREATED, Json(title))).await
}
