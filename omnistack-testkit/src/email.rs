//! What every mail provider must do, as tests: yours as much as ours.
//!
//! Each law is a function over `&dyn EmailProvider`, and [`email_conformance!`](crate::email_conformance) names one test a law:
//!
//! ```
//! use omnistack_core::email::Memory;
//! use omnistack_testkit::{email::Subject, email_conformance};
//!
//! async fn memory() -> Subject {
//!     Subject::new(Memory::default())
//! }
//!
//! email_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A provider with a server behind it is also asked what it makes of the server's bad days. Its `make` takes the [`Day`] and
//! sets the server up for it. On a silent day its deadline is best a short one, since the test waits for it:
//!
//! ```text
//! async fn mine(day: Day) -> Subject { … }
//!
//! email_conformance!(mine, with bad days);
//! ```

use std::{any::Any, fmt};

use omnistack_core::{
    email::{Attachment, Email, EmailProvider, ErrorKind, Invalid, MAX_SIZE, Unsubscribe},
    resilience::Outcome,
};

/// A provider under test, and what it speaks to.
pub struct Subject {
    /// The provider.
    pub provider: Box<dyn EmailProvider>,
    /// How much the server has heard so far: connections, requests.
    pub heard: Box<dyn Fn() -> usize + Send + Sync>,
    server: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A provider without a server.
    pub fn new(provider: impl EmailProvider) -> Self {
        Self { provider: Box::new(provider), heard: Box::new(|| 0), server: Box::new(()) }
    }

    /// With what the server has heard so far.
    #[must_use]
    pub fn heard(mut self, heard: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.heard = Box::new(heard);
        self
    }

    /// Keeps the server alive as long as the test.
    #[must_use]
    pub fn keep(mut self, server: impl Any + Send + Sync) -> Self {
        self.server = Box::new(server);
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.provider).finish()
    }
}

/// What kind of day the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// It takes every mail.
    Good,
    /// It says "later".
    Later,
    /// It says "no".
    No,
    /// It takes the mail, and says nothing.
    Silent,
    /// It is not there.
    Away,
}

/// A mail with everything a mail can have: for laws and for tests of one provider.
pub fn full_email() -> Email {
    Email::to("Ada Lovelace <ada@example.com>")
        .also_to("\"O'Brien, Chloë\" <chloe@example.com>")
        .cc("charles@example.com")
        .bcc("secret@example.com")
        .from("Köln Shop <shop@bücher.example>")
        .reply_to("help@example.com")
        .subject("Grüße aus Köln — 你好, it is a subject that is long enough to be folded into several lines 🎉")
        .text("Hello,\n.\na line with a dot alone, and one with a trailing space \nGrüße")
        .html("<p>Hello</p><img src=\"cid:logo\">")
        .attach(Attachment::new("logo.png", "image/png", vec![0x89, b'P', b'N', b'G', 0, 255]).inline("logo"))
        .attach(Attachment::new("Bericht für März.csv", "text/csv; charset=utf-8", "a,b\n1,2\r\n\r\n.\r\nend"))
        .header("X-Campaign", "spring—2030")
        .tag("template", "welcome")
        .unsubscribe(Unsubscribe::one_click("https://shop.example.com/unsubscribe/2nFq?x=1"))
        .idempotency_key("order/7")
}

/// Takes a mail that has everything, and says who took it.
pub async fn takes_a_full_mail(subject: Subject) {
    let sent = subject.provider.send(&full_email()).await.unwrap_or_else(|error| panic!("refused: {error}"));
    assert_eq!(sent.provider, subject.provider.name());
}

/// Takes the smallest mail there is.
pub async fn takes_a_small_mail(subject: Subject) {
    let small = Email::to("ada@example.com").from("shop@example.com").subject("Hello");
    for email in [small.clone().text("Hello."), small.html("<p>Hello.</p>")] {
        subject.provider.send(&email).await.unwrap_or_else(|error| panic!("refused: {error}"));
    }
}

