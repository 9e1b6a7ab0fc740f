//! Tests of Twilio's webhooks and their signatures.

use omnistack_core::{
    app::AppBuilder,
    crypto::Sha256,
    http::HeaderMap,
    webhook::{SourceEvent, WebhookRequest, WebhookSources},
};
use omnistack_messaging::sms::{
    MessageId, MessageInfo, MessageState, Sms, SmsErrorKind, SmsOutbox, SmsSuppressions, twilio_signature,
};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse as HttpAnswer, on_each_database};

use super::{Scripted, SmsSendResult, TO, message, scripted};

const PATH: &str = "/api/v1/public/sms/webhooks/twilio";
const URL: &str = "https://app.example.com/api/v1/public/sms/webhooks/twilio";
const TOKEN: &str = "12345";

async fn telling(database: TestDatabase) -> (TestApp, SmsOutbox, Scripted) {
    scripted(database, |app| app.set("TWILIO_AUTH_TOKEN", TOKEN).set("TWILIO_WEBHOOK_URL", URL)).await
}

fn pairs(form: &[(&str, &str)]) -> Vec<(String, String)> {
    form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn encoded(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

async fn post(app: &TestApp, query: &str, form: &[(&str, &str)], signature: &str) -> HttpAnswer {
    app.anonymous()
        .post(format!("{PATH}{query}"), ())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", signature)
        .body(encoded(form))
        .await
}

/// Posts a webhook as Twilio does.
async fn post_webhook(app: &TestApp, query: &str, form: &[(&str, &str)]) {
    let signature = twilio_signature(&TOKEN.into(), &format!("{URL}{query}"), &pairs(form)).unwrap();
    post(app, query, form, &signature).await.expect(204);
}

async fn state(outbox: &SmsOutbox, id: MessageId) -> MessageInfo {
    outbox.get(id).await.unwrap().unwrap()
}

#[test]
fn signatures_are_those_of_the_documentation() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let form = [
        ("Digits", "1234"),
        ("To", "+18005551212"),
        ("CallSid", "CA1234567890ABCDE"),
        ("From", "+14158675309"),
        ("Caller", "+14158675309"),
    ];
    let signature = twilio_signature(&TOKEN.into(), url, &pairs(&form));
    assert_eq!(signature.as_deref(), Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    // A field that occurs more than once: each distinct value is signed once, in order.
    let repeated =
        [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")];
    let signature = twilio_signature(&TOKEN.into(), url, &pairs(&repeated));
    assert_eq!(signature.as_deref(), Some("IK+Dwps556ElfBT0I3Rgjkr1wJU="));
    assert_eq!(twilio_signature(&String::new().into(), url, &pairs(&form)), None);
}

on_each_database! {
    async fn what_becomes_of_a_message_is_kept(database: TestDatabase) {
        let (app, outbox, provider) = telling(database).await;
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(provider.offered()[0].status_url.as_deref(), Some(format!("{URL}?message={id}").as_str()));
        let query = format!("?message={id}");
        post_webhook(&app, &query, &[("MessageSid", "1"), ("MessageStatus", "sent"), ("To", TO)]).await;
        assert_eq!(state(&outbox, id).await.state, MessageState::Sent);
        post_webhook(&app, &query, &[("MessageSid", "1"), ("MessageStatus", "delivered")]).await;
        assert_eq!(state(&outbox, id).await.state, MessageState::Delivered);
        // Reports that are late, out of order, or about an unknown message change nothing.
        for form in [[("MessageSid", "1"), ("MessageStatus", "sent")], [("MessageSid", "1"), ("MessageStatus", "failed")], [("MessageSid", "2"), ("MessageStatus", "failed")]] {
            post_webhook(&app, &query, &form).await;
        }
        for (query, form) in [
            ("", [("MessageSid", "none"), ("MessageStatus", "delivered")]),
            ("?message=none", [("MessageSid", "none"), ("MessageStatus", "delivered")]),
            ("", [("SmsSid", "1"), ("SmsStatus", "received")]),
        ] {
            post_webhook(&app, query, &form).await;
        }
        assert_eq!(state(&outbox, id).await.state, MessageState::Delivered);

        // Messages are also found by the provider's id.
        let other = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        let info = state(&outbox, other).await;
        post_webhook(&app, &format!("?message={other}"), &[("MessageSid", info.provider_id.as_deref().unwrap()), ("MessageStatus", "undelivered"), ("ErrorCode", "30003")]).await;
        let info = state(&outbox, other).await;
        assert_eq!((info.state, info.reason.as_deref()), (MessageState::Undelivered, Some("Twilio error code 30003")));
    }

    async fn what_nobody_knew_is_known_when_it_is_told(database: TestDatabase) {
        let (app, outbox, provider) = telling(database).await;
        provider.then([SmsSendResult::Fail(SmsErrorKind::Unknown)]);
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        assert_eq!(state(&outbox, id).await.state, MessageState::Unknown);
        let query = format!("?message={id}");
        post_webhook(&app, &query, &[("MessageSid", "SM7"), ("MessageStatus", "sent")]).await;
        let info = state(&outbox, id).await;
        assert_eq!((info.state, info.provider_id.as_deref(), info.reason), (MessageState::Sent, Some("SM7"), None));
        post_webhook(&app, &query, &[("MessageSid", "SM7"), ("MessageStatus", "delivered")]).await;
        assert_eq!(state(&outbox, id).await.state, MessageState::Delivered);
    }

    async fn owners_stop_and_start_messages(database: TestDatabase) {
        let (app, outbox, provider) = telling(database).await;
        let suppressions: SmsSuppressions = app.app().context().get().unwrap();
        let number = TO.parse().unwrap();
        for (wish, stopped) in [("HELP", false), ("STOP", true), ("STOP", true), ("START", false)] {
            post_webhook(&app, "", &[("From", TO), ("Body", "whatever"), ("OptOutType", wish), ("MessageSid", "SM1")]).await;
            assert_eq!(suppressions.get(&number).await.unwrap().is_some(), stopped, "{wish}");
        }
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        post_webhook(&app, &format!("?message={id}"), &[("MessageSid", "1"), ("MessageStatus", "failed"), ("ErrorCode", "21610")]).await;
        assert!(suppressions.get(&number).await.unwrap().is_some());
        let next = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        assert_eq!((state(&outbox, next).await.state, provider.offered().len()), (MessageState::Skipped, 1));
    }

    async fn what_twilio_did_not_sign_is_not_heeded(database: TestDatabase) {
        let (app, outbox, _) = telling(database).await;
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        let (query, form) = (format!("?message={id}"), [("MessageSid", "1"), ("MessageStatus", "delivered")]);
        let sign = |token: &str, url: String, form: &[(&str, &str)]| twilio_signature(&token.into(), &url, &pairs(form)).unwrap();
        let right = sign(TOKEN, format!("{URL}{query}"), &form);
        for (what, query, form, signature) in [
            ("another token", query.as_str(), form, sign("54321", format!("{URL}{query}"), &form)),
            ("another path", &query, form, sign(TOKEN, format!("https://app.example.com/{query}"), &form)),
            ("another host", &query, form, sign(TOKEN, format!("https://evil.example.com{PATH}{query}"), &form)),
            ("no TLS", &query, form, sign(TOKEN, format!("http://app.example.com{PATH}{query}"), &form)),
            ("another message", "?message=00000000-0000-0000-0000-000000000000", form, right.clone()),
            ("another status", &query, [("MessageSid", "1"), ("MessageStatus", "failed")], right.clone()),
            ("nothing", &query, form, String::new()),
            ("half of it", &query, form, right[..14].into()),
        ] {
            let answer = post(&app, query, &form, &signature).await;
            assert_eq!(answer.status, 400, "{what}");
            answer.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        let unsigned = app.anonymous().post(format!("{PATH}{query}"), ()).body(encoded(&form)).await;
        unsigned.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        assert_eq!(state(&outbox, id).await.state, MessageState::Sent);
        // With the default port, as Twilio sometimes signs.
        let with_port = sign(TOKEN, format!("https://app.example.com:443{PATH}{query}"), &form);
        post(&app, &query, &form, &with_port).await.expect(204);
        assert_eq!(state(&outbox, id).await.state, MessageState::Delivered);
        let long = "x".repeat(70_000);
        post(&app, &query, &[("a", &long)], &right).await.expect(413);
    }
}

on_each_database! {
    async fn a_json_body_is_signed_by_its_hash(database: TestDatabase) {
        let (app, outbox, _) = telling(database).await;
        let id = outbox.send(&message("Hello")).await.unwrap();
        app.run_jobs().await;
        let body = r#"{"MessageSid":"1","MessageStatus":"failed","ErrorCode":30003}"#;
        let query = format!("?message={id}&bodySHA256={}", Sha256::digest(body));
        let signature = twilio_signature(&TOKEN.into(), &format!("{URL}{query}"), &[]).unwrap();
        let send = |query: &str, body: &'static str| {
            let request = app.anonymous().post(format!("{PATH}{query}"), ()).header("x-twilio-signature", &signature);
            request.body(body)
        };
        send(&query, r#"{"MessageSid":"1","MessageStatus":"delivered"}"#).await.expect(400);
        send(&format!("?message={id}"), body).await.expect(400);
        assert_eq!(state(&outbox, id).await.state, MessageState::Sent);
        send(&query, body).await.expect(204);
        let info = state(&outbox, id).await;
        assert_eq!((info.state, info.reason.as_deref()), (MessageState::Undelivered, Some("Twilio error code 30003")));
    }

    async fn a_signature_of_the_public_url_counts_too(database: TestDatabase) {
        let settings = |app: AppBuilder| {
            let app = app.set("PUBLIC_URL", "https://other.example.com");
            app.set("TWILIO_AUTH_TOKEN", TOKEN).set("TWILIO_WEBHOOK_URL", "https://app.example.com/through/a/proxy")
        };
        let (app, outbox, _) = scripted(database, settings).await;
        let form = [("MessageSid", "1"), ("MessageStatus", "delivered")];
        for (url, status) in [
            (URL.to_owned(), 400_u16),
            ("https://app.example.com/through/a/proxy".into(), 204),
            (format!("https://other.example.com{PATH}"), 204),
            (format!("https://other.example.com:443{PATH}"), 204),
        ] {
            let id = outbox.send(&message("Hello")).await.unwrap();
            app.run_jobs().await;
            let sid = state(&outbox, id).await.provider_id.unwrap();
            let (query, form) = (format!("?message={id}"), [("MessageSid", sid.as_str()), form[1]]);
            let signature = twilio_signature(&TOKEN.into(), &format!("{url}{query}"), &pairs(&form)).unwrap();
            assert_eq!(post(&app, &query, &form, &signature).await.status, status, "{url}");
            let expected = if status == 204 { MessageState::Delivered } else { MessageState::Sent };
            assert_eq!(state(&outbox, id).await.state, expected, "{url}");
        }
    }

    async fn twilio_is_a_source_of_webhooks(database: TestDatabase) {
        let (app, ..) = telling(database).await;
        let sources: WebhookSources = app.app().context().get().unwrap();
        let (name, source) = sources.get("twilio").unwrap();
        assert_eq!(name, "twilio");
        let long = "S".repeat(65);
        let hash = |form: &[(&str, &str)]| Sha256::digest(encoded(form)).to_string();
        let (call, endless) = ([("CallSid", "CA1"), ("CallStatus", "completed")], [("MessageSid", long.as_str()), ("SmsStatus", "sent")]);
        for (form, id, kind, object) in [
            ([("MessageSid", "SM1"), ("MessageStatus", "delivered")], "SM1:delivered".to_owned(), "message.delivered", Some("SM1")),
            ([("MessageSid", "SM1"), ("OptOutType", "STOP")], "SM1:opt_out".into(), "opt_out", Some("SM1")),
            ([("SmsSid", "SM2"), ("Body", "Hello")], "SM2:received".into(), "message.received", Some("SM2")),
            (call, hash(&call), "other", None),
            (endless, hash(&endless), "message.sent", None),
        ] {
            let body = encoded(&form);
            // A header that Twilio does not sign changes nothing.
            let mut headers = HeaderMap::new();
            headers.insert("i-twilio-idempotency-token", "1".parse().unwrap());
            let request = WebhookRequest { url: URL, headers: &headers, body: body.as_bytes(), now: app.clock().clock().now() };
            assert_eq!(source.describe(&request).unwrap(), SourceEvent::new(id, kind).object(object), "{body}");
            assert!(source.verify(&request).await.is_err());
            let signed = source.sign(&request).unwrap();
            source.verify(&WebhookRequest { headers: &signed, ..request }).await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_its_address_there_is_no_webhook() {
    let app =
        TestApp::start(TestDatabase::sqlite(), |app| app.with(Sms::default()).set("TWILIO_AUTH_TOKEN", TOKEN)).await;
    app.anonymous().post(PATH, ()).await.expect(404);
}
