//! Tests of the durable inbox, with a provider and handlers of their own.

#![cfg(test)]

mod account_limits;
mod operators;
mod processing;
mod receiving;
mod upkeep;

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use omnistack_core::{
    BoxError,
    app::AppBuilder,
    async_trait,
    clock::Timestamp,
    crypto::HmacKey,
    db::Migration,
    http::{HeaderName, Method},
    identity::TenantId,
    jobs::JobError,
    module::{Module, Registry},
    webhook::{
        DataEnvironment, InboundWebhook, MissedWebhooks, SourceEvent, WebhookHandler, WebhookOutcome, WebhookRejection,
        WebhookRequest, WebhookSource, WebhookTx, is_recent,
    },
};
use omnistack_testkit::{TestApp, TestDatabase, TestRequest, TestResponse};
use omnistack_webhooks::Webhooks;
use serde::Deserialize;
use serde_json::Value;

pub(crate) const PUBLIC: &str = "/api/v1/public/webhooks/probe";
pub(crate) const EVENTS: &str = "/api/v1/admin/webhooks/events";
pub(crate) const LOGS: &str = "/api/v1/app/webhooks/logs";

/// The key with which the provider signs.
const KEY: &[u8] = b"the key of the provider of the tests";

/// Decides about a webhook and the number of the call for its event, counted from 1.
type Decide = dyn Fn(&InboundWebhook, usize) -> Result<WebhookOutcome, JobError> + Send + Sync;
/// Runs before a webhook is handled, with the id of the event and the number of the call.
type Before = dyn Fn(&str, usize) -> BoxFuture<'static, ()> + Send + Sync;

/// A module with the source `probe`, whose handler writes a row for each event, and the source `mute`, which has no
/// handler and can't be asked for missed webhooks.
#[derive(Clone)]
pub(crate) struct Probe(Arc<ProbeState>);

struct ProbeState {
    calls: Mutex<Vec<InboundWebhook>>,
    decide: Mutex<Arc<Decide>>,
    before: Mutex<Option<Arc<Before>>>,
    missed: Mutex<Result<MissedWebhooks, String>>,
    asked_since: Mutex<Vec<Timestamp>>,
}

impl Default for Probe {
    fn default() -> Self {
        Self(Arc::new(ProbeState {
            calls: Mutex::default(),
            decide: Mutex::new(Arc::new(|_, _| Ok(WebhookOutcome::Processed))),
            before: Mutex::default(),
            missed: Mutex::new(Ok(MissedWebhooks::default())),
            asked_since: Mutex::default(),
        }))
    }
}

impl Probe {
    /// Decides about the webhooks that are handled from now on.
    pub(crate) fn decide(
        &self,
        decide: impl Fn(&InboundWebhook, usize) -> Result<WebhookOutcome, JobError> + Send + Sync + 'static,
    ) {
        *self.0.decide.lock().unwrap() = Arc::new(decide);
    }

    pub(crate) fn before(&self, before: impl Fn(&str, usize) -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        *self.0.before.lock().unwrap() = Some(Arc::new(before));
    }

    /// Sets what the provider answers when it is asked for missed webhooks.
    pub(crate) fn set_missed(&self, missed: Result<MissedWebhooks, String>) {
        *self.0.missed.lock().unwrap() = missed;
    }

    pub(crate) fn asked_since(&self) -> Vec<Timestamp> {
        self.0.asked_since.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> Vec<InboundWebhook> {
        self.0.calls.lock().unwrap().clone()
    }

    /// Returns the ids of the events in the order of their calls.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.calls().into_iter().map(|webhook| webhook.event.id).collect()
    }
}

const POSTGRES: &str = "create table probe_rows (event_id text not null);";
const SQLITE: &str = "create table probe_rows (event_id text not null) strict;";

impl Module for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn register(&self, registry: &mut Registry) {
        let (asked, mute, handler) = (self.clone(), self.clone(), self.clone());
        registry
            .migrations(&[Migration { name: "0001_probe", postgres: POSTGRES, sqlite: SQLITE }])
            .webhook_source("probe", move |_| Ok(ProbeSource { probe: asked, can_be_asked: true }))
            .webhook_source("mute", move |_| Ok(ProbeSource { probe: mute, can_be_asked: false }))
            .webhook_handler("probe", "*", move |_| Ok(handler));
    }
}

