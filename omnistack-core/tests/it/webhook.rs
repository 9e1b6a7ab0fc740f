//! Tests of webhooks without the feature `webhooks`: sources, handlers, the inbox that processes a request before it
//! answers, and the catalogue of events.

#![cfg(test)]

use async_trait::async_trait;
use axum::extract::{Path, State};
use omnistack_core::{
    app::{App, AppBuilder},
    config::Config,
    crypto::{KeyRing, SealContext, Sha256},
    db::Migration,
    http::{Error, HeaderMap, Json},
    id::Id,
    identity::TenantId,
    jobs::JobError,
    module::{Api, Module, Mount, Registry},
    webhook::{
        InboundWebhook, IncomingWebhook, SourceEvent, WebhookCatalogue, WebhookEvent, WebhookHandler, WebhookInbox,
        WebhookOutcome, WebhookPublisher, WebhookReceipt, WebhookRejection, WebhookRequest, WebhookSource,
        WebhookSources, WebhookStatus, WebhookTx,
    },
};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const KEY: &str = "the key of the provider";

/// The body of a test webhook.
#[derive(Deserialize)]
struct NoteWebhook {
    id: String,
    r#type: String,
    tenant: Option<TenantId>,
    /// The handler that fails, if one does.
    fails: Option<String>,
    #[serde(default)]
    fatal: bool,
}

/// A provider that sends its key in a header.
struct KeySource;

#[async_trait]
impl WebhookSource for KeySource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        match request.header("x-key") {
            Some(KEY) => Ok(()),
            Some("unreachable") => Err(WebhookRejection::Unavailable("connection refused".into())),
            _ => Err(WebhookRejection::Unverified("the key is wrong")),
        }
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let note: NoteWebhook = request.json()?;
        Ok(SourceEvent::new(note.id, note.r#type).tenant(note.tenant))
    }
}

/// A handler that writes a row and then fails if the webhook names it.
struct RowHandler(&'static str);

#[async_trait]
impl WebhookHandler for RowHandler {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        if webhook.event.kind == "note.ignored" {
            return Ok(WebhookOutcome::Ignored);
        }
        let note: NoteWebhook = webhook.json()?;
        let tx = tx.get().await?;
        let tenant = tx.tenant().map(|tenant| tenant.to_string());
        assert_eq!(tenant, webhook.tenant.map(|tenant| tenant.to_string()));
        let sql = "insert into handled (handler, id, url, tenant) values ($1, $2, $3, $4)";
        let insert = tx.query(sql).bind(self.0).bind(note.id).bind(webhook.url.as_str()).bind(tenant);
        insert.execute().await?;
        match note.fails {
            Some(name) if name == self.0 && note.fatal => Err(JobError::fatal("the note can't be read")),
            Some(name) if name == self.0 => Err(JobError::retry("the provider is away")),
            _ => Ok(WebhookOutcome::Processed),
        }
    }
}

/// A module made of a name and a function.
struct FnModule(&'static str, fn(&mut Registry));

impl Module for FnModule {
    fn name(&self) -> &'static str {
        self.0
    }

    fn register(&self, registry: &mut Registry) {
        (self.1)(registry);
    }
}

/// Receive a webhook
#[utoipa::path(post, path = "/{source}", operation_id = "receive_webhook", request_body = String,
    params(("source" = String, Path, description = "The source.")), responses((status = 200, body = WebhookReceipt)))]
async fn receive(
    State(inbox): State<WebhookInbox>,
    Path(source): Path<String>,
    request: IncomingWebhook,
) -> Result<Json<WebhookReceipt>, Error> {
    Ok(Json(inbox.receive(&source, None, request).await?))
}

