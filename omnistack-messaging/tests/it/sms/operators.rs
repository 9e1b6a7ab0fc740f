//! Tests of the operators' routes of suppressed numbers.

use std::time::Duration;

use omnistack_core::audit::{AuditFilter, AuditStore};
use omnistack_messaging::{
    email::{EmailApi, Mail},
    sms::SmsApi,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::scripted;

const LIST: &str = "/api/v1/admin/sms/suppressions";

on_each_database! {
    async fn operators_add_list_and_remove_with_a_record(database: TestDatabase) {
        let (app, ..) = scripted(database, |app| app.with(SmsApi)).await;
        let admin = app.operator();
        for (number, status) in [("+49 170 1234567", 201), ("+491701234567", 200), ("+14158675309", 201), ("+442079460018", 201)] {
            let answer = admin.post(LIST, json!({ "recipient": number, "detail": "asked by phone" })).await.expect(status).json();
            assert_eq!(answer["reason"], "manual");
            app.clock().advance(Duration::from_secs(1));
        }
        let numbers = |page: &Value| page["items"].as_array().unwrap().iter().map(|one| one["recipient"].clone()).collect::<Vec<_>>();
        let first = admin.get(format!("{LIST}?limit=2")).await.expect(200).json();
        assert_eq!(numbers(&first), ["+442079460018", "+14158675309"], "the newest first");
        let rest = admin.get(format!("{LIST}?cursor={}", first["next_cursor"].as_str().unwrap())).await.expect(200).json();
        assert_eq!(numbers(&rest), ["+491701234567"]);
        admin.delete(format!("{LIST}/+491701234567")).await.expect(204);
        admin.delete(format!("{LIST}/+491701234567")).await.expect_error(404, "NOT_FOUND");
        admin.delete(format!("{LIST}/x")).await.expect(404);
        for body in [json!({ "recipient": "0170" }), json!({}), json!({ "recipient": "+14158675309", "x": 1 })] {
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
    async fn each_channel_has_a_list_of_its_own(database: TestDatabase) {
        let (app, ..) = scripted(database, |app| app.with(Mail::default()).with(EmailApi).with(SmsApi)).await;
        let admin = app.operator();
        let mails = "/api/v1/admin/email/suppressions";
        admin.post(mails, json!({ "recipient": "ada@example.com" })).await.expect(201);
        admin.post(LIST, json!({ "recipient": "ada@example.com" })).await.expect(422);
        admin.post(LIST, json!({ "recipient": "+14158675309" })).await.expect(201);
        for (path, recipient) in [(mails, "ada@example.com"), (LIST, "+14158675309")] {
            let page = admin.get(path).await.expect(200).json();
            assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["recipient"]), (1, &json!(recipient)));
        }
        let document = app.anonymous().get("/openapi.json").await.expect(200).json();
        for (path, id) in [(mails, "listEmailSuppressions"), (LIST, "listSmsSuppressions")] {
            let found = &document["paths"][path]["get"]["operationId"];
            assert!(found.as_str().unwrap().to_lowercase().ends_with(&id.to_lowercase()), "{found}");
        }
    }
}
