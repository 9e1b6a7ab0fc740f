//! Tests of suppression and of the delivery reports that cause it.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    app::AppBuilder,
    audit::{AuditFilter, AuditStore},
    crypto::HmacKey,
    http::HeaderMap,
    webhook::{SourceEvent, WebhookRequest, WebhookSources},
};
use omnistack_messaging::email::{EmailApi, MessageState, SuppressionReason, Suppressions};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{mail, scripted};

const SECRET: &[u8] = b"a secret of the test, long enough";
/// The start of the test clock, 2030-01-01, as a Unix time in seconds.
const NOW: i64 = 1_893_456_000;

fn bounce(to: &[&str], kind: &str) -> Value {
    let bounce = json!({ "type": kind, "subType": "General", "message": "no such user" });
    json!({ "type": "email.bounced", "created_at": "2030-01-01T00:00:00Z", "data": { "to": to, "bounce": bounce } })
}

async fn resend(app: &TestApp, id: &str, at: i64, body: &str, signed: &str) -> TestResponse {
    let key = HmacKey::new(SECRET).unwrap();
    let signature = key.sign(format!("{id}.{at}.{signed}")).to_base64();
    app.anonymous()
        .post("/api/v1/public/email/webhooks/resend", ())
        .header("svix-id", id)
        .header("svix-timestamp", at.to_string())
        .header("svix-signature", format!("v1,c2hvcnQ= v1a,x v1,{signature}"))
        .body(body.to_owned())
        .await
}

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(SECRET))
}

fn suppressions(app: &TestApp) -> Suppressions {
    app.app().context().get().unwrap()
}

async fn list(app: &TestApp) -> Vec<(String, SuppressionReason)> {
    suppressions(app).list(None, 100).await.unwrap().into_iter().map(|one| (one.recipient, one.reason)).collect()
}