/// Registers a source, handlers of three patterns, their table and a route.
fn register(registry: &mut Registry) {
    const SQL: &str = "create table handled (handler text not null, id text not null, url text not null, tenant text)";
    registry
        .migrations(&[Migration { name: "0001_handled", postgres: SQL, sqlite: SQL }])
        .webhook_source("notes", |_| Ok(KeySource))
        .webhook_source("unheard", |_| Ok(KeySource))
        .webhook_handler("notes", "note.*", |_| Ok(RowHandler("first")))
        .webhook_handler("notes", "note.created", |_| Ok(RowHandler("second")))
        .webhook_handler("notes", "*", |_| Ok(RowHandler("third")))
        .routes(Mount::public("/hooks").body_limit(1024), Api::new().routes(routes!(receive)), |ctx| {
            ctx.get::<WebhookInbox>()
        });
}

async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| app.with(FnModule("notes", register)).set("PUBLIC_URL", "https://app.example.com"))
        .await
}

async fn send(app: &TestApp, to: &str, body: Value) -> TestResponse {
    app.anonymous().post(format!("/api/v1/public/hooks/{to}"), body).header("x-key", KEY).await
}

/// Returns the handlers that stored rows, in their order, with the id of each webhook.
async fn handled(app: &TestApp) -> Vec<(String, String)> {
    let sql =
        "select id, handler from handled order by id, case handler when 'first' then 1 when 'second' then 2 else 3 end";
    app.db().query(sql).fetch_all().await.unwrap()
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(id, handler)| ((*id).to_owned(), (*handler).to_owned())).collect()
}

