//! Tests of the mail type.

use omnistack_core::{
    email::{Attachment, Email, EmailError, EmailErrorKind, InvalidEmail, Mailer, MemoryProvider, Unsubscribe},
    id::Id,
    resilience::{Classify as _, Outcome, RetrySafety},
};
use omnistack_testkit::email::full_email;
use std::time::Duration;

#[test]
fn is_stored_and_read_again_whole() {
    let email = full_email().for_tenant(Id::new("2030-01-01T00:00:00Z".parse().unwrap()));
    let json = serde_json::to_string(&email).unwrap();
    assert!(json.contains(r#""content":"iVBORwD/""#), "{json}");
    assert_eq!(serde_json::from_str::<Email>(&json).unwrap(), email);

    let small = Email::to("ada@example.com").subject("Hello").text("Hello.");
    let json = serde_json::to_string(&small).unwrap();
    assert_eq!(json, r#"{"to":["ada@example.com"],"subject":"Hello","text":"Hello."}"#);
    assert!(serde_json::from_str::<Email>(r#"{"to":["nobody"],"subject":"Hello"}"#).is_err());
    assert!(serde_json::from_str::<Email>(r#"{"to":["ada@example.com"],"betreff":"Hello"}"#).is_err());
}

#[test]
fn a_fault_is_neither_forgotten_nor_stored() {
    let email = Email::to("ada@example.com").cc("no address").from("shop@example.com").subject("Hello").text("Hello.");
    assert!(matches!(email.check(), Err(InvalidEmail::Address(_))));
    assert!(serde_json::to_string(&email).unwrap_err().to_string().contains("not valid"));
}

#[tokio::test]
async fn the_mailer_adds_the_sender_and_holds_the_limit() {
    let memory = MemoryProvider::default();
    let mailer = Mailer::new(memory.clone()).default_sender("shop@example.com".parse().unwrap()).max_size(100);
    let email = Email::to("ada@example.com").subject("Hello").text("Hello.");
    mailer.send(&email).await.unwrap();
    mailer.send(&email.clone().from("boss@example.com")).await.unwrap();
    let senders: Vec<_> = memory.take().into_iter().map(|email| email.from.unwrap().to_string()).collect();
    assert_eq!(senders, ["shop@example.com", "boss@example.com"]);

    // 6 bytes of text, and 70 bytes that are 96 bytes in base64.
    let email = email.attach(Attachment::new("a.bin", "application/octet-stream", vec![0; 70]));
    let error = mailer.send(&email).await.unwrap_err();
    assert_eq!(error.invalid(), Some(&InvalidEmail::TooLarge { size: 102, limit: 100 }));
    assert!(memory.sent().is_empty());

    let error = Mailer::new(memory).send(&email).await.unwrap_err();
    assert_eq!(error.invalid(), Some(&InvalidEmail::NoSender));
}

#[test]
fn too_many_recipients_and_bad_tags_are_refused() {
    let good = || Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
    let many = (0..50).fold(good(), |email, n| email.bcc(format!("a{n}@example.com")));
    assert_eq!(many.check(), Err(InvalidEmail::TooManyRecipients(51)));
    for (name, value) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "ü"), ("a", &*"x".repeat(257))] {
        assert_eq!(good().tag(name, value).check(), Err(InvalidEmail::Tag(name.into())));
    }
    assert_eq!(good().tag("a", "1").tag("a", "2").check(), Err(InvalidEmail::Tag("a".into())));
    assert_eq!(
        good().subject("x".repeat(999)).check(),
        Err(InvalidEmail::TooLong { field: "the subject", limit: 998 })
    );
}

#[test]
fn unsubscribing_is_two_headers() {
    let unsubscribe = Unsubscribe::one_click("https://example.com/u").or_mail("stop+a&b@example.com".parse().unwrap());
    let headers: Vec<_> = unsubscribe.headers().collect();
    assert_eq!(
        headers,
        [
            ("List-Unsubscribe", "<https://example.com/u>, <mailto:stop+a%26b@example.com>".to_owned()),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
        ]
    );
    assert_eq!(Unsubscribe::page("https://example.com/u").headers().count(), 1);
}

#[test]
fn every_kind_of_error_says_what_is_certain() {
    let table = [
        (EmailErrorKind::Invalid, false, Outcome::Failed, [false, false]),
        (EmailErrorKind::Refused, false, Outcome::Failed, [false, false]),
        (EmailErrorKind::Configuration, false, Outcome::Failed, [false, false]),
        (EmailErrorKind::RateLimited, true, Outcome::Failed, [true, true]),
        (EmailErrorKind::Unavailable, true, Outcome::Failed, [true, true]),
        (EmailErrorKind::Unknown, false, Outcome::Unknown, [false, true]),
    ];
    for (kind, retryable, outcome, repeats) in table {
        let error = EmailError::new(kind, "so it is").with_retry_after(Duration::from_secs(3));
        assert_eq!((error.is_retryable(), error.outcome()), (retryable, outcome), "{kind:?}");
        let class = error.class();
        assert_eq!(
            [class.may_retry(RetrySafety::Never), class.may_retry(RetrySafety::Idempotent)],
            repeats,
            "{kind:?}"
        );
        assert_eq!(class.retry_delay(), Some(Duration::from_secs(3)));
    }
}
