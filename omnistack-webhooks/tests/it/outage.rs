//! Tests of outages of PostgreSQL and Redis while webhooks come and go.

#![cfg(test)]

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use omnistack_core::{
    db,
    identity::TenantId,
    webhook::{WebhookEvent as _, WebhookPublisher},
};
use omnistack_testkit::{TestApp, TestDatabase, TestPostgres, TestRedis, mock_server::MockResponse};
use serde_json::{Value, json};

use crate::{
    delivery::{OrderPaid, Orders, create_endpoint, deliver, publish, receiver, states, work_until},
    inbox::{PUBLIC, Probe, app, rows, send},
};

/// Longest duration of the outages and of all work after them.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(150);

/// Publishes an event, and writes a row in the same transaction.
async fn order(app: &TestApp, tenant: TenantId, id: &str) -> Result<(), db::Error> {
    let publisher: WebhookPublisher = app.app().context().get().unwrap();
    let mut tx = app.db().tenant(tenant).begin().await?;
    tx.query("insert into probe_rows (event_id) values ($1)").bind(id.to_owned()).execute().await?;
    publisher.publish_in(&mut tx, &OrderPaid::example()).await?;
    tx.commit().await
}

fn event(id: &str) -> Value {
    json!({ "id": id, "type": "invoice.paid", "object": id })
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    app.db().query(sql).fetch_one::<(i64,)>().await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_flow_through_restarts_and_crashes_of_postgres() {
    let mut server = TestPostgres::start().await;
    let app = app(TestDatabase::sqlite(), &Probe::default(), |app| {
        app.set("DATABASE_URL", server.url())
            .set("DATABASE_ACQUIRE_TIMEOUT", "1s")
            .set("EVENTS_POLL", "20ms")
            .set("WEBHOOKS_POLL", "20ms")
            .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
            .with(Orders)
    })
    .await;
    let sink = receiver(MockResponse::status(200)).await;
    let owner = app.user();
    let tenant = owner.identity().unwrap().tenant.unwrap();
    create_endpoint(&owner, sink.url(), json!({})).await;

    let load = async {
        let (mut all, mut unanswered, mut ordered) = (BTreeSet::new(), Vec::new(), 0);
        for outage in ["restart", "crash"] {
            for round in 0..20 {
                let ids: Vec<_> = (0..5).map(|number| format!("evt_{outage}_{round}_{number}")).collect();
                let answers = join_all(ids.iter().map(|id| send(&app, event(id)))).await;
                let failed = ids.iter().zip(answers).filter(|(_, answer)| answer.status != 200);
                unanswered.extend(failed.map(|(id, _)| id.clone()));
                all.extend(ids);
                ordered += i64::from(order(&app, tenant, &format!("order_{outage}_{round}")).await.is_ok());
                match (round, outage) {
                    (5, "restart") => server.stop().await,
                    (5, _) => server.kill().await,
                    (10, _) => server.restart().await,
                    _ => {}
                }
            }
        }
        assert!(!unanswered.is_empty(), "there was no outage");
        // The providers send again what was not answered with 2xx.
        for id in unanswered {
            while send(&app, event(&id)).await.status != 200 {}
        }
        (all, ordered)
    };
    let all_done = async {
        let (all, ordered) = load.await;
        loop {
            let inbound = count(&app, "select count(*) from omni_webhooks where status <> 'processed'").await;
            let outbound = count(&app, "select count(*) from omni_webhook_deliveries where state <> 'delivered'").await;
            if inbound + outbound == 0 {
                return (all, ordered);
            }
            // What was interrupted waits for the end of its lease, or for its backoff.
            app.clock().advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let done = tokio::time::timeout(OUTAGE_TIMEOUT, Box::pin(work_until(&app, all_done))).await;
    let (all, ordered) = done.unwrap_or_else(|_| panic!("webhooks were lost"));

    let (orders, events): (Vec<_>, Vec<_>) = rows(&app).await.into_iter().partition(|id| id.starts_with("order_"));
    assert_eq!(events, all.into_iter().collect::<Vec<_>>(), "each was processed once");
    // A commit whose response was lost may have succeeded.
    let messages = count(&app, "select count(*) from omni_webhook_messages").await;
    assert!(messages >= ordered && i64::try_from(orders.len()) == Ok(messages), "{orders:?} {messages} {ordered}");
    assert_eq!(count(&app, "select count(*) from omni_webhook_deliveries").await, messages);
    let requests = sink.requests();
    let ids: BTreeSet<_> = requests.iter().filter_map(|request| request.header("webhook-id")).collect();
    assert_eq!(i64::try_from(ids.len()), Ok(messages));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_need_no_redis() {
    let mut server = TestRedis::start().await;
    let probe = Probe::default();
    let app = app(TestDatabase::sqlite(), &probe, |app| {
        app.set("REDIS_URL", server.url())
            .set("WEBHOOKS_POLL", "10ms")
            .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
            .set("WEBHOOKS_FAILURE_LIMIT", "2/hour")
            .with(Orders)
    })
    .await;
    let sink = receiver(MockResponse::status(200)).await;
    let owner = app.user();
    let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
    let forge = || {
        let request = app.anonymous().post(PUBLIC, json!({ "id": "evt", "type": "x" }));
        request.header("x-probe-signature", "1,00")
    };
    for (number, phase) in (1..).zip(["before", "killed", "restarted"]) {
        match phase {
            "killed" => server.kill(),
            "restarted" => server.restart().await,
            _ => {}
        }
        send(&app, json!({ "id": format!("evt_{phase}"), "type": "invoice.paid" })).await.expect(200);
        forge().await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        publish(&app, &owner, number).await;
        deliver(&app, &sink, usize::try_from(number).unwrap()).await;
        app.run_events().await;
    }
    assert_eq!(rows(&app).await, ["evt_before", "evt_killed", "evt_restarted"]);
    assert_eq!(states(&app, &endpoint).await, ["delivered"; 3]);
    // Failed verifications are limited without Redis too: each process counts by itself.
    server.kill();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(forge().await.status.as_u16());
    }
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
}
