//! Tests of Twilio: requests, and the meaning of responses.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_messaging::sms::{SmsErrorKind, SmsProvider, Twilio, TwilioCredentials, TwilioFrom};
use omnistack_testkit::mock_server::{MockResponse, MockServer};

use super::{client, clock, laws::provider, message};

#[tokio::test]
async fn it_is_sent_what_its_documentation_says() {
    let upstream = MockServer::start().await;
    upstream
        .expect("POST", "/2010-04-01/Accounts/AC123/Messages.json")
        .header("authorization", &format!("Basic {}", STANDARD.encode("AC123:12345")))
        .header("content-type", "application/x-www-form-urlencoded")
        .reply(MockResponse::json(201, r#"{"sid":"SM0123456789abcdef","status":"queued","num_segments":"1"}"#));
    let mut full = message("Grüße & 10 € = 🎉\n+1");
    full.status_url = Some("https://app.example.com/hook?message=7".into());
    let sent = provider(upstream.url()).send(&full).await.unwrap();
    assert_eq!((sent.provider, sent.id.as_deref()), ("twilio", Some("SM0123456789abcdef")));
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&upstream.requests()[0].body).into_owned().collect();
    let expected = [
        ("To", "+15005550006"),
        ("From", "+15005550001"),
        ("Body", "Grüße & 10 € = 🎉\n+1"),
        ("StatusCallback", "https://app.example.com/hook?message=7"),
    ];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    // With an API key and a messaging service.
    upstream
        .expect("POST", "/base/2010-04-01/Accounts/AC123/Messages.json")
        .header("authorization", &format!("Basic {}", STANDARD.encode("SK1:secret")))
        .body_contains("MessagingServiceSid=MG1")
        .reply(MockResponse::json(201, "cut off").cut_after(3));
    let key = TwilioCredentials::Key("SK1".into(), "secret".into());
    let url = format!("{}/base/", upstream.url());
    let service = TwilioFrom::Service("MG1".into());
    let twilio = Twilio::new(client(Duration::from_secs(20)), &url, "AC123", &key, service, clock()).unwrap();
    assert!(!format!("{twilio:?} {key:?}").contains("secret"));
    // The status code shows that the message was accepted.
    assert_eq!(twilio.send(&message("Hello")).await.unwrap().id, None);
}

#[tokio::test(start_paused = true)]
async fn what_answers_mean() {
    use SmsErrorKind::*;
    let refused = |code: u32| {
        MockResponse::json(400, format!(r#"{{"code":{code},"message":"about +15005550006","status":400}}"#))
    };
    let table = [
        ("429", MockResponse::json(429, "{}").header("retry-after", "7"), RateLimited, Some(7)),
        ("429 for a year", MockResponse::status(429).header("retry-after", "31536000"), RateLimited, Some(86_400)),
        ("401", MockResponse::json(401, r#"{"code":20003,"message":"Authenticate"}"#), Configuration, None),
        ("403", MockResponse::status(403), Configuration, None),
        ("404", MockResponse::status(404), Configuration, None),
        ("a redirect", MockResponse::status(307).header("location", "https://evil.example/"), Configuration, None),
        ("not our number", refused(21606), Configuration, None),
        ("no sender", refused(21603), Configuration, None),
        ("no such number", refused(21211), Refused, None),
        ("a country not allowed", refused(21408), Refused, None),
        ("stopped", refused(21610), OptedOut, None),
        ("422 that is no JSON", MockResponse::text(422, "no"), Refused, None),
        ("500", MockResponse::status(500), Unknown, None),
        ("502", MockResponse::text(502, "bad gateway"), Unknown, None),
        ("503", MockResponse::status(503).header("retry-after", "3"), Unknown, Some(3)),
        ("504", MockResponse::status(504), Unknown, None),
        ("a reset", MockResponse::reset(), Unknown, None),
        ("half an answer", MockResponse::raw("HTTP/1.1 201 Crea").cut_after(usize::MAX), Unknown, None),
        ("no HTTP", MockResponse::raw("hello\r\n\r\n"), Unknown, None),
        ("silence", MockResponse::hang(), Unknown, None),
        ("a minute late", MockResponse::json(201, "{}").delay(Duration::from_secs(60)), Unknown, None),
    ];
    for (what, reply, kind, wait) in table {
        let upstream = MockServer::script([reply]).await;
        let error = provider(upstream.url()).send(&message("Hello")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), wait, "{what}: {error}");
        assert!(!error.to_string().contains("5005550006"), "{error}");
        assert_eq!(upstream.requests().len(), 1, "{what}: it was sent again");
    }
}

#[tokio::test]
async fn an_account_or_a_url_that_is_none_is_refused() {
    let token = TwilioCredentials::Token("12345".into());
    let from = || TwilioFrom::Sender("+15005550001".into());
    for (url, account) in [
        ("http://api.twilio.com", "AC123"),
        ("https://user:pass@api.twilio.com", "AC123"),
        ("https://api.twilio.com", ""),
        ("https://api.twilio.com", "AC1/../AC2"),
    ] {
        let made = Twilio::new(client(Duration::from_secs(1)), url, account, &token, from(), clock());
        assert_eq!(made.unwrap_err().kind(), SmsErrorKind::Configuration, "{url} {account}");
    }
}
