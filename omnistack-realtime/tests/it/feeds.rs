//! Tests of the feeds: events, changes of rows and progress of jobs as messages.

#![cfg(test)]

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use omnistack_core::{
    ShutdownToken,
    app::AppBuilder,
    async_trait,
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    crud::{self, Column, Resource, RowValues, Scope},
    db::{self, FromRow, Migration, Tx},
    events::{Event, Events},
    http::{Error, StatusCode},
    id::Id,
    identity::TenantId,
    jobs::{Job, JobContext, JobError, JobState, Jobs, NewJob},
    module::{Module, Mount, Registry},
    realtime::{PublishRealtime, RealtimeChannel, RealtimeMessage, RealtimePublisher},
    usage_threshold::UsageThresholdReached,
    webhook::{EndpointDisabledReason, WebhookEndpointDisabled},
};
use omnistack_realtime::Channels;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};
use utoipa::ToSchema;

use crate::live::{LiveClient, app_with};

/// A publisher that keeps what it is asked to publish, and fails a number of times before.
#[derive(Clone, Default)]
struct Recorder {
    sent: Arc<Mutex<Vec<RealtimeMessage>>>,
    failures: Arc<Mutex<Vec<StatusCode>>>,
}

#[async_trait]
impl PublishRealtime for Recorder {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), Error> {
        if let Some(status) = self.failures.lock().unwrap().pop() {
            return Err(Error::new(status, "TEST", "the test refuses it"));
        }
        self.sent.lock().unwrap().push(message);
        Ok(())
    }

    async fn publish_in(&self, _: &mut Tx, message: RealtimeMessage) -> Result<(), db::Error> {
        self.sent.lock().unwrap().push(message);
        Ok(())
    }
}

impl Recorder {
    /// Returns the messages, each as its channel and its content.
    fn messages(&self) -> Vec<(String, Value)> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|message| (message.channel.name().to_owned(), message.data.clone())).collect()
    }

    fn add_to(&self, app: AppBuilder) -> AppBuilder {
        app.replace(RealtimePublisher::new(self.clone()))
    }
}

/// A publisher that reads the state of a job when it is told of its end.
#[derive(Clone)]
struct EndWitness {
    jobs: Arc<OnceLock<Jobs>>,
    /// The state of each message, and the stored one.
    seen: UnboundedSender<(String, JobState)>,
}

#[async_trait]
impl PublishRealtime for EndWitness {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), Error> {
        let told = message.data["state"].as_str().unwrap();
        if told != "running" {
            let id = message.data["job"].as_str().unwrap().parse().unwrap();
            let (job, _) = self.jobs.get().unwrap().get(id).await.unwrap().unwrap();
            self.seen.send((told.to_owned(), job.state)).unwrap();
        }
        Ok(())
    }

    async fn publish_in(&self, _: &mut Tx, _: RealtimeMessage) -> Result<(), db::Error> {
        Ok(())
    }
}

/// A module with an event, a job, and resources of each scope.
struct Notes;

impl Module for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .publish_to_realtime("live-notes", |event: &NoteShared, delivery| {
                let channel = RealtimeChannel::of_tenant(delivery.tenant()?, "notes").ok()?;
                if event.note == 0 { None } else { RealtimeMessage::new(channel, event).ok() }
            })
            .job::<Import>(|_| Ok(()))
            .migrations(NOTES)
            .resource(Mount::app("/notes"), crud::resource::<Note>().publish_to_realtime())
            .resource(Mount::app("/drafts"), crud::resource::<Draft>().publish_to_realtime());
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct NoteShared {
    note: u32,
}

impl Event for NoteShared {
    const NAME: &'static str = "note.shared";

    fn key(&self) -> String {
        "all".to_owned()
    }
}

/// A job that reports progress.
#[derive(Debug, Serialize, Deserialize)]
struct Import {
    steps: Vec<(u8, String)>,
    fails: bool,
}

#[async_trait]
impl Job for Import {
    const NAME: &'static str = "notes.import";
    const MAX_ATTEMPTS: u32 = 1;
    type State = ();