on_each_database! {
    async fn handlers_get_the_types_of_their_patterns(database: TestDatabase) {
        let app = start(database).await;
        for (id, kind, status) in [
            ("1", "note.created", "processed"),
            ("2", "note.deleted", "processed"),
            ("3", "note.ignored", "ignored"),
            ("4", "notes", "processed"),
        ] {
            let answer = send(&app, "notes", json!({ "id": id, "type": kind, "unknown": [1] })).await.expect(200);
            assert_eq!(answer.json(), json!({ "status": status }), "{kind}");
        }
        let answer = send(&app, "unheard", json!({ "id": "5", "type": "note.created" })).await.expect(200);
        assert_eq!(answer.json(), json!({ "status": "ignored" }), "a source without handlers");
        let expected = [("1", "first"), ("1", "second"), ("1", "third"), ("2", "first"), ("2", "third"), ("4", "third")];
        assert_eq!(handled(&app).await, pairs(&expected));
    }

    async fn a_failed_handler_undoes_the_rows_of_all(database: TestDatabase) {
        let app = start(database).await;
        for handler in ["first", "second", "third"] {
            let failing = |fatal: bool| json!({ "id": "1", "type": "note.created", "fails": handler, "fatal": fatal });
            send(&app, "notes", failing(true)).await.expect_error(422, "WEBHOOK_UNPROCESSABLE");
            send(&app, "notes", failing(false)).await.expect_error(500, "INTERNAL_ERROR");
            assert!(handled(&app).await.is_empty(), "{handler}");
        }
        // The provider sends it again.
        send(&app, "notes", json!({ "id": "1", "type": "note.created" })).await.expect(200);
        assert_eq!(handled(&app).await, pairs(&[("1", "first"), ("1", "second"), ("1", "third")]));
    }

    async fn a_rejected_request_reaches_no_handler(database: TestDatabase) {
        let app = start(database).await;
        let note = json!({ "id": "1", "type": "note.created" });
        send(&app, "unknown", note.clone()).await.expect_error(404, "NOT_FOUND");
        let post = || app.anonymous().post("/api/v1/public/hooks/notes", &note);
        post().await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        post().header("x-key", "guess").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        post().header("x-key", "unreachable").await.expect_error(503, "WEBHOOK_UNVERIFIABLE");
        for body in ["", "no json", "[]", r#"{"id":"1"}"#] {
            post().header("x-key", KEY).body(body).await.expect_error(422, "WEBHOOK_MALFORMED");
            // Nothing of a body is read before it is verified.
            post().header("x-key", "guess").body(body).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        post().header("x-key", KEY).body("x".repeat(1025)).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        assert!(handled(&app).await.is_empty());
    }

    async fn the_transaction_is_that_of_the_tenant(database: TestDatabase) {
        let app = start(database).await;
        let inbox: WebhookInbox = app.app().context().get().unwrap();
        let [path, payload]: [TenantId; 2] = [1, 2].map(|number| Id::from_uuid(Uuid::from_u128(number)));
        let mut headers = HeaderMap::new();
        headers.insert("x-key", KEY.parse().unwrap());
        // The last one is in the form of HTTP/2. The host of the request does not count.
        for (id, path, payload, uri) in [
            ("1", None, None, "/hooks?a=b%20c"),
            ("2", None, Some(payload), "/hooks?a=b%20c"),
            ("3", Some(path), None, "/hooks?a=b%20c"),
            ("4", Some(path), Some(payload), "https://other.example.com:8443/hooks?a=b%20c"),
        ] {
            let body = json!({ "id": id, "type": "other", "tenant": payload }).to_string();
            let request = IncomingWebhook::new(uri.parse().unwrap(), headers.clone(), body.into());
            let receipt = inbox.receive("notes", path, request).await.unwrap();
            assert_eq!((receipt.id, receipt.status), (None, WebhookStatus::Processed));
        }
        let sql = "select tenant, url from handled order by id";
        let rows: Vec<(Option<String>, String)> = app.db().query(sql).fetch_all().await.unwrap();
        let url = "https://app.example.com/hooks?a=b%20c";
        let expected = [None, Some(payload), Some(path), Some(path)];
        assert_eq!(rows, expected.map(|tenant| (tenant.map(|tenant| tenant.to_string()), url.to_owned())));
    }
}

#[tokio::test]
async fn samples_are_accepted_while_their_key_is_secret() {
    let needs_keys = |registry: &mut Registry| {
        register(registry);
        registry.require::<KeyRing>();
    };
    let keys = KeyRing::new_key("own");
    let own = ("SECRET_KEYS", keys.as_str());
    for (settings, status) in [
        (vec![], 200),
        (vec![("HOST", "::1")], 200),
        (vec![("HOST", "0.0.0.0")], 400),
        (vec![("HOST", "0.0.0.0"), own], 200),
        (vec![("APP_ENV", "production"), own], 400),
    ] {
        let with = |app: AppBuilder| app.with(FnModule("notes", needs_keys));
        let app = TestApp::start(TestDatabase::sqlite(), |app| {
            settings.iter().fold(with(app), |app, (name, value)| app.set(*name, *value))
        })
        .await;
        let ring: KeyRing = app.app().context().get().unwrap();
        let note = json!({ "id": "1", "type": "note.created" });
        let send = |source: &str, signed: &str| {
            let place = SealContext::row("webhook_samples", "signature", source);
            let sample = ring.seal(Sha256::digest(signed).as_bytes(), &place).unwrap();
            let request = app.anonymous().post("/api/v1/public/hooks/notes", &note);
            request.header("x-omnistack-webhook-sample", sample)
        };
        send("notes", &note.to_string()).await.expect(status);
        // A sample of another source, of another body, and one that is not sealed.
        send("unheard", &note.to_string()).await.expect(400);
        send("notes", "{}").await.expect(400);
        send("notes", "{}").header("x-omnistack-webhook-sample", "v1").await.expect(400);
    }
}

/// An author of a note.
#[derive(Serialize, ToSchema)]
struct NoteAuthor {
    name: String,
}

/// A note was created.
#[derive(Serialize, ToSchema)]
struct NoteCreated {
    id: String,
    author: NoteAuthor,
}

impl WebhookEvent for NoteCreated {
    const TYPE: &'static str = "note.created";
    const DESCRIPTION: &'static str = "A member created a note.";
    const VERSION: u32 = 2;

    fn example() -> Self {
        Self { id: "7".into(), author: NoteAuthor { name: "Ada".into() } }
    }
}

/// A note was deleted.
#[derive(Serialize, ToSchema)]
struct NoteDeleted {
    id: String,
}

impl WebhookEvent for NoteDeleted {
    const TYPE: &'static str = "note.deleted";
    const DESCRIPTION: &'static str = "A member deleted a note.";

    fn example() -> Self {
        Self { id: "7".into() }
    }
}

#[tokio::test]
async fn events_are_in_the_catalogue_and_in_the_openapi_document() {
    let offer = |registry: &mut Registry| {
        registry.webhook_event::<NoteDeleted>().webhook_event::<NoteCreated>();
    };
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(FnModule("notes", offer))).await;
    let catalogue: WebhookCatalogue = app.app().context().get().unwrap();
    let types = catalogue.types();
    assert_eq!(types.iter().map(|known| known.r#type).collect::<Vec<_>>(), ["note.created", "note.deleted"]);
    let created = catalogue.get("note.created").unwrap();
    assert_eq!((created.description, created.version), (NoteCreated::DESCRIPTION, 2));
    assert_eq!(created.example, json!({ "id": "7", "author": { "name": "Ada" } }));
    assert_eq!(created.schema["required"], json!(["id", "author"]));
    assert_eq!(created.schema["properties"]["author"]["$ref"], "#/$defs/NoteAuthor");
    assert_eq!(created.schema["$defs"]["NoteAuthor"]["properties"]["name"]["type"], "string");
    assert!(catalogue.get("note.changed").is_none());

    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    assert_eq!(document["webhooks"].as_object().unwrap().len(), 2);
    let operation = &document["webhooks"]["note.created"]["post"];
    assert_eq!(
        (&operation["operationId"], &operation["summary"]),
        (&"webhook_note_created".into(), &"note.created".into())
    );
    let body = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert_eq!(
        (&body["type"]["const"], &body["data"]["$ref"]),
        (&"note.created".into(), &"#/components/schemas/NoteCreated".into())
    );
    for schema in ["NoteCreated", "NoteAuthor", "NoteDeleted"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
    // Without the feature `webhooks`, nothing is sent.
    let publisher: WebhookPublisher = app.app().context().get().unwrap();
    let mut tx = app.db().tenant(Id::from_uuid(Uuid::from_u128(1))).begin().await.unwrap();
    publisher.publish_in(&mut tx, &NoteCreated::example()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_app_without_webhooks_has_none() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app).await;
    let (sources, inbox): (WebhookSources, WebhookInbox) =
        (app.app().context().get().unwrap(), app.app().context().get().unwrap());
    assert!(sources.names().is_empty());
    let request = IncomingWebhook::new("/".parse().unwrap(), HeaderMap::new(), "{}".into());
    assert_eq!(inbox.receive("notes", None, request).await.unwrap_err().status(), 404);
    assert_eq!(app.anonymous().get("/openapi.json").await.expect(200).json().get("webhooks"), None);
}

#[tokio::test]
async fn problems_with_sources_handlers_and_events_are_reported() {
    let build = |modules: [FnModule; 2]| {
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "test")]);
        let app = modules.into_iter().fold(App::builder(config), AppBuilder::with);
        app.build().err().map(|error| error.to_string()).unwrap_or_default()
    };
    let source = |registry: &mut Registry| _ = registry.webhook_source("notes", |_| Ok(KeySource));
    let problems = build([FnModule("one", source), FnModule("other", source)]);
    assert!(problems.contains("other: the webhook source `notes` is also registered by module `one`"), "{problems}");

    let event = |registry: &mut Registry| _ = registry.webhook_event::<NoteCreated>();
    let problems = build([FnModule("one", event), FnModule("other", event)]);
    assert!(problems.contains("other: the webhook event `note.created` is registered twice"), "{problems}");

    let needy_source = |registry: &mut Registry| {
        registry.webhook_source("notes", |ctx| ctx.get::<Uuid>().map(|_| KeySource));
    };
    let needy_handler = |registry: &mut Registry| {
        registry.webhook_handler("notes", "*", |ctx| ctx.get::<Uuid>().map(|_| RowHandler("first")));
    };
    let problems = build([FnModule("one", needy_source), FnModule("other", needy_handler)]);
    for module in ["one", "other"] {
        assert!(problems.contains(&format!("  - {module}: ")), "{problems}");
    }
    assert!(problems.contains("2 problems") && problems.contains("Uuid"), "{problems}");
}
