//! Tests of dead letters and the operators' actions on them.

use std::sync::atomic::{AtomicBool, Ordering};

use omnistack_core::{
    events::{DeliveryFilter, DeliveryState},
    http::StatusCode,
};
use omnistack_testkit::on_each_database;
use serde_json::json;

use super::*;

/// Returns a subscriber that fails on every text that begins with `bad`, and the flag that turns the failures off.
fn broken() -> (Writer, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&broken);
    let writer = Writer::with_decision("w", move |text, _| {
        if text.starts_with("bad") && now.load(Ordering::SeqCst) { Err(JobError::retry("broken")) } else { Ok(()) }
    });
    (writer, broken)
}

/// Runs deliveries and advances the clock until all attempts are used up.
async fn exhaust(app: &TestApp) {
    for _ in 0..4 {
        app.run_events().await;
        app.clock().advance(Duration::from_secs(60));
    }
}

on_each_database! {
    async fn a_dead_letter_holds_back_its_key_until_it_is_retried_or_skipped(database: TestDatabase) {
        let (writer, broken) = broken();
        let app = start(database, |app| app.with(writer.clone())).await;
        let events = app.events();
        for (key, text) in [("a", "bad a"), ("a", "after a"), ("b", "bad b"), ("b", "after b"), ("c", "c")] {
            events.publish(&NoteEvent::new(key, text)).await.unwrap();
        }
        exhaust(&app).await;
        assert_eq!(writer.take_texts().iter().filter(|text| *text == "bad a").count(), 3);
        let dead = DeliveryFilter::subscriber("w").state(DeliveryState::Dead);
        assert_eq!(events.deliveries(&dead, None, 10).await.unwrap().len(), 2);
        let standing = events.subscribers().await.unwrap();
        let counts: Vec<_> = standing[0].deliveries.values().copied().collect();
        assert_eq!((standing.len(), counts), (1, vec![2, 2, 1]), "waiting, dead, done");
        assert_eq!(standing[0].behind_since.unwrap().to_string(), "2030-01-01T00:00:00Z");
        // Later events with the same key wait.
        events.publish(&NoteEvent::new("a", "later a")).await.unwrap();
        assert_eq!(app.run_events().await, 0);

        assert_eq!(events.skip(&dead.clone().key("a")).await.unwrap(), 1);
        assert_eq!(app.run_events().await, 2);
        assert_eq!(written(&app, "w", "a").await, ["after a", "later a"]);

        assert_eq!(events.retry(&dead).await.unwrap(), 1);
        assert_eq!(app.run_events().await, 1, "still broken, with new attempts");
        broken.store(false, Ordering::SeqCst);
        exhaust(&app).await;
        assert_eq!(written(&app, "w", "b").await, ["bad b", "after b"]);
        assert_eq!(events.retry(&DeliveryFilter::default()).await.unwrap(), 0);
    }

    async fn one_that_waits_can_be_skipped_without_letting_others_pass(database: TestDatabase) {
        let (writer, broken) = broken();
        let app = start(database, |app| app.with(writer.clone())).await;
        let mut ids = Vec::new();
        for text in ["bad", "skipped", "last"] {
            ids.push(app.events().publish(&NoteEvent::new("k", text)).await.unwrap());
        }
        assert_eq!(app.run_events().await, 1);
        assert_eq!(app.events().skip(&DeliveryFilter::default().id(ids[1])).await.unwrap(), 1);
        assert_eq!(app.run_events().await, 0, "the first one's backoff goes on");
        broken.store(false, Ordering::SeqCst);
        exhaust(&app).await;
        assert_eq!(written(&app, "w", "k").await, ["bad", "last"]);
    }

    async fn operators_have_routes(database: TestDatabase) {
        let (writer, _) = broken();
        let app = start(database, |app| app.with(writer)).await;
        for key in ["a", "b"] {
            app.events().publish(&NoteEvent::new(key, "bad")).await.unwrap();
        }
        exhaust(&app).await;
        let (admin, path) = (app.operator(), "/api/v1/admin/events");
        app.user().get(format!("{path}/deliveries")).await.expect(StatusCode::FORBIDDEN);
        let page = admin.get(format!("{path}/deliveries?state=dead&limit=1")).await.expect(StatusCode::OK).json();
        assert_eq!((&page["items"][0]["key"], &page["items"][0]["error"]), (&json!("b"), &json!("broken")));
        let cursor = page["next_cursor"].as_str().unwrap();
        let next = admin.get(format!("{path}/deliveries?state=dead&limit=1&cursor={cursor}")).await.json();
        assert_eq!((&next["items"][0]["key"], &next["next_cursor"]), (&json!("a"), &json!(null)));
        admin.get(format!("{path}/deliveries?cursor=x")).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let standing = admin.get(format!("{path}/subscribers")).await.json();
        assert_eq!(standing[0]["deliveries"], json!({"dead": 2}));
        admin.post(format!("{path}/skip"), json!({"subscriber": "w"})).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let skipped = admin.post(format!("{path}/skip"), json!({"subscriber": "w", "key": "a"})).await;
        assert_eq!(skipped.expect(StatusCode::OK).json(), json!({"changed": 1}));
        let retried = admin.post(format!("{path}/retry"), json!({"subscriber": "w", "all": true})).await;
        assert_eq!(retried.expect(StatusCode::OK).json(), json!({"changed": 1}));
    }
}
