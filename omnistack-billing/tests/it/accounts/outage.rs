//! Tests of accounts while the database is away.

use std::time::Duration;

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