    async fn run(self, (): &(), ctx: &JobContext) -> Result<(), JobError> {
        for (percent, note) in &self.steps {
            ctx.progress(*percent, note).await;
        }
        if self.fails { Err(JobError::fatal("no such file")) } else { Ok(()) }
    }
}

const NOTES: &[Migration] = &[Migration {
    name: "0001_notes",
    postgres: "create table notes (id uuid primary key, tenant_id uuid not null, created_at timestamptz not null,
        updated_at timestamptz not null, deleted_at timestamptz);
        create table drafts (id uuid primary key, tenant_id uuid not null, owner_id uuid not null,
        created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz);
        select omnistack_protect('notes');
        select omnistack_protect('drafts')",
    sqlite: "create table notes (id blob primary key, tenant_id blob not null, created_at text not null,
        updated_at text not null, deleted_at text) strict;
        create table drafts (id blob primary key, tenant_id blob not null, owner_id blob not null,
        created_at text not null, updated_at text not null, deleted_at text) strict",
}];

macro_rules! resource {
    ($type:ident, $name:literal, $table:literal, $scope:expr) => {
        #[derive(Debug, Serialize, ToSchema, FromRow)]
        struct $type {
            id: Id<$type>,
            created_at: Timestamp,
            updated_at: Timestamp,
            #[schema(required)]
            deleted_at: Option<Timestamp>,
        }

        impl Resource for $type {
            const NAME: &'static str = $name;
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [Column] = &[];
            const SCOPE: Scope = $scope;
            type Create = Empty;
            type Update = Empty;

            fn id(&self) -> Id<Self> {
                self.id
            }

            fn create(_: Empty, _: &mut RowValues) {}

            fn update(_: Empty, _: &mut RowValues) {}
        }
    };
}

resource!(Note, "note", "notes", Scope::Tenant);
resource!(Draft, "draft", "drafts", Scope::Owner);

#[derive(Debug, Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Empty {}

async fn notes(database: TestDatabase, recorder: &Recorder) -> TestApp {
    TestApp::start(database, |app| recorder.add_to(app).with(Notes)).await
}

async fn publish(app: &TestApp, tenant: TenantId, event: &impl Event) {
    let events: Events = app.app().context().get().unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    events.publish_in(&mut tx, event).await.unwrap();
    tx.commit().await.unwrap();
}

