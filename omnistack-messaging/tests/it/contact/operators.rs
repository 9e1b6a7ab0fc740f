//! Tests of the operators' routes for messages.

use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    id::Id,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADMIN, app, kept, send, valid_message, with_fields};

on_each_database! {
    async fn operators_list_change_and_remove_with_a_record(database: TestDatabase) {
        let app = app(database, |app| app.set("CONTACT_RATE_LIMIT", "off")).await;
        for n in 0..5 {
            let body = with_fields(valid_message(&app).await, json!({ "message": format!("message {n}") }));
            send(&app, body).await.expect(202);
        }
        let admin = app.operator();
        let first = admin.get(format!("{ADMIN}?limit=2")).await.expect(200).json();
        let told = |page: &Value| page["items"].as_array().unwrap().iter().map(|one| one["message"].clone()).collect::<Vec<_>>();
        assert_eq!(told(&first), ["message 4", "message 3"]);
        let next = format!("{ADMIN}?limit=3&cursor={}", first["next_cursor"].as_str().unwrap());
        let rest = admin.get(next).await.expect(200).json();
        assert_eq!((told(&rest), &rest["next_cursor"]), (vec!["message 2".into(), "message 1".into(), "message 0".into()], &Value::Null));

        let one = format!("{ADMIN}/{}", first["items"][0]["id"].as_str().unwrap());
        app.clock().advance(std::time::Duration::from_secs(60));
        for status in ["open", "answered", "answered", "closed", "spam"] {
            let changed = admin.patch(&one, json!({ "status": status })).await.expect(200).json();
            assert_eq!(changed["status"], status);
            assert!(changed["updated_at"].as_str() > changed["created_at"].as_str());
        }
        for (status, count) in [("spam", 1), ("new", 4), ("closed", 0)] {
            let page = admin.get(format!("{ADMIN}?status={status}")).await.expect(200).json();
            assert_eq!(page["items"].as_array().unwrap().len(), count, "{status}");
        }
        admin.delete(&one).await.expect(204);
        for gone in [admin.get(&one).await, admin.delete(&one).await, admin.patch(&one, json!({ "status": "new" })).await] {
            gone.expect_error(404, "NOT_FOUND");
        }
        assert_eq!(kept(&app).await.len(), 4);

        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("contact."), 20, None).await.unwrap().items;
        let actions: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.actor)).collect();
        let operator = admin.identity().map(|identity| identity.user);
        let mut expected = vec![("contact.deleted", operator)];
        expected.extend([("contact.status_changed", operator); 4]);
        assert_eq!(actions, expected);
        assert_eq!(entries[1].details.as_ref().unwrap()["to"], "spam");
    }
}

#[tokio::test]
async fn only_operators_look_and_what_they_ask_is_checked() {
    let app = app(TestDatabase::sqlite(), |app| app).await;
    let one = format!("{ADMIN}/{}", Id::<()>::from_uuid(Uuid::nil()));
    for path in [ADMIN, &one] {
        app.anonymous().get(path).await.expect(401);
        app.user().get(path).await.expect(403);
    }
    let admin = app.operator();
    for (query, status) in [("limit=0", 422), ("limit=101", 422), ("cursor=x", 422), ("status=old", 422), ("x=1", 422)]
    {
        admin.get(format!("{ADMIN}?{query}")).await.expect(status);
    }
    admin.get(format!("{ADMIN}/17")).await.expect(422);
    for body in [json!({ "status": "old" }), json!({}), json!({ "status": "new", "name": "x" })] {
        admin.patch(&one, body).await.expect(422);
    }
}
