//! Tests of Twilio's webhooks and their signatures.

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
            assert_eq!(answer.status, 401, "{what}");
        }
        app.anonymous().post(format!("{PATH}{query}"), ()).body(encoded(&form)).await.expect(401);
        assert_eq!(state(&outbox, id).await.state, MessageState::Sent);
        // With the default port, as Twilio sometimes signs.
        let with_port = sign(TOKEN, format!("https://app.example.com:443{PATH}{query}"), &form);
        post(&app, &query, &form, &with_port).await.expect(204);
        assert_eq!(state(&outbox, id).await.state, MessageState::Delivered);
        let long = "x".repeat(70_000);
        post(&app, &query, &[("a", &long)], &right).await.expect(413);
    }
}

#[tokio::test]
async fn without_its_address_there_is_no_webhook() {
    let app =
        TestApp::start(TestDatabase::sqlite(), |app| app.with(Sms::default()).set("TWILIO_AUTH_TOKEN", TOKEN)).await;
    app.anonymous().post(PATH, ()).await.expect(404);
}
