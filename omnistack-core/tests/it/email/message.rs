//! Tests of the mail type.

use omnistack_core::{
    email::{Attachment, Email, EmailError, ErrorKind, Invalid, Mailer, Memory, Unsubscribe},
    id::Id,
    resilience::{Classify as _, Outcome, Repeat},
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
    assert!(matches!(email.check(), Err(Invalid::Address(_))));
    assert!(serde_json::to_string(&email).unwrap_err().to_string().contains("not valid"));
}

#[tokio::test]
async fn the_mailer_adds_the_sender_and_holds_the_limit() {
    let memory = Memory::default();
    let mailer = Mailer::new(memory.clone()).from("shop@example.com".parse().unwrap()).limit(100);
    let email = Email::to("ada@example.com").subject("Hello").text("Hello.");
    mailer.send(&email).await.unwrap();
    mailer.send(&email.clone().from("boss@example.com")).await.unwrap();
    let senders: Vec<_> = memory.take().into_iter().map(|email| email.from.unwrap().to_string()).collect();
    assert_eq!(senders, ["shop@example.com", "boss@example.com"]);

    // 6 bytes of text, and 70 bytes that are 96 bytes in base64.
    let email = email.attach(Attachment::new("a.bin", "application/octet-stream", vec![0; 70]));
    let error = mailer.send(&email).await.unwrap_err();
    assert_eq!(error.invalid(), Some(&Invalid::TooLarge { size: 102, limit: 100 }));
    assert!(memory.sent().is_empty());

    let error = Mailer::new(memory).send(&email).await.unwrap_err();
    assert_eq!(error.invalid(), Some(&Invalid::NoSender));
}

#[test]
fn too_many_recipients_and_bad_tags_are_refused() {
    let good = || Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
    let many = (0..50).fold(good(), |email, n| email.bcc(format!("a{n}@example.com")));
    assert_eq!(many.check(), Err(Invalid::TooManyRecipients(51)));
    for (name, value) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "ü"), ("a", &*"x".repeat(257))] {
        assert_eq!(good().tag(name, value).check(), Err(Invalid::Tag(name.into())));
    }
    assert_eq!(good().tag("a", "1").tag("a", "2").check(), Err(Invalid::Tag("a".into())));
    assert_eq!(good().subject("x".repeat(999)).check(), Err(Invalid::TooLong { field: "the subject", limit: 998 }));
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
        (ErrorKind::Invalid, false, Outcome::Failed, [false, false]),
        (ErrorKind::Refused, false, Outcome::Failed, [false, false]),
        (ErrorKind::Configuration, false, Outcome::Failed, [false, false]),
        (ErrorKind::RateLimited, true, Outcome::Failed, [true, true]),
        (ErrorKind::Unavailable, true, Outcome::Failed, [true, true]),
        (ErrorKind::Unknown, false, Outcome::Unknown, [false, true]),
    ];
    for (kind, retryable, outcome, repeats) in table {
        let error = EmailError::new(kind, "so it is").after(Duration::from_secs(3));
        assert_eq!((error.is_retryable(), error.outcome()), (retryable, outcome), "{kind:?}");
        let class = error.class();
        assert_eq!([class.may_repeat(Repeat::Never), class.may_repeat(Repeat::Idempotent)], repeats, "{kind:?}");
        assert_eq!(class.wait(), Some(Duration::from_secs(3)));
    }
}
