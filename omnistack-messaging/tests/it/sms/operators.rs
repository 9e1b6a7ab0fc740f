//! Tests of the operators' routes of suppressed numbers.

use omnistack_core::audit::{AuditFilter, AuditStore};
use omnistack_messaging::sms::SmsApi;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::scripted;

const LIST: &str = "/api/v1/admin/sms/suppressions";

on_each_database! {
    async fn operators_add_list_and_remove_with_a_record(database: TestDatabase) {
        let (app, ..) = scripted(database, |app| app.with(SmsApi)).await;
        let admin = app.operator();
        for (number, status) in [("+49 170 1234567", 201), ("+491701234567", 200), ("+14158675309", 201), ("+442079460018", 201)] {
            let answer = admin.post(LIST, json!({ "number": number, "detail": "asked by phone" })).await.expect(status).json();
            assert_eq!(answer["reason"], "manual");
        }
        let first = admin.get(format!("{LIST}?limit=2")).await.expect(200).json();
        assert_eq!((&first["items"][0]["number"], &first["items"][1]["number"]), (&json!("+14158675309"), &json!("+442079460018")));
        let next = format!("{LIST}?cursor={}", first["next_cursor"].as_str().unwrap().replace('+', "%2B"));
        let rest = admin.get(next).await.expect(200).json();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]["number"]), (1, &json!("+491701234567")));
        admin.delete(format!("{LIST}/+491701234567")).await.expect(204);
        admin.delete(format!("{LIST}/+491701234567")).await.expect_error(404, "NOT_FOUND");
        admin.delete(format!("{LIST}/x")).await.expect(404);
        for body in [json!({ "number": "0170" }), json!({}), json!({ "number": "+14158675309", "x": 1 })] {
            admin.post(LIST, body).await.expect(422);
        }
        for query in ["cursor=x", "limit=0", "limit=101"] {
            admin.get(format!("{LIST}?{query}")).await.expect(422);
        }
        app.anonymous().get(LIST).await.expect(401);
        app.user().get(LIST).await.expect(403);
        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("sms."), 20, None).await.unwrap().items;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["sms.number_released", "sms.number_suppressed", "sms.number_suppressed", "sms.number_suppressed"]);
    }
}
