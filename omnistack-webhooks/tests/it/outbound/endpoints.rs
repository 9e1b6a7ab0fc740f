//! Endpoints: their values, limits and changes.

use omnistack_core::crypto::KeyRing;
use omnistack_testkit::on_each_database;

use super::*;

on_each_database! {
    async fn an_endpoint_is_created_changed_and_deleted(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let body = json!({
            "url": URL, "description": "Warehouse", "events": ["parcel.sent", "parcel.lost", "parcel.sent"],
            "headers": { "Authorization": "Bearer sesame", "X-Team": "blue" }, "rate_per_second": 5,
        });
        let created = owner.post(ENDPOINTS, body).await.expect(201);
        let text = created.text();
        let created = created.json();
        assert!(created["secret"].as_str().unwrap().starts_with("whsec_") && !text.contains("sesame"), "{text}");
        assert_eq!(created["events"], json!(["parcel.lost", "parcel.sent"]));
        assert_eq!(created["header_names"], json!(["authorization", "x-team"]));
        assert_eq!((&created["status"], &created["scheme"]), (&json!("enabled"), &json!("v1")));
        assert_eq!(created["created_by"], json!(owner.identity().unwrap().user));

        // The secret and the values of headers are not shown again.
        let mut expected = created.clone();
        expected.as_object_mut().unwrap().remove("secret");
        let shown = owner.get(path(&created)).await.expect(200);
        assert!(!shown.text().contains("whsec_") && !shown.text().contains("sesame"), "{}", shown.text());
        assert_eq!(shown.json(), expected);
        let list = owner.get(ENDPOINTS).await.expect(200).json();
        assert_eq!(list["items"], json!([expected]));

        let change = json!({
            "headers": { "x-team": null, "X-Room": "1" }, "events": ["*"], "rate_per_second": null, "status": "paused",
        });
        let changed = owner.patch(path(&created), change).await.expect(200).json();
        assert_eq!(changed["header_names"], json!(["authorization", "x-room"]));
        assert_eq!((&changed["events"], &changed["status"]), (&json!(["*"]), &json!("paused")));
        assert_eq!((&changed["rate_per_second"], &changed["url"]), (&json!(null), &json!(URL)));

        owner.delete(path(&created)).await.expect(204);
        owner.get(path(&created)).await.expect_error(404, "NOT_FOUND");
        owner.delete(path(&created)).await.expect_error(404, "NOT_FOUND");
        let actions = ["webhook_endpoint.created", "webhook_endpoint.updated", "webhook_endpoint.deleted"];
        assert_eq!(audited(&app, &owner).await, actions);
    }

    async fn secrets_are_sealed_in_the_database(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let body = json!({ "url": URL, "events": ["*"], "headers": { "x-key": "sesame" } });
        let created = owner.post(ENDPOINTS, body).await.expect(201).json();
        let mut tx = begin(&app, &owner).await;
        let stored: (String, String) =
            tx.query("select secrets, headers from omni_webhook_endpoints").fetch_one().await.unwrap();
        tx.commit().await.unwrap();
        let secret = created["secret"].as_str().unwrap().trim_start_matches("whsec_");
        assert!(stored.0.starts_with("v1.") && !stored.0.contains(secret), "{}", stored.0);
        assert!(stored.1.starts_with("v1.") && !stored.1.contains("sesame"), "{}", stored.1);
    }

    async fn values_that_are_not_accepted_are_named(database: TestDatabase) {
        let app = start(database, |app| app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "false")).await;
        let owner = app.user();
        let existing = create(&owner, URL, &["*"]).await;
        for (field, value, named) in [
            ("url", json!("not a url"), "url"),
            ("url", json!("ftp://receiver.example"), "url"),
            ("url", json!("https://ada:pw@receiver.example"), "url"),
            ("url", json!("http://127.0.0.1:8080/"), "url"),
            ("url", json!("https://[fd00::1]/"), "url"),
            ("url", json!("https://169.254.169.254/"), "url"),
            ("events", json!([]), "events"),
            ("events", json!(["*", "parcel.sent"]), "events"),
            ("events", json!(["parcel.sent", "parcel.eaten"]), "events[1]"),
            ("headers", json!({ "Host": "a" }), "headers.Host"),
            ("headers", json!({ "webhook-signature": "a" }), "headers.webhook-signature"),
            ("headers", json!({ "x-a": "line\nbreak" }), "headers.x-a"),
            ("rate_per_second", json!(0), "rate_per_second"),
            ("description", json!("a".repeat(501)), "description"),
        ] {
            let mut body = json!({ "url": URL, "events": ["*"] });
            body[field] = value.clone();
            let refused = owner.post(ENDPOINTS, body).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], named, "{refused}");
            let mut change = json!({});
            change[field] = value;
            owner.patch(path(&existing), change).await.expect_error(422, "VALIDATION_FAILED");
        }
        let body = json!({ "url": URL, "events": ["parcel.eaten"] });
        let refused = owner.post(ENDPOINTS, body).await.expect_error(422, "VALIDATION_FAILED").text();
        assert!(refused.contains("parcel.lost, parcel.sent"), "{refused}");
        owner.post(ENDPOINTS, json!({ "url": URL, "events": ["*"], "scheme": "v2" })).await.expect(422);
        owner.patch(path(&existing), json!({ "status": "disabled" })).await.expect(422);
        owner.patch(path(&existing), json!({ "scheme": "v1a" })).await.expect(422);
        let list = owner.get(ENDPOINTS).await.expect(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }

    async fn a_tenant_has_a_limited_number_of_endpoints(database: TestDatabase) {
        let app = start(database, |app| app.set("WEBHOOKS_MAX_ENDPOINTS", "2")).await;
        let owner = app.user();
        let first = create(&owner, URL, &["*"]).await;
        create(&owner, URL, &["*"]).await;
        let body = json!({ "url": URL, "events": ["*"] });
        owner.post(ENDPOINTS, &body).await.expect_error(409, "TOO_MANY_WEBHOOK_ENDPOINTS");
        create(&app.user(), URL, &["*"]).await;
        owner.delete(path(&first)).await.expect(204);
        owner.post(ENDPOINTS, &body).await.expect(201);
    }

    async fn lists_have_pages(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        for _ in 0..3 {
            create(&owner, URL, &["*"]).await;
            app.clock().advance(std::time::Duration::from_millis(1));
        }
        let first = owner.get(format!("{ENDPOINTS}?limit=2")).await.expect(200).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let last = owner.get(format!("{ENDPOINTS}?limit=2&cursor={cursor}")).await.expect(200).json();
        assert_eq!((first["items"].as_array().unwrap().len(), last["items"].as_array().unwrap().len()), (2, 1));
        assert!(last.get("next_cursor").is_none());
        for query in ["cursor=x", "limit=0", "limit=101", "page=1"] {
            owner.get(format!("{ENDPOINTS}?{query}")).await.expect_error(422, "VALIDATION_FAILED");
        }
    }

    async fn production_requires_https(database: TestDatabase) {
        let app = start(database, |app| {
            app.set("APP_ENV", "production")
                .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "false")
                .set("SECRET_KEYS", KeyRing::new_key("test"))
                .set("PUBLIC_URL", "https://app.example.com")
        })
        .await;
        let owner = app.user();
        for url in ["http://receiver.example/", "http://127.0.0.1/", "https://10.0.0.1/"] {
            let body = json!({ "url": url, "events": ["*"] });
            owner.post(ENDPOINTS, &body).await.expect_error(422, "VALIDATION_FAILED");
            let configure = owner.request(omnistack_core::http::Method::PUT, format!("{WEBHOOKS}/configure"));
            configure.json(&body).await.expect_error(422, "VALIDATION_FAILED");
        }
        create(&owner, URL, &["*"]).await;
    }
}