on_each_database! {
    async fn a_suppressed_recipient_is_left_out_with_a_reason(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        suppressions(&app).add(&"Gone <Gone@example.com>".parse().unwrap(), SuppressionReason::Bounce, Some("550")).await.unwrap();
        let nobody = outbox.send(&mail("gone@EXAMPLE.com")).await.unwrap();
        let some = outbox.send(&mail("gone@example.com").cc("ada@example.com").bcc("GONE@example.com")).await.unwrap();
        app.run_jobs().await;
        let (nobody, some) = (outbox.get(nobody).await.unwrap().unwrap(), outbox.get(some).await.unwrap().unwrap());
        assert_eq!(nobody.state, MessageState::Skipped);
        assert_eq!(nobody.reason.as_deref(), Some("gone@example.com is suppressed: bounce"));
        assert_eq!((some.state, some.reason), (MessageState::Sent, nobody.reason));
        let taken = provider.taken();
        assert_eq!((taken.len(), taken[0].to.len(), taken[0].cc.len(), taken[0].bcc.len()), (1, 1, 0, 0));
        assert_eq!(taken[0].to[0].mailbox(), "ada@example.com");
        let hidden = outbox.send(&mail("gone@example.com").bcc("ada@example.com")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(outbox.get(hidden).await.unwrap().unwrap().state, MessageState::Skipped, "a hidden copy stays hidden");
        assert!(suppressions(&app).remove(&"gone@example.com".parse().unwrap()).await.unwrap());
        outbox.send(&mail("gone@example.com")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(provider.taken().len(), 2);
    }

    async fn resend_tells_of_bounces_and_complaints(database: TestDatabase) {
        let (app, ..) = scripted(database, |app| app.set("RESEND_WEBHOOK_SECRET", secret())).await;
        let complaint = json!({ "type": "email.complained", "data": { "to": ["Angry <angry@example.com>"] } });
        let delivered = json!({ "type": "email.delivered", "data": { "to": ["ada@example.com"] } });
        for (id, event) in [
            ("1", bounce(&["gone@example.com"], "Permanent")),
            ("2", bounce(&["full@example.com"], "Transient")),
            ("3", bounce(&["odd@example.com"], "Undetermined")),
            ("4", bounce(&["a@example.com", "b@example.com"], "Permanent")),
            ("5", complaint),
            ("6", delivered),
            ("7", json!({ "type": "contact.created", "data": { "email": "x@example.com" } })),
        ] {
            let event = event.to_string();
            resend(&app, id, NOW, &event, &event).await.expect(204);
        }
        let expected = [("angry@example.com".to_owned(), SuppressionReason::Complaint), ("gone@example.com".into(), SuppressionReason::Bounce)];
        let mut found = list(&app).await;
        found.sort();
        assert_eq!(found, expected);
        // After an operator removed the address, the same report has no effect, but a new one has.
        suppressions(&app).remove(&"gone@example.com".parse().unwrap()).await.unwrap();
        let again = bounce(&["gone@example.com"], "Permanent").to_string();
        resend(&app, "1", NOW, &again, &again).await.expect(204);
        assert_eq!(list(&app).await.len(), 1);
        resend(&app, "8", NOW, &again, &again).await.expect(204);
        assert_eq!(list(&app).await.len(), 2);
    }

    async fn what_resend_did_not_sign_is_not_heeded(database: TestDatabase) {
        let (app, ..) = scripted(database, |app| app.set("RESEND_WEBHOOK_SECRET", secret())).await;
        let body = bounce(&["gone@example.com"], "Permanent").to_string();
        let path = "/api/v1/public/email/webhooks/resend";
        for (at, signed) in [(NOW - 301, body.as_str()), (NOW + 301, &body), (NOW, "another body"), (i64::MIN, &body)] {
            resend(&app, "1", at, &body, signed).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        app.anonymous().post(path, ()).body(body.clone()).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        app.anonymous().post("/api/v1/public/email/webhooks/sendgrid", ()).body(body.clone()).await.expect(404);
        for malformed in ["no json", "[]", "{}"] {
            resend(&app, "1", NOW, malformed, malformed).await.expect_error(422, "WEBHOOK_MALFORMED");
        }
        let odd = json!({ "type": "email.bounced", "data": { "to": "gone@example.com" } }).to_string();
        resend(&app, "1", NOW, &odd, &odd).await.expect_error(422, "WEBHOOK_UNPROCESSABLE");
        let long = "x".repeat((1 << 20) + 1);
        resend(&app, "1", NOW, &long, &long).await.expect(413);
        assert!(list(&app).await.is_empty());
        for at in [NOW - 300, NOW + 300] {
            resend(&app, &at.to_string(), at, &body, &body).await.expect(204);
        }
        assert_eq!(list(&app).await.len(), 1);
    }

    async fn sendgrid_tells_of_bounces_and_complaints(database: TestDatabase) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let prefix = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let key = STANDARD.encode([&prefix, pair.public_key().as_ref()].concat());
        let (app, ..) = scripted(database, |app| app.set("SENDGRID_WEBHOOK_KEY", key)).await;
        let post = async |at: i64, body: &str, signed: &str| {
            let signature = pair.sign(&SystemRandom::new(), format!("{at}{signed}").as_bytes()).unwrap();
            app.anonymous()
                .post("/api/v1/public/email/webhooks/sendgrid", ())
                .header("x-twilio-email-event-webhook-timestamp", at.to_string())
                .header("x-twilio-email-event-webhook-signature", STANDARD.encode(signature))
                .body(body.to_owned())
                .await
        };
        let event = |id: &str, email: &str, event: &str, kind: &str, status: &str| {
            json!({ "sg_event_id": id, "email": email, "event": event, "type": kind, "status": status, "reason": "550 no",
                "timestamp": 1, "unknown": { "a": 1 } })
        };
        let events = json!([
            event("a", "gone@example.com", "bounce", "bounce", "5.1.1"),
            event("b", "blocked@example.com", "bounce", "blocked", "5.7.1"),
            event("c", "later@example.com", "deferred", "", "4.2.2"),
            event("d", "angry@example.com", "spamreport", "", ""),
            event("e", "not an address", "bounce", "bounce", "5.1.1"),
            event("f", "full@example.com", "bounce", "bounce", "4.2.2"),
            event("a", "other@example.com", "bounce", "bounce", "5.1.1"),
            event("", "none@example.com", "bounce", "bounce", "5.1.1"),
        ])
        .to_string();
        for (at, signed) in [(NOW - 301, events.as_str()), (NOW, "else")] {
            post(at, &events, signed).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        for malformed in ["no json", "{}"] {
            post(NOW, malformed, malformed).await.expect_error(422, "WEBHOOK_MALFORMED");
        }
        post(NOW, "[{}]", "[{}]").await.expect_error(422, "WEBHOOK_UNPROCESSABLE");
        assert!(list(&app).await.is_empty());
        for _ in 0..2 {
            post(NOW, &events, &events).await.expect(204);
            let mut found = list(&app).await;
            found.sort();
            let expected = [("angry@example.com".to_owned(), SuppressionReason::Complaint), ("gone@example.com".into(), SuppressionReason::Bounce)];
            assert_eq!(found, expected);
        }
    }

    async fn providers_are_sources_of_webhooks(database: TestDatabase) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let prefix = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let key = STANDARD.encode([&prefix, pair.public_key().as_ref()].concat());
        let settings = |app: AppBuilder| app.set("RESEND_WEBHOOK_SECRET", secret()).set("SENDGRID_WEBHOOK_KEY", key);
        let (app, ..) = scripted(database, settings).await;
        let sources: WebhookSources = app.app().context().get().unwrap();
        assert_eq!(sources.names(), ["resend", "sendgrid"]);
        let described = |source: &str, headers: &HeaderMap, body: &str| {
            let now = app.clock().clock().now();
            let request = WebhookRequest { url: "https://app.example.com", headers, body: body.as_bytes(), now };
            sources.get(source).unwrap().1.describe(&request).unwrap()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [("svix-id", "msg_1"), ("svix-timestamp", "1893456000"), ("svix-signature", "v1,AAAA")] {
            headers.insert(name, value.parse().unwrap());
        }
        let body = r#"{"type":"email.opened","created_at":"2030-01-01T00:00:00.5Z","data":{"email_id":"7"},"new":1}"#;
        let expected = SourceEvent::new("msg_1", "email.opened").object(Some("7"));
        assert_eq!(described("resend", &headers, body), expected.occurred_at("2030-01-01T00:00:00.5Z".parse().ok()));
        let odd = r#"{"type":"new","created_at":5,"data":[]}"#;
        assert_eq!(described("resend", &headers, odd), SourceEvent::new("msg_1", "new"));
        // The id of a batch is the SHA-256 hash of its bytes.
        let empty = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945";
        assert_eq!(described("sendgrid", &HeaderMap::new(), "[]"), SourceEvent::new(empty, "batch"));
    }

    async fn operators_see_and_change_the_list(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(EmailApi)).await;
        let (admin, path) = (app.operator(), "/api/v1/admin/email/suppressions");
        for number in 0..3 {
            let new = json!({ "recipient": format!("R{number}@example.com"), "detail": "asked us" });
            let added = admin.post(path, &new).await.expect(201).json();
            assert_eq!((&added["recipient"], &added["reason"]), (&json!(format!("r{number}@example.com")), &json!("manual")));
            admin.post(path, &new).await.expect(200);
        }
        let first = admin.get(format!("{path}?limit=2")).await.expect(200).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = admin.get(format!("{path}?limit=2&cursor={cursor}")).await.expect(200).json();
        let addresses = |page: &Value| page["items"].as_array().unwrap().iter().map(|one| one["recipient"].to_string()).collect::<Vec<_>>();
        assert_eq!(addresses(&first), ["\"r2@example.com\"", "\"r1@example.com\""]);
        assert_eq!((addresses(&second), second.get("next_cursor")), (vec!["\"r0@example.com\"".into()], None));
        admin.delete(format!("{path}/R1@EXAMPLE.com")).await.expect(204);
        admin.delete(format!("{path}/r1@example.com")).await.expect(404);
        admin.delete(format!("{path}/nobody")).await.expect(404);
        admin.post(path, json!({ "recipient": "nobody" })).await.expect(422);
        for query in ["limit=0", "cursor=x", "cursor=00", "page=1"] {
            admin.get(format!("{path}?{query}")).await.expect(422);
        }
        app.user().get(path).await.expect(403);
        app.anonymous().get(path).await.expect(401);
        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("email."), 20, None).await.unwrap().items;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        let suppressed = "email.address_suppressed";
        assert_eq!(actions, ["email.address_released", suppressed, suppressed, suppressed]);
    }
}
