//! Tests that files and their usage are stored in one transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    db::{self, ErrorKind, Tx},
    usage::{UsageEvent, UsageRecorder, UsageSink},
};
use omnistack_storage::{FileService, Files, Storage};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{FILES, id, upload};

const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// A ledger in a table, which can fail after it has written.
#[derive(Clone, Default)]
struct TableLedger {
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl UsageRecorder for TableLedger {
    fn count(&self, _: UsageEvent) {}

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        for event in events {
            let insert = tx.query("insert into recorded_usage (event, quantity) values ($1, $2)");
            insert.bind(event.id).bind(i64::try_from(event.quantity).unwrap()).execute().await?;
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(db::Error::new(ErrorKind::Other, "the ledger of this test fails".into()));
        }
        Ok(())
    }
}

struct UsageApp {
    app: TestApp,
    ledger: TableLedger,
}

impl UsageApp {
    async fn start(database: TestDatabase) -> Self {
        let ledger = TableLedger::default();
        let usage = UsageSink::new(ledger.clone());
        let app = TestApp::start(database, |app| {
            app.set("STORAGE_PROVIDER", "memory").with(Files::from_env()).replace(usage)
        })
        .await;
        let create = "create table recorded_usage (event text not null, quantity bigint not null)";
        app.db().query(create).execute().await.unwrap();
        Self { app, ledger }
    }

    fn set_failure(&self, fails: bool) {
        self.ledger.fails.store(fails, Ordering::SeqCst);
    }

    fn files(&self) -> FileService {
        self.app.app().context().get().unwrap()
    }

    async fn objects(&self) -> usize {
        let storage: Storage = self.app.app().context().get().unwrap();
        storage.list("", None, 1000).await.unwrap().objects.len()
    }

    async fn recorded(&self) -> Vec<(String, i64)> {
        let select = "select event, quantity from recorded_usage order by quantity desc";
        self.app.db().query(select).fetch_all().await.unwrap()
    }
}

on_each_database! {
    async fn a_file_and_its_usage_are_stored_together(database: TestDatabase) {
        let shop = UsageApp::start(database).await;
        let alice = shop.app.user();
        let stored = async || alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"].clone();

        shop.set_failure(true);
        upload(&alice, "a.txt", "text/plain", "Hello.").await.expect_error(500, "INTERNAL_ERROR");
        assert_eq!((shop.objects().await, stored().await), (0, json!(0)));
        assert_eq!(alice.get(FILES).await.expect_ok().json()["items"], json!([]));
        assert!(shop.recorded().await.is_empty());

        shop.set_failure(false);
        let file = id(&upload(&alice, "a.txt", "text/plain", "Hello.").await.expect(201).json());
        let event = |change: &str| format!("file/{file}/{change}");
        let (added, uploaded) = ((event("stored"), 6), (event("uploaded"), 1));
        assert_eq!(shop.recorded().await, [added.clone(), uploaded.clone()]);
        assert_eq!((shop.objects().await, stored().await), (1, json!(6)));

        alice.delete(format!("{FILES}/{file}")).await.expect(204);
        shop.app.clock().advance(MONTH);
        shop.set_failure(true);
        shop.files().clean_up().await.unwrap_err();
        assert_eq!((shop.recorded().await.len(), stored().await), (2, json!(6)), "the bytes still count");
        shop.set_failure(false);
        assert_eq!(shop.files().clean_up().await.unwrap(), 1);
        assert_eq!(shop.recorded().await, [added, uploaded, (event("removed"), -6)]);
        assert_eq!((shop.objects().await, stored().await), (0, json!(0)));
    }
}
