//! Webhooks in exports of tenants.

use omnistack_testkit::on_each_database;

use super::*;

on_each_database! {
    async fn an_export_has_endpoints_without_secrets_and_their_deliveries(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let (owner, other) = (app.user(), app.user());
        let body = json!({ "url": URL, "events": ["*"], "headers": { "x-key": "sesame" } });
        let endpoint = owner.post(ENDPOINTS, body).await.expect(201).json();
        create(&other, "https://other.example/hook", &["*"]).await;
        publish(&app, &owner, 1).await;
        publish(&app, &other, 2).await;

        let mut exported = app.exported_rows(tenant(&owner)).await;
        exported.retain(|name, _| name.starts_with("webhook-"));
        let text = serde_json::to_string(&exported).unwrap();
        let secret = endpoint["secret"].as_str().unwrap().trim_start_matches("whsec_");
        for hidden in ["swordfish", "sesame", "x-key", secret, "other.example"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        let [endpoints, messages, deliveries] =
            ["endpoints", "messages", "deliveries"].map(|name| exported[format!("webhook-{name}").as_str()].clone());
        assert_eq!((endpoints.len(), messages.len(), deliveries.len()), (1, 1, 1), "{text}");
        assert_eq!((&endpoints[0]["id"], &endpoints[0]["events"]), (&endpoint["id"], &json!(["*"])));
        assert_eq!(endpoints[0]["url"], "https://receiver.example/hook");
        assert_eq!((&messages[0]["kind"], &messages[0]["version"]), (&json!("parcel.sent"), &json!(3)));
        assert!(messages[0]["payload"].is_object(), "{text}");
        assert_eq!((&deliveries[0]["endpoint_id"], &deliveries[0]["state"]), (&endpoint["id"], &json!("pending")));
        assert_eq!(deliveries[0]["message_id"], messages[0]["id"]);
    }
}
