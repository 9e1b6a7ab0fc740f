//! Publishing: what is stored, with which transaction, and for which endpoints.

use omnistack_testkit::on_each_database;

use super::*;

on_each_database! {
    async fn an_event_commits_and_rolls_back_with_the_caller(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        create(&owner, URL, &["*"]).await;
        let mut tx = begin(&app, &owner).await;
        publisher(&app).publish_in(&mut tx, &ParcelSent { number: 1 }).await.unwrap();
        tx.rollback().await.unwrap();
        assert!(states(&owner).await.is_empty());

        publish(&app, &owner, 2).await;
        let listed = deliveries(&owner, "limit=100").await;
        assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("pending")));
        assert_eq!(listed[0]["type"], "parcel.sent");
        let details = owner.get(format!("{DELIVERIES}/{}", listed[0]["id"].as_str().unwrap())).await.expect(200).json();
        let body = json!({ "type": "parcel.sent", "timestamp": "2030-01-01T00:00:00Z", "data": { "number": 2 } });
        assert_eq!((&details["payload"], &details["attempts"]), (&body, &json!([])));
        let mut tx = begin(&app, &owner).await;
        let stored: (i64, String) =
            tx.query("select version, payload from omni_webhook_messages").fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        let text = r#"{"type":"parcel.sent","timestamp":"2030-01-01T00:00:00Z","data":{"number":2}}"#;
        assert_eq!(stored, (3, text.to_owned()));
    }

    async fn endpoints_receive_the_types_they_name(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let all = create(&owner, URL, &["*"]).await;
        let sent = create(&owner, URL, &["parcel.sent"]).await;
        let lost = create(&owner, URL, &["parcel.lost"]).await;
        let paused = create(&owner, URL, &["parcel.sent", "parcel.lost"]).await;
        owner.patch(path(&paused), json!({ "status": "paused" })).await.expect(200);
        // Of another tenant.
        create(&app.user(), URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        for (endpoint, expected) in [(&all, 1), (&sent, 1), (&lost, 0), (&paused, 1)] {
            let query = format!("endpoint_id={}", endpoint["id"].as_str().unwrap());
            let found = deliveries(&owner, &query).await;
            assert_eq!(found.len(), expected, "{endpoint}");
            assert!(found.iter().all(|delivery| delivery["state"] == "pending"));
        }
        // An event that no endpoint receives is still in the log of events.
        let other = app.user();
        publish(&app, &other, 1).await;
        let shown = other.get(format!("{WEBHOOKS}/configure")).await.expect(200).json();
        let event = &shown["events"][0];
        assert_eq!((&event["type"], &event["deliveries"]), (&json!("parcel.sent"), &json!(0)));
    }

    async fn of_events_with_the_same_key_one_is_sent(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let (owner, other) = (app.user(), app.user());
        for client in [&owner, &other] {
            create(client, URL, &["*"]).await;
        }
        for (client, key, expected) in [
            (&owner, Some("a"), 1),
            (&owner, Some("a"), 1),
            (&owner, Some("b"), 2),
            (&owner, None, 3),
            (&owner, None, 4),
            (&other, Some("a"), 1),
        ] {
            let mut tx = begin(&app, client).await;
            let event = ParcelSent { number: 1 };
            publisher(&app).publish_once_in(&mut tx, &event, key.map(str::to_owned)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(states(client).await.len(), expected, "{key:?}");
        }
    }

    async fn a_transaction_without_a_tenant_publishes_nothing(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let mut tx = app.db().begin().await.unwrap();
        publisher(&app).publish_in(&mut tx, &ParcelSent { number: 1 }).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = app.db().all_tenants().begin_read().await.unwrap();
        let (count,): (i64,) = tx.query("select count(*) from omni_webhook_messages").fetch_one().await.unwrap();
        assert_eq!(count, 0);
    }

    async fn an_event_that_is_too_large_is_refused(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let mut tx = begin(&app, &owner).await;
        let key = Some("k".repeat(501));
        assert!(publisher(&app).publish_once_in(&mut tx, &ParcelSent { number: 1 }, key).await.is_err());
    }

    /// Events of tenant databases are relayed to the app's database, each once.
    async fn events_of_tenant_databases_are_relayed(database: TestDatabase) {
        let app = start(database.with_tenant_databases(), |app| app).await;
        let owner = app.user();
        create(&owner, URL, &["*"]).await;
        let mut tx = begin(&app, &owner).await;
        publisher(&app).publish_in(&mut tx, &ParcelSent { number: 1 }).await.unwrap();
        tx.rollback().await.unwrap();
        publish(&app, &owner, 2).await;
        assert!(states(&owner).await.is_empty());
        app.app().relay_tenant_outboxes().await.unwrap();
        app.app().relay_tenant_outboxes().await.unwrap();
        assert_eq!(states(&owner).await, ["pending"]);
    }
}
