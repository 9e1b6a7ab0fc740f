//! Tests of Resend and SendGrid: requests, and the meaning of responses.

use std::time::Duration;

use omnistack_core::email::{Email, EmailErrorKind, EmailProvider};
use omnistack_messaging::email::{Resend, SendGrid};
use omnistack_testkit::{
    email::full_email,
    mock_server::{MockResponse, MockServer},
};
use serde_json::{Value, json};

use super::{client, clock};

fn small() -> Email {
    Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.")
}

fn resend(url: &str) -> Resend {
    Resend::new(client(Duration::from_secs(20)), url, &"re_secret".into(), clock()).unwrap()
}

fn sendgrid(url: &str) -> SendGrid {
    SendGrid::new(client(Duration::from_secs(20)), url, &"SG.secret".into(), clock()).unwrap()
}

#[tokio::test]
async fn resend_is_sent_what_its_documentation_says() {
    let upstream = MockServer::start().await;
    upstream
        .expect("POST", "/emails")
        .header("authorization", "Bearer re_secret")
        .header("idempotency-key", "order/7")
        .header("content-type", "application/json")
        .matching("a user agent", |request| request.header("user-agent").is_some_and(|name| name.contains("omnistack")))
        .reply(MockResponse::json(200, r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#));
    let sent = resend(upstream.url()).send(&full_email()).await.unwrap();
    assert_eq!((sent.provider, sent.id.as_deref()), ("resend", Some("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794")));

    let body: Value = serde_json::from_slice(&upstream.requests()[0].body).unwrap();
    assert_eq!(
        body,
        json!({
            "from": "Köln Shop <shop@xn--bcher-kva.example>",
            "to": ["Ada Lovelace <ada@example.com>", "\"O'Brien, Chloë\" <chloe@example.com>"],
            "cc": ["charles@example.com"],
            "bcc": ["secret@example.com"],
            "reply_to": ["help@example.com"],
            "subject": full_email().subject,
            "text": full_email().text,
            "html": full_email().html,
            "headers": {
                "X-Campaign": "spring—2030",
                "List-Unsubscribe": "<https://shop.example.com/unsubscribe/2nFq?x=1>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "attachments": [
                { "filename": "logo.png", "content": "iVBORwD/", "content_type": "image/png", "content_id": "logo" },
                {
                    "filename": "Bericht für März.csv",
                    "content": "YSxiCjEsMg0KDQouDQplbmQ=",
                    "content_type": "text/csv; charset=utf-8",
                },
            ],
            "tags": [{ "name": "template", "value": "welcome" }],
        })
    );

    upstream
        .expect("POST", "/emails")
        .matching("no key", |request| request.header("idempotency-key").is_none())
        .reply(MockResponse::json(200, r#"{"id":"1"}"#));
    resend(upstream.url()).send(&small()).await.unwrap();
    let body: Value = serde_json::from_slice(&upstream.requests()[1].body).unwrap();
    let expected =
        json!({ "from": "shop@example.com", "to": ["ada@example.com"], "subject": "Hello", "text": "Hello." });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn sendgrid_is_sent_what_its_documentation_says() {
    let upstream = MockServer::start().await;
    upstream
        .expect("POST", "/v3/mail/send")
        .header("authorization", "Bearer SG.secret")
        .header("content-type", "application/json")
        .times(2)
        .reply(MockResponse::status(202).header("x-message-id", "14c5d75ce93.dfd.64b469"));
    let sent = sendgrid(upstream.url()).send(&full_email()).await.unwrap();
    assert_eq!((sent.provider, sent.id.as_deref()), ("sendgrid", Some("14c5d75ce93.dfd.64b469")));

    let body: Value = serde_json::from_slice(&upstream.requests()[0].body).unwrap();
    assert_eq!(
        body,
        json!({
            "personalizations": [{
                "to": [
                    { "email": "ada@example.com", "name": "Ada Lovelace" },
                    { "email": "chloe@example.com", "name": "O'Brien, Chloë" },
                ],
                "cc": [{ "email": "charles@example.com" }],
                "bcc": [{ "email": "secret@example.com" }],
            }],
            "from": { "email": "shop@xn--bcher-kva.example", "name": "Köln Shop" },
            "reply_to_list": [{ "email": "help@example.com" }],
            "subject": full_email().subject,
            "content": [
                { "type": "text/plain", "value": full_email().text },
                { "type": "text/html", "value": full_email().html },
            ],
            "attachments": [
                {
                    "content": "iVBORwD/",
                    "type": "image/png",
                    "filename": "logo.png",
                    "disposition": "inline",
                    "content_id": "logo",
                },
                {
                    "content": "YSxiCjEsMg0KDQouDQplbmQ=",
                    "type": "text/csv; charset=utf-8",
                    "filename": "Bericht für März.csv",
                    "disposition": "attachment",
                },
            ],
            "headers": {
                "X-Campaign": "spring—2030",
                "List-Unsubscribe": "<https://shop.example.com/unsubscribe/2nFq?x=1>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "custom_args": { "template": "welcome" },
        })
    );

    // SendGrid rejects a mail that contains an address twice.
    let twice = small().add_to("Ada <ADA@example.com>").cc("ada@example.com").bcc("b@example.com").bcc("b@example.com");
    sendgrid(upstream.url()).send(&twice).await.unwrap();
    let body: Value = serde_json::from_slice(&upstream.requests()[1].body).unwrap();
    let expected = json!([{ "to": [{ "email": "ada@example.com" }], "bcc": [{ "email": "b@example.com" }] }]);
    assert_eq!(body["personalizations"], expected);
}

#[tokio::test(start_paused = true)]
async fn what_answers_mean() {
    use EmailErrorKind::*;
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(100_000));
    let table = [
        ("429", MockResponse::json(429, "{}").header("retry-after", "7"), RateLimited, Some(7)),
        (
            "429 until",
            MockResponse::json(429, "{}").header("retry-after", "Tue, 01 Jan 2030 12:01:00 GMT"),
            RateLimited,
            Some(60),
        ),
        ("429 for a year", MockResponse::json(429, "{}").header("retry-after", "31536000"), RateLimited, Some(86_400)),
        ("408", MockResponse::status(408), Unavailable, None),
        ("400", MockResponse::json(400, r#"{"errors":[{"message":"Bad Request"}]}"#), Refused, None),
        ("422", MockResponse::json(422, "{}"), Refused, None),
        ("413", MockResponse::status(413), Refused, None),
        ("409", MockResponse::json(409, r#"{"name":"invalid_idempotent_request"}"#), Refused, None),
        ("401", MockResponse::json(401, "{}"), Configuration, None),
        ("403", MockResponse::json(403, "{}"), Configuration, None),
        ("404", MockResponse::json(404, "{}"), Configuration, None),
        ("302", MockResponse::status(302).header("location", "https://example.com/"), Configuration, None),
        ("500", MockResponse::json(500, "{}"), Unknown, None),
        ("502", MockResponse::text(502, "<html>"), Unknown, None),
        ("503", MockResponse::json(503, "{}").header("retry-after", "5"), Unknown, Some(5)),
        ("reset", MockResponse::reset(), Unknown, None),
        ("hang", MockResponse::hang(), Unknown, None),
        ("head cut off", MockResponse::raw("HTTP/1.1 200 O"), Unknown, None),
        ("no HTTP", MockResponse::raw("250 OK\r\n"), Unknown, None),
        ("an answer without end", MockResponse::json(400, &long), Refused, None),
        ("a refusal cut off", MockResponse::json(400, &long).cut_after(300), Refused, None),
    ];
    for (what, reply, kind, wait) in table {
        let upstream = MockServer::start().await;
        upstream.expect_any().times(2).reply(reply);
        for provider in [&resend(upstream.url()) as &dyn EmailProvider, &sendgrid(upstream.url())] {
            let error = provider.send(&small()).await.err().unwrap_or_else(|| panic!("{what}: taken"));
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{what}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{what}: {error:?}");
            assert!(error.to_string().len() < 1000, "{what}");
        }
        assert_eq!(upstream.requests().len(), 2, "{what}: sent once, and to no other address");
    }
}

#[tokio::test]
async fn resend_knows_the_key_and_is_still_at_it() {
    let upstream = MockServer::start().await;
    upstream.expect_any().reply(MockResponse::json(409, r#"{"name":"concurrent_idempotent_requests"}"#));
    let resend = resend(upstream.url());
    assert!(resend.supports_idempotency_keys());
    assert!(!sendgrid(upstream.url()).supports_idempotency_keys());
    assert_eq!(resend.send(&small()).await.unwrap_err().kind(), EmailErrorKind::Unknown);
}

#[tokio::test]
async fn taken_is_taken_whatever_else_the_answer_says() {
    let upstream = MockServer::start().await;
    for reply in [
        MockResponse::json(200, "nonsense"),
        MockResponse::json(200, r#"{"id":"#).cut_after(3),
        MockResponse::status(200),
    ] {
        upstream.expect_any().reply(reply);
        assert_eq!(resend(upstream.url()).send(&small()).await.unwrap().id, None);
    }
}

#[tokio::test]
async fn a_key_goes_nowhere_without_tls() {
    for url in
        ["http://api.example.com", "ftp://127.0.0.1", "https://user:password@example.com", "https://a/?b", "nothing"]
    {
        let error = Resend::new(client(Duration::from_secs(20)), url, &"re_secret".into(), clock()).unwrap_err();
        assert_eq!(error.kind(), EmailErrorKind::Configuration, "{url}");
    }
    for url in ["https://api.example.com", "https://api.example.com/base/", "http://localhost:1", "http://[::1]:1"] {
        Resend::new(client(Duration::from_secs(20)), url, &"re_secret".into(), clock()).unwrap();
    }
    let error = Resend::new(client(Duration::from_secs(20)), Resend::URL, &"re\nsecret".into(), clock()).unwrap_err();
    assert!(error.kind() == EmailErrorKind::Configuration && !error.to_string().contains("secret"));
    let shown = format!("{:?}", resend("https://api.example.com"));
    assert!(!shown.contains("re_secret"), "{shown}");
}