/// What no provider can send is refused as such, before the server hears of it.
pub async fn refuses_what_nobody_can_send(subject: Subject) {
    let good = || Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
    let large = Attachment::new(
        "large.bin",
        "application/octet-stream",
        vec![0; usize::try_from(MAX_SIZE).unwrap_or(usize::MAX)],
    );
    let table: Vec<(&str, Email)> = vec![
        ("no recipients", Email::default().from("shop@example.com").subject("Hello").text("Hello.")),
        ("no address", good().cc("not an address")),
        ("an address with a header", good().also_to("ada@example.com\r\nBcc: eve@example.com")),
        ("a name with a header", good().cc("Ada\r\nBcc: eve@example.com <ada@example.com>")),
        ("no sender", Email::to("ada@example.com").subject("Hello").text("Hello.")),
        ("no subject", good().subject(" ")),
        ("a subject with a header", good().subject("Hello\r\nBcc: eve@example.com")),
        ("a subject with a bare line feed", good().subject("Hello\nBcc: eve@example.com")),
        ("a subject with NUL", good().subject("Hello\0")),
        ("a header's value with a header", good().header("X-Kind", "a\r\nBcc: eve@example.com")),
        ("a header's name with a header", good().header("X-Kind: a\r\nBcc", "eve@example.com")),
        ("a header of the message", good().header("bcc", "eve@example.com")),
        ("no text", good().text("")),
        ("a file's name with a header", good().attach(Attachment::new("a\r\nX: b", "text/plain", "a"))),
        ("a media type with a header", good().attach(Attachment::new("a", "text/plain\r\nX: b", "a"))),
        ("a content id with a header", good().attach(Attachment::new("a", "image/png", "a").inline("a>\r\nX: b"))),
        ("an address to unsubscribe at with a header", good().unsubscribe(Unsubscribe::page("https://a\r\nX: b"))),
        ("one click without TLS", good().unsubscribe(Unsubscribe::one_click("http://example.com/u"))),
        ("an idempotency key with a header", good().idempotency_key("a\r\nX: b")),
        ("too large", good().attach(large)),
    ];
    for (what, email) in table {
        let error = subject.provider.send(&email).await.err().unwrap_or_else(|| panic!("{what}: was taken"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{what}: {error}");
        assert!(error.invalid().is_some_and(|invalid: &Invalid| !invalid.to_string().is_empty()), "{what}: {error}");
    }
    assert_eq!((subject.heard)(), 0, "the server heard of a mail nobody can send");
}

/// "Later" is certain, and may be tried again.
pub async fn later_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::RateLimited), "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// "No" is certain, and is not tried again.
pub async fn no_is_not_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Without an answer nobody knows. It ends all the same.
pub async fn silence_is_unknown(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Unknown, "{error}");
}

/// A server that is not there has certainly taken nothing.
pub async fn away_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

async fn failure(subject: &Subject) -> omnistack_core::email::EmailError {
    match subject.provider.send(&full_email()).await {
        Ok(sent) => panic!("was taken: {sent:?}"),
        Err(error) => error,
    }
}

/// One test a law of [`email`](crate::email): in a module of the name of the function that makes the [`Subject`].
#[macro_export]
macro_rules! email_conformance {
    ($make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::email_conformance! { @laws (super::$make)
                takes_a_full_mail()
                takes_a_small_mail()
                refuses_what_nobody_can_send()
            }
        }
    };
    ($make:ident, with bad days) => {
        #[cfg(test)]
        mod $make {
            use $crate::email::Day;

            $crate::email_conformance! { @laws (super::$make)
                takes_a_full_mail(Day::Good)
                takes_a_small_mail(Day::Good)
                refuses_what_nobody_can_send(Day::Good)
                later_may_be_tried_again(Day::Later)
                no_is_not_tried_again(Day::No)
                silence_is_unknown(Day::Silent)
                away_may_be_tried_again(Day::Away)
            }
        }
    };
    (@laws $make:tt $($law:ident($($day:expr)?))+) => {$(
        $crate::email_conformance! { @law $make $law($($day)?) }
    )+};
    (@law ($make:path) $law:ident($($day:expr)?)) => {
        #[tokio::test]
        async fn $law() {
            $crate::email::$law($make($($day)?).await).await;
        }
    };
}
