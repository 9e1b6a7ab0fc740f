//! The log of deliveries, and sending again.

use std::time::Duration;

use omnistack_core::webhook::WebhookEndpointDisabled;
use omnistack_core::{
    ShutdownToken, async_trait,
    id::Id,
    identity::{Identity, Permissions},
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::on_each_database;
use serde::Deserialize;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The job that deletes old messages, by its name. The app's own handler runs it.
#[derive(Serialize, Deserialize)]
struct PurgeWebhookMessages {}

#[async_trait]
impl Job for PurgeWebhookMessages {
    const NAME: &'static str = "webhooks.purge_messages";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// The job that deletes the deliveries of an endpoint that was deleted, by its name.
#[derive(Serialize, Deserialize)]
struct DeleteEndpointDeliveries {
    tenant: TenantId,
    endpoint: uuid::Uuid,
}

#[async_trait]
impl Job for DeleteEndpointDeliveries {
    const NAME: &'static str = "webhooks.delete_endpoint_deliveries";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// Disables or enables an endpoint as an operator.
async fn set_enabled(app: &TestApp, endpoint: &Value, enabled: bool) {
    let path = format!("{ADMIN}/{}", endpoint["id"].as_str().unwrap());
    app.operator().patch(path, json!({ "enabled": enabled })).await.expect(200);
}

/// Returns a period of the test's day.
fn period(since: &str, until: &str) -> Value {
    json!({ "since": format!("2030-01-01T{since}:00Z"), "until": format!("2030-01-01T{until}:00Z") })
}

/// Sets the state of all deliveries of an endpoint, as the dispatcher would after eight attempts.
async fn finish(app: &TestApp, client: &TestClient, endpoint: &Value, state: &'static str) {
    let mut tx = begin(app, client).await;
    let id: uuid::Uuid = endpoint["id"].as_str().unwrap().parse().unwrap();
    let sql = "update omni_webhook_deliveries set state = $2, attempts = 8, next_at = null where endpoint_id = $1";
    tx.query(sql).bind(id).bind(state).execute().await.unwrap();
    let sql = "insert into omni_webhook_attempts (delivery_id, tenant_id, number, at, duration_ms, status_code) \
               select id, tenant_id, 1 + (select count(*) from omni_webhook_attempts where delivery_id = d.id), \
               $2, 1.5, 500 from omni_webhook_deliveries d where endpoint_id = $1";
    tx.query(sql).bind(id).bind(app.clock().clock().now()).execute().await.unwrap();
    tx.commit().await.unwrap();
}

on_each_database! {
    /// Case 36: what is published while an endpoint is disabled is skipped, and recovered on request only.
    async fn events_of_a_disabled_endpoint_are_skipped_and_recovered(database: TestDatabase) {
        let (app, receiver) = (start(database, |app| app).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        let endpoint = create(&owner, receiver.url(), &["*"]).await;
        set_enabled(&app, &endpoint, false).await;
        for number in 1..=3 {
            publish(&app, &owner, number).await;
            app.clock().advance(MINUTE);
        }
        assert_eq!(states(&owner).await, ["skipped"; 3]);
        let recover = format!("{}/recover", path(&endpoint));
        let all = period("00:00", "01:00");
        owner.post(&recover, &all).await.expect_error(409, "WEBHOOK_ENDPOINT_DISABLED");

        set_enabled(&app, &endpoint, true).await;
        assert_eq!(states(&owner).await, ["skipped"; 3]);
        // The end of the period is not part of it.
        let first = owner.post(&recover, period("00:00", "00:01")).await.expect(200).json();
        assert_eq!(first, json!({ "recovered": 1, "created": 0, "complete": true }));
        let rest = owner.post(&recover, &all).await.expect(200).json();
        assert_eq!(rest, json!({ "recovered": 2, "created": 0, "complete": true }));
        let nothing = owner.post(&recover, &all).await.expect(200).json();
        assert_eq!(nothing["recovered"], 0);

        let shutdown = ShutdownToken::new();
        let received = async {
            let received = receiver.wait_for_requests(3).await;
            shutdown.cancel();
            received
        };
        let ((), received) = tokio::join!(app.app().run_workers(shutdown.clone()), received);
        let sent = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["data"]["number"].as_i64().unwrap();
        let mut numbers: Vec<_> = received.iter().map(|request| sent(&request.body)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(states(&owner).await, ["delivered"; 3]);
        owner.post(&recover, period("01:00", "01:00")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn missing_events_are_replayed_once(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        publish(&app, &owner, 1).await;
        app.clock().advance(MINUTE);
        let mut tx = begin(&app, &owner).await;
        publisher(&app).publish_in(&mut tx, &ParcelLost { number: 2 }).await.unwrap();
        tx.commit().await.unwrap();
        app.clock().advance(MINUTE);
        let endpoint = create(&owner, URL, &["parcel.sent"]).await;
        assert!(states(&owner).await.is_empty());
        let replay = format!("{}/replay", path(&endpoint));
        for (since, until, created) in [("00:01", "00:30", 0), ("00:00", "00:30", 1), ("00:00", "00:30", 0)] {
            let result = owner.post(&replay, period(since, until)).await.expect(200).json();
            assert_eq!(result, json!({ "recovered": 0, "created": created, "complete": true }));
        }
        owner.patch(path(&endpoint), json!({ "events": ["*"] })).await.expect(200);
        // Failed deliveries are not missing.
        finish(&app, &owner, &endpoint, "failed").await;
        let result = owner.post(&replay, period("00:00", "00:30")).await.expect(200).json();
        assert_eq!(result, json!({ "recovered": 0, "created": 1, "complete": true }));
        let recover = format!("{}/recover", path(&endpoint));
        let result = owner.post(&recover, period("00:00", "00:30")).await.expect(200).json();
        assert_eq!(result, json!({ "recovered": 1, "created": 0, "complete": true }));
        assert_eq!(states(&owner).await, ["pending", "pending"]);
    }

    async fn a_replay_leaves_out_what_is_about_the_endpoint_itself(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let endpoint = create(&owner, URL, &["*"]).await;
        let mut event = WebhookEndpointDisabled::example();
        event.endpoint = endpoint["id"].as_str().unwrap().parse().unwrap();
        let mut tx = begin(&app, &owner).await;
        publisher(&app).publish_in(&mut tx, &event).await.unwrap();
        tx.commit().await.unwrap();
        assert!(states(&owner).await.is_empty());
        let other = create(&owner, URL, &["*"]).await;
        for (endpoint, created) in [(&endpoint, 0), (&other, 1)] {
            let replay = format!("{}/replay", path(endpoint));
            let result = owner.post(&replay, period("00:00", "01:00")).await.expect(200).json();
            assert_eq!(result["created"], created, "{endpoint}");
        }
    }

    async fn sending_again_is_limited_for_the_whole_tenant(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let colleague = Identity::user(Id::from_uuid(uuid::Uuid::new_v4()))
            .for_tenant(tenant(&owner))
            .with_permissions(Permissions::all());
        let colleague = app.client_as(colleague);
        let endpoint = create(&owner, URL, &["*"]).await;
        let recover = format!("{}/recover", path(&endpoint));
        for client in [&owner, &colleague].into_iter().cycle().take(20) {
            client.post(&recover, period("00:00", "01:00")).await.expect(200);
        }
        for client in [&owner, &colleague] {
            client.post(&recover, period("00:00", "01:00")).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        }
    }

    /// The rest of an endpoint's deliveries, beyond those that its deletion deletes at once.
    async fn a_job_deletes_the_deliveries_of_a_deleted_endpoint(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let (gone, kept) = (create(&owner, URL, &["*"]).await, create(&owner, URL, &["*"]).await);
        publish(&app, &owner, 1).await;
        finish(&app, &owner, &gone, "failed").await;
        let id: uuid::Uuid = gone["id"].as_str().unwrap().parse().unwrap();
        let mut tx = begin(&app, &owner).await;
        tx.query("delete from omni_webhook_endpoints where id = $1").bind(id).execute().await.unwrap();
        tx.commit().await.unwrap();
        app.jobs().enqueue(DeleteEndpointDeliveries { tenant: tenant(&owner), endpoint: id }).await.unwrap();
        app.run_jobs().await;
        let left = deliveries(&owner, "limit=100").await;
        assert_eq!((left.len(), &left[0]["endpoint_id"]), (1, &kept["id"]));
    }

    async fn a_delivery_is_retried_with_all_its_attempts(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let endpoint = create(&owner, URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        let delivery = deliveries(&owner, "limit=1").await.remove(0);
        let delivery = format!("{DELIVERIES}/{}", delivery["id"].as_str().unwrap());
        for retries in 1..=3 {
            finish(&app, &owner, &endpoint, "failed").await;
            app.clock().advance(MINUTE);
            let retried = owner.post(format!("{delivery}/retry"), json!({})).await.expect(200).json();
            assert_eq!((&retried["state"], &retried["attempt_count"]), (&json!("pending"), &json!(0)));
            assert_eq!(retried["next_at"], format!("2030-01-01T00:0{retries}:00Z"));
            // The attempts before are still in the log.
            let attempts = owner.get(&delivery).await.expect(200).json()["attempts"].clone();
            assert_eq!(attempts.as_array().unwrap().len(), retries);
            assert_eq!(attempts[retries - 1]["at"], format!("2030-01-01T00:0{}:00Z", retries - 1));
            assert_eq!((&attempts[0]["status_code"], &attempts[0]["duration_ms"]), (&json!(500), &json!(1.5)));
        }
        set_enabled(&app, &endpoint, false).await;
        owner.post(format!("{delivery}/retry"), json!({})).await.expect_error(409, "WEBHOOK_ENDPOINT_DISABLED");
        let retried = audited(&app, &owner).await.into_iter().filter(|action| action == "webhook_delivery.retried");
        assert_eq!(retried.count(), 3);
    }

    async fn a_delivery_that_is_being_sent_is_not_retried(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        create(&owner, URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        let mut tx = begin(&app, &owner).await;
        let sql = "update omni_webhook_deliveries set state = 'sending', attempts = 1, lease_until = $1";
        tx.query(sql).bind(app.clock().clock().now() + MINUTE).execute().await.unwrap();
        tx.commit().await.unwrap();
        let delivery = deliveries(&owner, "state=sending").await.remove(0);
        let retry = format!("{DELIVERIES}/{}/retry", delivery["id"].as_str().unwrap());
        owner.post(&retry, json!({})).await.expect_error(409, "DELIVERY_IN_PROGRESS");
        // The process has ended, and its lease too.
        app.clock().advance(2 * MINUTE);
        owner.post(&retry, json!({})).await.expect(200);
    }

    async fn the_log_has_filters_and_pages(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let first = create(&owner, URL, &["*"]).await;
        let second = create(&owner, URL, &["parcel.sent"]).await;
        publish(&app, &owner, 1).await;
        finish(&app, &owner, &second, "failed").await;
        app.clock().advance(MINUTE);
        let mut tx = begin(&app, &owner).await;
        publisher(&app).publish_in(&mut tx, &ParcelLost { number: 2 }).await.unwrap();
        tx.commit().await.unwrap();

        let (first, second) = (first["id"].as_str().unwrap(), second["id"].as_str().unwrap());
        for (query, expected) in [
            (String::new(), 3),
            (format!("endpoint_id={first}"), 2),
            (format!("endpoint_id={second}"), 1),
            ("state=pending".to_owned(), 2),
            ("state=failed".to_owned(), 1),
            ("state=delivered".to_owned(), 0),
            ("type=parcel.sent".to_owned(), 2),
            ("type=parcel.lost".to_owned(), 1),
            ("type=parcel.eaten".to_owned(), 0),
            ("since=2030-01-01T00:00:00Z".to_owned(), 3),
            ("since=2030-01-01T00:00:01Z".to_owned(), 1),
            (format!("endpoint_id={first}&state=pending&type=parcel.sent&since=2030-01-01T00:00:00Z"), 1),
        ] {
            assert_eq!(deliveries(&owner, &query).await.len(), expected, "{query}");
        }
        // The newest event comes first.
        let all = deliveries(&owner, "").await;
        assert_eq!(all[0]["type"], "parcel.lost");
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for page in 0..3 {
            let list = owner.get(format!("{DELIVERIES}?limit=1{cursor}")).await.expect(200).json();
            seen.push(list["items"][0].clone());
            cursor = list["next_cursor"].as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            assert_eq!(cursor.is_empty(), page == 2);
        }
        assert_eq!(seen, all);
        for query in ["cursor=x", "state=lost", "limit=0", "endpoint_id=x", "since=yesterday", "page=1"] {
            owner.get(format!("{DELIVERIES}?{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
    }

    async fn old_messages_are_deleted_with_their_deliveries(database: TestDatabase) {
        let app = start(database, |app| app.set("WEBHOOKS_KEEP", "2d")).await;
        let owner = app.user();
        let endpoint = create(&owner, URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        finish(&app, &owner, &endpoint, "failed").await;
        app.clock().advance(DAY);
        publish(&app, &owner, 2).await;
        for (days, expected) in [(1, 2), (1, 1), (2, 0)] {
            app.jobs().enqueue(PurgeWebhookMessages {}).await.unwrap();
            app.run_jobs().await;
            assert_eq!(states(&owner).await.len(), expected, "{days}");
            app.clock().advance(DAY * days + MINUTE);
        }
        let mut tx = begin(&app, &owner).await;
        for table in ["omni_webhook_messages", "omni_webhook_deliveries", "omni_webhook_attempts"] {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
            assert_eq!(count, 0, "{table}");
        }
    }
}
