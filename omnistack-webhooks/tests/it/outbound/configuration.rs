//! The configuration, the catalogue, and the OpenAPI document.

use omnistack_core::http::Method;
use omnistack_testkit::{TestResponse, mock_server::ClosedPort, on_each_database};

use super::*;

const CONFIGURE: &str = "/api/v1/app/webhooks/configure";

async fn configure(client: &TestClient, body: Value) -> TestResponse {
    client.request(Method::PUT, CONFIGURE).json(body).await
}

on_each_database! {
    async fn a_ping_precedes_the_saving(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let failing = receiver(MockResponse::text(404, "nothing here")).await;
        let body = json!({ "url": failing.url(), "events": ["parcel.sent"] });
        let refused = configure(&owner, body).await.expect_error(422, "WEBHOOK_PING_FAILED").json();
        let ping = &refused["error"]["details"]["ping"];
        assert_eq!((&ping["status_code"], &ping["response"]), (&json!(404), &json!("nothing here")));
        let closed = ClosedPort::reserve();
        let body = json!({ "url": closed.url(), "events": ["parcel.sent"] });
        let refused = configure(&owner, body).await.expect_error(422, "WEBHOOK_PING_FAILED").json();
        assert!(refused["error"]["details"]["ping"]["error"].is_string(), "{refused}");
        let nothing = owner.get(ENDPOINTS).await.expect(200).json();
        assert_eq!(nothing["items"], json!([]));

        let working = receiver(MockResponse::status(200)).await;
        let body = json!({ "url": working.url(), "events": ["parcel.sent"], "description": "Warehouse" });
        let created = configure(&owner, body).await.expect(200).json();
        assert!(created["secret"].as_str().unwrap().starts_with("whsec_"));
        assert_eq!((&created["endpoint"]["is_default"], &created["ping"]["delivered"]), (&json!(true), &json!(true)));
        let sent: Value = serde_json::from_slice(&working.requests()[0].body).unwrap();
        assert_eq!((&sent["type"], &sent["data"]), (&json!("webhook.ping"), &json!({ "service": null })));

        // The second time it is replaced, and keeps its secret.
        let replaced = configure(&owner, json!({ "url": working.url(), "events": ["*"] })).await.expect(200).json();
        assert!(replaced.get("secret").is_none(), "{replaced}");
        assert_eq!(replaced["endpoint"]["id"], created["endpoint"]["id"]);
        assert_eq!(replaced["endpoint"]["description"], "Warehouse");
        assert_eq!(replaced["endpoint"]["events"], json!(["*"]));
        // A failing ping changes nothing.
        let body = json!({ "url": failing.url(), "events": ["parcel.lost"] });
        configure(&owner, body).await.expect_error(422, "WEBHOOK_PING_FAILED");
        let shown = owner.get(path(&created["endpoint"])).await.expect(200).json();
        assert_eq!((&shown["url"], &shown["events"]), (&replaced["endpoint"]["url"], &json!(["*"])));
        owner.post(format!("{WEBHOOKS}/test"), json!({})).await.expect(200);
        assert_eq!(audited(&app, &owner).await, ["webhook_endpoint.created", "webhook_endpoint.updated"]);
    }

    async fn the_configuration_is_an_overview(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let created = create(&owner, URL, &["parcel.sent"]).await;
        publish(&app, &owner, 1).await;
        let shown = owner.get(CONFIGURE).await.expect(200).json();
        let types: Vec<_> = shown["event_types"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        assert!(["parcel.sent", "parcel.lost", "webhook.ping"].iter().all(|kind| types.contains(&&json!(kind))));
        assert_eq!(shown["endpoints"][0]["id"], created["id"]);
        let event = &shown["events"][0];
        assert_eq!((&event["type"], &event["deliveries"]), (&json!("parcel.sent"), &json!(1)));
        assert_eq!((&event["delivered"], &event["failed"], &event["skipped"]), (&json!(0), &json!(0), &json!(0)));
        for inbound in shown["inbound_urls"].as_array().unwrap() {
            let service = inbound["service"].as_str().unwrap();
            let expected =
                format!("http://127.0.0.1:8080/api/v1/public/webhooks/{service}/{}", tenant(&owner));
            assert_eq!(inbound["url"], expected);
        }
    }

    async fn the_catalogue_is_public(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let catalogue = app.anonymous().get("/api/v1/public/webhooks/catalogue").await.expect(200).json();
        let types = catalogue["types"].as_array().unwrap();
        let sent = types.iter().find(|one| one["type"] == "parcel.sent").unwrap();
        assert_eq!((&sent["version"], &sent["example"]), (&json!(3), &json!({ "number": 7 })));
        assert_eq!(sent["description"], ParcelSent::DESCRIPTION);
        assert_eq!(sent["schema"]["required"], json!(["number"]));
        assert_eq!(sent["schema"]["properties"]["number"]["description"], "The number of the parcel.");

        let document = app.anonymous().get("/openapi.json").await.expect(200).json();
        let request = &document["webhooks"]["parcel.sent"]["post"];
        let schema = &request["requestBody"]["content"]["application/json"]["schema"]["properties"];
        assert_eq!(schema["data"]["$ref"], "#/components/schemas/ParcelSent");
        assert_eq!(document["components"]["schemas"]["ParcelSent"]["required"], json!(["number"]));
    }
}
