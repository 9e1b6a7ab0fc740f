//! Who sees and changes what: tenants, permissions, impersonation, operators.

use omnistack_core::{
    http::Method,
    id::Id,
    identity::{Identity, Permissions, UserId},
};
use omnistack_testkit::{TestResponse, on_each_database};
use uuid::Uuid;

use super::*;

/// A method, a path and a body.
type Call = (Method, String, Value);

/// Returns all calls of routes that name an endpoint or a delivery.
fn calls_by_id(endpoint: &Value, delivery: &Value) -> Vec<Call> {
    let endpoint_path = path(endpoint);
    let delivery = format!("{DELIVERIES}/{}", delivery["id"].as_str().unwrap());
    let period = json!({ "since": "2030-01-01T00:00:00Z", "until": "2030-01-02T00:00:00Z" });
    vec![
        (Method::GET, endpoint_path.clone(), json!(null)),
        (Method::PATCH, endpoint_path.clone(), json!({ "status": "paused" })),
        (Method::DELETE, endpoint_path.clone(), json!(null)),
        (Method::POST, format!("{endpoint_path}/secret/rotate"), json!({})),
        (Method::POST, format!("{endpoint_path}/recover"), period.clone()),
        (Method::POST, format!("{endpoint_path}/replay"), period),
        (Method::POST, format!("{WEBHOOKS}/test"), json!({ "endpoint_id": endpoint["id"] })),
        (Method::GET, delivery.clone(), json!(null)),
        (Method::POST, format!("{delivery}/retry"), json!({})),
    ]
}

async fn send(client: &TestClient, (method, path, body): Call) -> TestResponse {
    let request = client.request(method, path);
    if body.is_null() { request.await } else { request.json(body).await }
}

fn with_permissions(app: &TestApp, client: &TestClient, permissions: &str) -> TestClient {
    let permissions: Permissions = permissions.parse().unwrap();
    app.client_as(client.identity().unwrap().clone().with_permissions(permissions))
}

