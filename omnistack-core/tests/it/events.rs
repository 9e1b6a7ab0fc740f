//! Tests of events, on both databases.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests panic; a child process prints")]

mod crash;
mod deliveries;
mod operators;
mod ready;
mod replicas;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    app::AppBuilder,
    db::Migration,
    events::{Delivery, Event, Subscriber},
    jobs::JobError,
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde::{Deserialize, Serialize};

/// The `traceparent` of a request.
pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An event with a key and a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoteEvent {
    pub(crate) key: String,
    pub(crate) text: String,
}

impl NoteEvent {
    pub(crate) fn new(key: &str, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into() }
    }
}

impl Event for NoteEvent {
    const NAME: &'static str = "noted";

    fn key(&self) -> String {
        self.key.clone()
    }
}

/// The reaction of a subscriber to a text and an attempt number.
type Decide = dyn Fn(&str, u32) -> Result<(), JobError> + Send + Sync;

/// A subscriber that writes the event into a table in the delivery's transaction and then returns the result of its
/// `Decide`.
#[derive(Clone)]
pub(crate) struct Writer {
    name: &'static str,
    told: Arc<Mutex<Vec<String>>>,
    decide: Arc<Decide>,
}

impl Writer {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with_decision(name, |_, _| Ok(()))
    }

    /// Creates a writer whose result for each text and attempt is decided by a function.
    pub(crate) fn with_decision(
        name: &'static str,
        decide: impl Fn(&str, u32) -> Result<(), JobError> + Send + Sync + 'static,
    ) -> Self {
        Self { name, told: Arc::default(), decide: Arc::new(decide) }
    }

    /// Removes and returns the texts of all attempts so far.
    pub(crate) fn take_texts(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

#[async_trait]
impl Subscriber for Writer {
    type Event = NoteEvent;
    const MAX_ATTEMPTS: u32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(5);

    async fn handle(&self, event: NoteEvent, delivery: &mut Delivery) -> Result<(), JobError> {
        self.told.lock().unwrap().push(event.text.clone());
        let (attempt, sequence) = (delivery.attempt(), delivery.sequence());
        let tx = delivery.tx().await?;
        let write = "insert into written (subscriber, key, text, sequence) values ($1, $2, $3, $4)";
        let write = tx.query(write).bind(self.name.to_owned()).bind(event.key).bind(event.text.clone()).bind(sequence);
        write.execute().await?;
        (self.decide)(&event.text, attempt)
    }

    fn backoff(attempt: u32) -> Duration {
        Duration::from_secs(u64::from(attempt) * 10)
    }
}

impl Module for Writer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn register(&self, registry: &mut Registry) {
        let writer = self.clone();
        registry.subscribe(self.name, move |_| Ok(writer));
    }
}

/// The module with the table that writers write to.
pub(crate) struct Table;

impl Module for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn register(&self, registry: &mut Registry) {
        const SQL: &str =
            "create table written (subscriber text not null, key text not null, text text not null, sequence bigint)";
        const LEDGER: &str = "create table ledger (key text not null, text text not null, place bigint not null)";
        registry.migrations(&[
            Migration { name: "0001_written", postgres: SQL, sqlite: SQL },
            Migration { name: "0002_ledger", postgres: LEDGER, sqlite: LEDGER },
        ]);
    }
}

pub(crate) async fn start(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| assemble(app.with(Table))).await
}

/// Returns what a subscriber wrote about a key, in the order of the events.
pub(crate) async fn written(app: &TestApp, subscriber: &str, key: &str) -> Vec<String> {
    let sql = "select text from written where subscriber = $1 and key = $2 order by sequence";
    let rows: Vec<(String,)> =
        app.db().query(sql).bind(subscriber.to_owned()).bind(key.to_owned()).fetch_all().await.unwrap();
    rows.into_iter().map(|(text,)| text).collect()
}

/// Waits for a future. Panics if it takes longer than the lease of a delivery whose end could not be stored.
pub(crate) async fn expect_soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), done).await.unwrap_or_else(|_| panic!("{what} did not come"))
}
