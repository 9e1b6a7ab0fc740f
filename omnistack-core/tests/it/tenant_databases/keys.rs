//! Tests of idempotency keys with tenant databases.

use std::time::Duration;

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    BEYOND_ALL_TIMEOUTS, count,
    notes::{FULL, NOTES},
    start, tenant_of,
};

on_each_database! {
    async fn a_request_is_carried_out_once(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let tenant = tenant_of(&ada);
        for (path, body) in [(FULL, json!({ "title": "one" })), (NOTES, json!({ "title": "one" }))] {
            let before = count(&app, Some(tenant), "notes").await;
            let first = ada.post(path, &body).header("Idempotency-Key", "key").await.expect(201);
            let again = ada.post(path, &body).header("Idempotency-Key", "key").await.expect(201);
            assert_eq!((first.text(), again.header("idempotent-replayed")), (again.text(), Some("true")));
            assert_eq!(count(&app, Some(tenant), "notes").await, before + 1);
        }
        ada.post(FULL, json!({ "title": "two" })).header("Idempotency-Key", "key").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
    }

    /// The process dies after the commit in the tenant's database, before the app's database is updated.
    async fn a_crash_between_the_databases_carries_nothing_out_twice(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let tenant = tenant_of(&ada);
        let first = ada.post(FULL, json!({ "title": "one" })).header("Idempotency-Key", "key").await.expect(201);
        let forget = "update omni_idempotency_keys set status = null, head = null, body = null";
        assert_eq!(app.db().query(forget).execute().await.unwrap(), 1);
        // During its lease, the dead process may still be running.
        app.clock().advance(Duration::from_secs(120));
        for _ in 0..2 {
            let again = ada.post(FULL, json!({ "title": "one" })).header("Idempotency-Key", "key").await.expect(201);
            assert_eq!((first.text(), again.header("idempotent-replayed")), (again.text(), Some("true")));
            assert_eq!(count(&app, Some(tenant), "notes").await, 1);
        }
        assert_eq!((app.run_jobs().await, app.run_events().await), (1, 1));
        // After the key has expired, it is a new request.
        app.clock().advance(100 * BEYOND_ALL_TIMEOUTS);
        ada.post(FULL, json!({ "title": "one" })).header("Idempotency-Key", "key").await.expect(201);
        assert_eq!(count(&app, Some(tenant), "notes").await, 2);
        app.app().relay_tenant_outboxes().await.unwrap();
        assert_eq!(count(&app, Some(tenant), "omni_idempotency_keys").await, 1);
    }
}