on_each_database! {
    async fn another_tenant_reaches_nothing(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = app.user();
        let endpoint = create(&owner, URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        let delivery = deliveries(&owner, "limit=1").await.remove(0);
        let stranger = freshly_signed_in(&app, &app.user());
        for call in calls_by_id(&endpoint, &delivery) {
            let what = format!("{} {}", call.0, call.1);
            let response = send(&stranger, call).await;
            assert_eq!(response.status, 404, "{what}: {}", response.text());
            response.expect_error(404, "NOT_FOUND");
        }
        for list in [ENDPOINTS, DELIVERIES] {
            assert_eq!(stranger.get(list).await.expect(200).json()["items"], json!([]));
        }
        let shown = stranger.get(format!("{WEBHOOKS}/configure")).await.expect(200).json();
        assert_eq!((&shown["endpoints"], &shown["events"]), (&json!([]), &json!([])));
        let query = format!("endpoint_id={}", endpoint["id"].as_str().unwrap());
        assert!(deliveries(&stranger, &query).await.is_empty());
        // Nothing has changed.
        assert_eq!(owner.get(path(&endpoint)).await.expect(200).json()["status"], "enabled");
        assert_eq!(states(&owner).await, ["pending"]);
    }

    async fn the_same_calls_are_the_owners(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let receiver = receiver(MockResponse::status(200)).await;
        let owner = freshly_signed_in(&app, &app.user());
        let endpoint = create(&owner, receiver.url(), &["*"]).await;
        publish(&app, &owner, 1).await;
        let delivery = deliveries(&owner, "limit=1").await.remove(0);
        let mut calls = calls_by_id(&endpoint, &delivery);
        // The deletion comes last.
        let delete = calls.remove(2);
        calls.push(delete);
        for call in calls {
            send(&owner, call).await.expect_ok();
        }
        assert!(states(&owner).await.is_empty());
    }

    async fn routes_need_their_permissions(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = freshly_signed_in(&app, &app.user());
        let endpoint = create(&owner, URL, &["*"]).await;
        publish(&app, &owner, 1).await;
        let delivery = deliveries(&owner, "limit=1").await.remove(0);
        let reader = with_permissions(&app, &owner, "webhooks:read");
        let other = with_permissions(&app, &owner, "*:manage");
        let mut calls = calls_by_id(&endpoint, &delivery);
        calls.push((Method::GET, format!("{WEBHOOKS}/configure"), json!(null)));
        calls.push((Method::GET, ENDPOINTS.to_owned(), json!(null)));
        calls.push((Method::GET, DELIVERIES.to_owned(), json!(null)));
        calls.push((Method::PUT, format!("{WEBHOOKS}/configure"), json!({ "url": URL, "events": ["*"] })));
        calls.push((Method::POST, ENDPOINTS.to_owned(), json!({ "url": URL, "events": ["*"] })));
        for call in calls {
            send(&app.anonymous(), call.clone()).await.expect_error(401, "UNAUTHORIZED");
            send(&other, call.clone()).await.expect_error(403, "PERMISSION_DENIED");
            let reads = call.0 == Method::GET;
            let response = send(&reader, call).await;
            if reads { response.expect(200) } else { response.expect_error(403, "PERMISSION_DENIED") };
        }
    }

    async fn an_impersonator_changes_nothing_that_lasts(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let owner = freshly_signed_in(&app, &app.user());
        let endpoint = create(&owner, URL, &["*"]).await;
        let operator: UserId = Id::from_uuid(Uuid::new_v4());
        let impersonator = app.client_as(owner.identity().unwrap().clone().with_impersonator(operator));
        let body = json!({ "url": URL, "events": ["*"] });
        for call in [
            (Method::POST, ENDPOINTS.to_owned(), body.clone()),
            (Method::PUT, format!("{WEBHOOKS}/configure"), body),
            (Method::PATCH, path(&endpoint), json!({ "url": "https://evil.example/" })),
            (Method::POST, format!("{}/secret/rotate", path(&endpoint)), json!({})),
        ] {
            send(&impersonator, call).await.expect_error(403, "IMPERSONATION_REFUSED");
        }
        impersonator.get(path(&endpoint)).await.expect(200);
    }

    async fn operators_disable_endpoints_of_all_tenants(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let (one, two) = (app.user(), app.user());
        let first = create(&one, URL, &["*"]).await;
        app.clock().advance(std::time::Duration::from_millis(1));
        let second = create(&two, URL, &["*"]).await;
        publish(&app, &one, 1).await;
        let operator = app.operator();
        let ids = |list: &Value| -> Vec<Value> {
            list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
        };
        let list = operator.get(ADMIN).await.expect(200);
        assert!(!list.text().contains("swordfish"), "{}", list.text());
        assert_eq!(ids(&list.json()), [first["id"].clone(), second["id"].clone()]);
        let of_one = operator.get(format!("{ADMIN}?tenant_id={}", tenant(&one))).await.expect(200).json();
        assert_eq!(ids(&of_one), [first["id"].clone()]);
        let page = operator.get(format!("{ADMIN}?limit=1")).await.expect(200).json();
        let next = format!("{ADMIN}?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
        assert_eq!(ids(&operator.get(next).await.expect(200).json()), [second["id"].clone()]);

        let admin_path = format!("{ADMIN}/{}", first["id"].as_str().unwrap());
        let disable = json!({ "enabled": false, "reason": "spam" });
        let disabled = operator.patch(&admin_path, disable).await.expect(200).json();
        assert_eq!((&disabled["status"], &disabled["disabled_reason"]), (&json!("disabled"), &json!("operator")));
        assert_eq!(states(&one).await, ["skipped"]);
        let of_status = operator.get(format!("{ADMIN}?status=disabled")).await.expect(200).json();
        assert_eq!(ids(&of_status), [first["id"].clone()]);
        one.patch(path(&first), json!({ "status": "enabled" })).await.expect_error(409, "DISABLED_BY_OPERATOR");
        let test = json!({ "endpoint_id": first["id"] });
        one.post(format!("{WEBHOOKS}/test"), test).await.expect_error(409, "DISABLED_BY_OPERATOR");
        one.patch(path(&first), json!({ "description": "Still ours" })).await.expect(200);
        let enabled = operator.patch(&admin_path, json!({ "enabled": true })).await.expect(200).json();
        assert_eq!((&enabled["status"], &enabled["disabled_at"]), (&json!("enabled"), &json!(null)));
        let actions = audited(&app, &one).await;
        assert_eq!(actions[1..], ["webhook_endpoint.disabled", "webhook_endpoint.updated", "webhook_endpoint.enabled"]);

        let unknown = format!("{ADMIN}/{}", Uuid::new_v4());
        operator.patch(unknown, json!({ "enabled": true })).await.expect_error(404, "NOT_FOUND");
        one.get(ADMIN).await.expect_error(403, "FORBIDDEN");
        one.patch(&admin_path, json!({ "enabled": true })).await.expect_error(403, "FORBIDDEN");
    }

    async fn a_caller_without_a_tenant_is_told_so(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let user = Identity::user(Id::from_uuid(Uuid::new_v4())).with_permissions(Permissions::all());
        app.client_as(user).get(ENDPOINTS).await.expect_error(403, "TENANT_REQUIRED");
    }
}
