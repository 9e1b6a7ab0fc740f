//! Tests of the files of tenants, through the router.

mod archival;
mod documented_errors;
mod failing_provider;
mod full_disk;
mod idempotency;
#[cfg(unix)]
mod local_provider;
mod media_types;
mod signed_urls;
mod stored_files;
#[cfg(feature = "thumbnails")]
mod thumbnails;
mod unfinished_uploads;
mod uploads;
mod usage;

use std::{
    collections::HashSet,
    convert::Infallible,
    future::IntoFuture as _,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    db::{self, Tx},
    http::Error,
    identity::{Entitlements, Plan, PlanSource, TenantId},
    usage::{Decimal, UsageEvent, UsageRecorder, UsageSink},
};
use omnistack_storage::{Files, Memory, Storage};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest, TestResponse};
use serde_json::Value;
use tokio::sync::oneshot;

use self::documented_errors::{DocumentedErrors, ErrorRecorder};

/// A recorder that collects usage events, those of transactions once they commit.
#[derive(Clone, Default)]
pub(crate) struct RecordedUsage(Arc<Mutex<Vec<UsageEvent>>>);

#[async_trait]
impl UsageRecorder for RecordedUsage {
    fn count(&self, event: UsageEvent) {
        self.0.lock().unwrap().push(event);
    }

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        let recorded = self.0.clone();
        tx.on_commit(move || recorded.lock().unwrap().extend(events));
        Ok(())
    }
}

impl RecordedUsage {
    /// Returns the total of a meter, counting each id once.
    pub(crate) fn of(&self, meter: &str) -> i64 {
        let events = self.0.lock().unwrap();
        let mut ids = HashSet::new();
        let events = events.iter().filter(|event| event.meter == meter && ids.insert((&event.source, &event.id)));
        let total: Decimal = events.map(|event| event.quantity).sum();
        i64::try_from(total).unwrap()
    }

    /// Returns the events of a meter.
    pub(crate) fn events(&self, meter: &str) -> Vec<UsageEvent> {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| event.meter == meter).cloned().collect()
    }
}

/// A plan with a storage quota in bytes.
struct QuotaPlan(u64);

#[async_trait]
impl PlanSource for QuotaPlan {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("small").limit("storage_bytes", self.0)))
    }
}

pub(crate) struct FilesApp {
    pub(crate) app: TestApp,
    pub(crate) storage: Storage,
    pub(crate) counted: RecordedUsage,
    _documented: DocumentedErrors,
}

/// Starts an app that stores files in memory.
pub(crate) async fn files_app(database: TestDatabase, settings: &[(&str, &str)], quota: Option<u64>) -> FilesApp {
    with(database, Files::from_env(), settings, quota).await
}

pub(crate) async fn with(
    database: TestDatabase,
    files: Files,
    settings: &[(&str, &str)],
    quota: Option<u64>,
) -> FilesApp {
    let counted = RecordedUsage::default();
    let (usage, recorder) = (UsageSink::new(counted.clone()), ErrorRecorder::default());
    let app = TestApp::start(database, |app| {
        let app = app.set("STORAGE_PROVIDER", "memory").with(files).with(recorder.clone()).replace(usage);
        let app = settings.iter().fold(app, |app, (name, value)| app.set(*name, *value));
        match quota {
            Some(bytes) => app.replace(Entitlements::new(QuotaPlan(bytes))),
            None => app,
        }
    })
    .await;
    let storage = app.app().context().get().unwrap();
    let documented = DocumentedErrors::new(recorder, app.app());
    FilesApp { app, storage, counted, _documented: documented }
}

impl FilesApp {
    /// Returns the number of objects of all tenants.
    pub(crate) async fn objects(&self) -> usize {
        self.storage.list("", None, 1000).await.unwrap().objects.len()
    }

    /// Returns whether a job runs by a schedule.
    pub(crate) fn is_scheduled(&self, job: &str) -> bool {
        self.app.app().runner().crons().iter().any(|cron| cron.name == job)
    }

    pub(crate) async fn sweep(&self) -> usize {
        let files: omnistack_storage::FileService = self.app.app().context().get().unwrap();
        files.clean_up().await.unwrap()
    }
}

pub(crate) const FILES: &str = "/api/v1/app/files";
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and so on";

pub(crate) async fn upload(
    client: &TestClient,
    name: &str,
    content_type: &str,
    bytes: impl Into<Bytes>,
) -> TestResponse {
    let bytes: Bytes = bytes.into();
    let path = format!("{FILES}?name={name}");
    let request = client.request(omnistack_core::http::Method::POST, path).header("content-type", content_type);
    request.header("content-length", bytes.len().to_string()).body(bytes).await
}

pub(crate) fn id(file: &Value) -> String {
    file["id"].as_str().unwrap().to_owned()
}

/// Returns a body that sends these bytes and then never continues, and a receiver that is notified when more are
/// requested.
pub(crate) fn silent(begin: &'static [u8]) -> (Body, oneshot::Receiver<()>) {
    let (begun, begins) = oneshot::channel();
    let never = stream::once(async move {
        _ = begun.send(());
        std::future::pending().await
    });
    (Body::from_stream(stream::iter([Ok::<_, Infallible>(begin)]).chain(never)), begins)
}

/// Leaves an upload in the state in which a killed process leaves it: begun and never dropped.
pub(crate) async fn die_during(upload: TestRequest, begins: oneshot::Receiver<()>) {
    let mut upload = upload.into_future();
    tokio::select! {
        answer = &mut upload => panic!("unexpected response {}", answer.status),
        begun = begins => begun.unwrap(),
    }
    std::mem::forget(upload);
}

/// Returns an empty provider in memory.
pub(crate) fn memory() -> Memory {
    Memory::default()
}