/// Records in the audit log that a user has deleted a note.
async fn delete_note(app: &TestApp, client: &TestClient, note: u32, commits: bool) {
    let caller = client.identity().unwrap();
    let log: AuditLog = app.app().context().get().unwrap();
    let mut tx = app.db().tenant(caller.tenant.unwrap()).begin().await.unwrap();
    let entry = AuditEntry::new("note.deleted").actor(caller).resource("note", note);
    log.record_in(&mut tx, entry.details(json!({ "title": "not told" }))).await.unwrap();
    if commits {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
}

fn new_tenant(app: &TestApp) -> TenantId {
    app.user().identity().unwrap().tenant.unwrap()
}

on_each_database! {
    async fn events_are_sent_once_in_order_and_without_those_that_have_no_message(database: TestDatabase) {
        let recorder = Recorder::default();
        let app = notes(database, &recorder).await;
        let tenant = new_tenant(&app);
        for note in [1, 0, 2] {
            publish(&app, tenant, &NoteShared { note }).await;
        }
        app.run_events().await;
        let sent = recorder.messages();
        assert_eq!(sent, [1, 2].map(|note| ("notes".to_owned(), json!({ "note": note }))));
        let keys: Vec<_> = recorder.sent.lock().unwrap().iter().map(|message| message.key.clone().unwrap()).collect();
        assert!(keys[0] != keys[1] && keys[0].ends_with("/live-notes"), "{keys:?}");
    }

    async fn a_failure_is_retried_and_a_refusal_does_not_hold_back_later_messages(database: TestDatabase) {
        let recorder = Recorder::default();
        let app = notes(database, &recorder).await;
        let tenant = new_tenant(&app);
        *recorder.failures.lock().unwrap() = vec![StatusCode::PAYLOAD_TOO_LARGE, StatusCode::SERVICE_UNAVAILABLE];
        for note in [1, 2] {
            publish(&app, tenant, &NoteShared { note }).await;
        }
        app.run_events().await;
        assert!(recorder.messages().is_empty());
        app.clock().advance(Duration::from_secs(60));
        app.run_events().await;
        assert_eq!(recorder.messages(), [("notes".to_owned(), json!({ "note": 2 }))]);
    }

    async fn changes_of_rows_reach_those_who_may_see_them(database: TestDatabase) {
        let recorder = Recorder::default();
        let app = notes(database, &recorder).await;
        let client = app.user();
        let user = client.identity().unwrap().user;
        for (path, kind, channel) in
            [("notes", "note", "tenant".to_owned()), ("drafts", "draft", format!("user:{user}"))]
        {
            recorder.sent.lock().unwrap().clear();
            let row = client.post(format!("/api/v1/app/{path}"), json!({})).await.expect(201).json();
            let at = format!("/api/v1/app/{path}/{}", row["id"].as_str().unwrap());
            client.delete(&at).await.expect(204);
            client.post(format!("{at}/restore"), json!({})).await.expect(200);
            app.run_events().await;
            let change = |change: &str| json!({ "type": format!("{kind}.{change}"), "id": row["id"] });
            let expected = ["created", "deleted", "restored"].map(|name| (channel.clone(), change(name)));
            assert_eq!(recorder.messages(), expected);
        }
        let tenants: Vec<_> = recorder.sent.lock().unwrap().iter().map(|message| message.channel.tenant_id()).collect();
        assert_eq!(tenants, [None; 3]);
    }

    async fn the_progress_of_a_job_is_sent_to_its_tenant(database: TestDatabase) {
        let recorder = Recorder::default();
        let app = notes(database, &recorder).await;
        let tenant = new_tenant(&app);
        for (fails, state, last) in [(false, "done", 100), (true, "dead", 40)] {
            recorder.sent.lock().unwrap().clear();
            let steps = [(10, "begun"), (10, "still begun"), (40, "half"), (40, "400 rows")];
            let steps = steps.map(|(at, note)| (at, note.to_owned()));
            let job = NewJob::new(Import { steps: steps.to_vec(), fails }).tenant(tenant);
            let id = app.jobs().enqueue(job).await.unwrap().id.to_string();
            app.run_jobs().await;
            let message = |state: &str, percent: u8, note: &str| {
                (format!("job:{id}"), json!({ "job": id, "state": state, "percent": percent, "note": note }))
            };
            // Notes that came too soon after the one before are left out, except for the last one.
            let expected =
                [message("running", 10, "begun"), message("running", 40, "half"), message(state, last, "400 rows")];
            assert_eq!(recorder.messages(), expected);
            assert!(recorder.sent.lock().unwrap().iter().all(|sent| sent.channel.tenant_id() == Some(tenant)));
        }
    }

    async fn the_end_of_a_job_is_told_after_its_result_is_stored(database: TestDatabase) {
        let (seen, mut ends) = unbounded_channel();
        let witness = EndWitness { jobs: Arc::default(), seen };
        let publisher = RealtimePublisher::new(witness.clone());
        let app = TestApp::start(database, |app| app.replace(publisher).with(Notes)).await;
        witness.jobs.set(app.jobs()).unwrap();
        let tenant = new_tenant(&app);
        for by_worker in [false, true] {
            for (fails, told, stored) in [(false, "done", JobState::Done), (true, "dead", JobState::Dead)] {
                let import = Import { steps: vec![(50, "half".to_owned())], fails };
                app.jobs().enqueue(NewJob::new(import).tenant(tenant)).await.unwrap();
                if by_worker {
                    let shutdown = ShutdownToken::new();
                    let end = async {
                        let end = timeout(Duration::from_secs(20), ends.recv()).await;
                        shutdown.cancel();
                        end.expect("the end is told")
                    };
                    let ((), end) = tokio::join!(app.app().run_workers(shutdown.clone()), end);
                    assert_eq!(end, Some((told.to_owned(), stored)));
                } else {
                    app.run_jobs().await;
                    assert_eq!(ends.try_recv(), Ok((told.to_owned(), stored)));
                }
            }
        }
    }

    async fn a_job_without_tenant_or_progress_sends_nothing(database: TestDatabase) {
        let recorder = Recorder::default();
        let app = notes(database, &recorder).await;
        let tenant = new_tenant(&app);
        let silent = Import { steps: Vec::new(), fails: false };
        app.jobs().enqueue(NewJob::new(silent).tenant(tenant)).await.unwrap();
        let of_app = Import { steps: vec![(50, "half".to_owned())], fails: false };
        app.jobs().enqueue(NewJob::new(of_app)).await.unwrap();
        assert_eq!(app.run_jobs().await, 2);
        assert!(recorder.messages().is_empty());
    }

    async fn activity_reaches_its_tenant_with_the_commit(database: TestDatabase) {
        let app = app_with(database, Channels::new().allow("activity", |_, _| true)).await;
        app.app().start().await.unwrap();
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        let mut live = LiveClient::subscribed(server.address, &ann, "activity").await;
        let mut of_other_tenant = LiveClient::subscribed(server.address, &bob, "activity").await;
        for (note, commits) in [(1, false), (2, true)] {
            delete_note(&app, &ann, note, commits).await;
        }
        app.run_events().await;
        let actor = ann.identity().unwrap().user;
        let data = json!({ "action": "note.deleted", "actor": actor, "resource": "note:2" });
        assert_eq!(live.message("activity").await, json!({ "type": "activity.recorded", "data": data }));
        assert_eq!(live.waiting_messages().await, Vec::<Value>::new());
        assert_eq!(of_other_tenant.waiting_messages().await, Vec::<Value>::new());
    }

    async fn without_a_rule_no_activity_is_stored(database: TestDatabase) {
        let app = app_with(database, Channels::new()).await;
        app.app().start().await.unwrap();
        delete_note(&app, &app.user(), 1, true).await;
        assert_eq!(app.run_events().await, 0);
    }

    async fn events_of_other_modules_reach_the_channels_of_their_tenants(database: TestDatabase) {
        let channels = Channels::new().allow("usage", |_, _| true).allow("webhooks", |_, _| true);
        let app = app_with(database, channels).await;
        let server = app.listen_with_defaults().await;
        let client = app.user();
        let tenant = client.identity().unwrap().tenant.unwrap();
        let mut usage = LiveClient::subscribed(server.address, &client, "usage").await;
        let mut webhooks = LiveClient::subscribed(server.address, &client, "webhooks").await;
        let now = app.clock().clock().now();
        let environment = omnistack_core::usage::DataEnvironment::Live;
        publish(&app, tenant, &UsageThresholdReached::new(tenant, environment, "api_requests", 80, 80, 100, now)).await;
        let disabled =
            WebhookEndpointDisabled::new(tenant, tenant.uuid(), "hooks.example.com", EndpointDisabledReason::Gone);
        publish(&app, tenant, &disabled).await;
        app.run_events().await;
        let message = usage.message("usage").await;
        assert_eq!(message["type"], "usage.threshold_reached");
        assert_eq!((&message["data"]["meter"], &message["data"]["threshold"]), (&json!("api_requests"), &json!(80)));
        let message = webhooks.message("webhooks").await;
        assert_eq!((&message["type"], &message["data"]["reason"]), (&json!("webhook.endpoint_disabled"), &json!("gone")));
    }
}

#[tokio::test]
async fn without_realtime_no_delivery_of_a_feed_is_stored() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Notes)).await;
    let tenant = new_tenant(&app);
    publish(&app, tenant, &NoteShared { note: 1 }).await;
    assert_eq!(app.run_events().await, 0);
}
