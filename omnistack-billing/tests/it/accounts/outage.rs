//! Tests of accounts while the database is away.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_billing::Ledger;
use omnistack_core::usage::UsageEvent;
use omnistack_testkit::{TestDatabase, TestPostgres};
use serde_json::json;
use tokio::time::timeout;

use super::{app, entitlements, put, tenant_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_in_memory_are_kept_while_the_database_is_away() {
    let mut server = TestPostgres::start().await;
    let settings = [("DATABASE_URL", server.url()), ("DATABASE_ACQUIRE_TIMEOUT", "300ms".to_owned())];
    let app =
        app(TestDatabase::sqlite(), |app| settings.into_iter().fold(app, |app, (name, value)| app.set(name, value)))
            .await;
    let (known, unknown) = (tenant_of(&app.user()), tenant_of(&app.user()));
    let entitlements = entitlements(&app);
    put(&app, known, "plan", json!({ "plan": "pro" })).await.expect(200);
    assert_eq!(entitlements.plan(known).await.unwrap().key, "pro");
    server.kill().await;
    assert_eq!(entitlements.plan(known).await.unwrap().key, "pro");
    // Callers that wait for the same plan fail together.
    let error = tokio::join!(entitlements.plan(unknown), entitlements.plan(unknown));
    for error in [error.0.unwrap_err(), error.1.unwrap_err()] {
        assert_eq!(error.status(), 503);
    }
    server.restart().await;
    let waited = timeout(Duration::from_secs(20), async { while entitlements.plan(unknown).await.is_err() {} }).await;
    assert!(waited.is_ok(), "a plan can be read again");
    assert_eq!(entitlements.plan(unknown).await.unwrap().key, "free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_refused_soon_while_the_database_is_away() {
    let mut server = TestPostgres::start().await;
    let settings = [("DATABASE_URL", server.url()), ("DATABASE_ACQUIRE_TIMEOUT", "300ms".to_owned())];
    let app =
        app(TestDatabase::sqlite(), |app| settings.into_iter().fold(app, |app, (name, value)| app.set(name, value)))
            .await;
    let (ledger, tenant): (Ledger, _) = (app.app().context().get().unwrap(), tenant_of(&app.user()));
    let now = app.clock().clock().now();
    let report = |id: u32| ledger.ingest(vec![UsageEvent::new(tenant, "runs", 1, now).once("test", id.to_string())]);
    report(0).await.unwrap();
    server.kill().await;
    // Most of them wait for the same transaction.
    let all = timeout(Duration::from_secs(8), join_all((1..100).map(report))).await;
    for result in all.expect("no report waits for the others") {
        assert_eq!(result.unwrap_err().status(), 503);
    }
    server.restart().await;
    let again = async {
        while report(0).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), again).await.expect("usage can be stored again");
}