#[async_trait]
impl WebhookHandler for Probe {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let id = webhook.event.id.clone();
        let call = {
            let mut calls = self.0.calls.lock().unwrap();
            calls.push(webhook.clone());
            calls.iter().filter(|one| one.event.id == id).count()
        };
        let before = self.0.before.lock().unwrap().clone();
        if let Some(before) = before {
            before(&id, call).await;
        }
        tx.get().await?.query("insert into probe_rows (event_id) values ($1)").bind(id).execute().await?;
        let decide = Arc::clone(&self.0.decide.lock().unwrap());
        decide(webhook, call)
    }
}

struct ProbeSource {
    probe: Probe,
    can_be_asked: bool,
}

#[derive(Deserialize)]
struct ProbeEvent {
    id: String,
    r#type: String,
    object: Option<String>,
    tenant: Option<TenantId>,
    at: Option<Timestamp>,
    #[serde(default)]
    test: bool,
}

#[async_trait]
impl WebhookSource for ProbeSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let given = request.header("x-probe-signature").ok_or(WebhookRejection::Unverified("no signature"))?;
        let seconds = given.split(',').next().and_then(|seconds| seconds.parse().ok());
        let seconds = seconds.ok_or(WebhookRejection::Unverified("no timestamp"))?;
        if given != signature(seconds, request.body) {
            return Err(WebhookRejection::Unverified("no signature matches"));
        }
        is_recent(seconds, request.now).then_some(()).ok_or(WebhookRejection::Unverified("too old"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        // An event whose body is no text.
        if let Some(id) = request.header("x-probe-id") {
            return Ok(SourceEvent::new(id, "raw"));
        }
        let ProbeEvent { id, r#type, object, tenant, at, test } = request.json()?;
        let environment = if test { DataEnvironment::Test } else { DataEnvironment::Live };
        Ok(SourceEvent::new(id, r#type).object(object).tenant(tenant).occurred_at(at).environment(environment))
    }

    fn secret_headers(&self) -> Vec<HeaderName> {
        vec![HeaderName::from_static("x-probe-hook")]
    }

    async fn missed(&self, since: Timestamp) -> Result<Option<MissedWebhooks>, BoxError> {
        if !self.can_be_asked {
            return Ok(None);
        }
        self.probe.0.asked_since.lock().unwrap().push(since);
        let missed = self.probe.0.missed.lock().unwrap().clone();
        Ok(Some(missed?))
    }
}

/// Returns the header with which the provider signs a body.
pub(crate) fn signature(seconds: i64, body: &[u8]) -> String {
    let text = seconds.to_string();
    let mac = HmacKey::new(KEY).unwrap().sign_parts([text.as_bytes(), b".".as_slice(), body]);
    format!("{seconds},{}", mac.to_hex())
}

pub(crate) async fn app(database: TestDatabase, probe: &Probe, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| more(app.with(Webhooks::from_env()).with(probe.clone()))).await
}

/// Returns a request of the provider, signed now.
pub(crate) fn signed(app: &TestApp, path: &str, body: impl Into<Vec<u8>>) -> TestRequest {
    let body = body.into();
    let now = app.clock().clock().now().as_seconds();
    let request = app.anonymous().request(Method::POST, path).header("content-type", "application/json");
    request.header("x-probe-signature", signature(now, &body)).body(body)
}

/// Sends an event as the provider.
pub(crate) async fn send(app: &TestApp, event: Value) -> TestResponse {
    signed(app, PUBLIC, event.to_string()).await
}

/// Returns the webhooks that operators see, newest first.
pub(crate) async fn listed(app: &TestApp, query: &str) -> Vec<Value> {
    let page = app.operator().get(format!("{EVENTS}?limit=100&{query}")).await.expect(200).json();
    page["items"].as_array().unwrap().clone()
}

/// Returns the webhook with this id of its event, as operators see it.
pub(crate) async fn one(app: &TestApp, event: &str) -> Value {
    let [found] = listed(app, &format!("event_id={event}")).await.try_into().unwrap();
    found
}

/// Returns the ids of events whose rows are committed in the app's database, sorted.
pub(crate) async fn rows(app: &TestApp) -> Vec<String> {
    let sql = "select event_id from probe_rows order by event_id";
    let rows: Vec<(String,)> = app.db().query(sql).fetch_all().await.unwrap();
    rows.into_iter().map(|(id,)| id).collect()
}
