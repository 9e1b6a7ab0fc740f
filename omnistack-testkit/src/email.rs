//! Conformance tests for email providers.
//!
//! Each function of this module tests one requirement on a provider. [`email_conformance!`](crate::email_conformance)
//! generates a test for each of them:
//!
//! ```
//! use omnistack_core::email::MemoryProvider;
//! use omnistack_testkit::{email::EmailProviderUnderTest, email_conformance};
//!
//! async fn memory() -> EmailProviderUnderTest {
//!     EmailProviderUnderTest::new(MemoryProvider::default())
//! }
//!
//! email_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A provider that calls a server is also tested on the server's failures. Its function then takes the [`EmailServerBehavior`] and
//! sets up a server that behaves this way. Give the provider a short timeout for [`EmailServerBehavior::Hangs`], because the test
//! waits for it:
//!
//! ```text
//! async fn mine(day: EmailServerBehavior) -> EmailProviderUnderTest { … }
//!
//! email_conformance!(mine, with failures);
//! ```

use std::{any::Any, fmt};

use omnistack_core::{
    email::{Attachment, Email, EmailError, EmailErrorKind, EmailProvider, InvalidEmail, MAX_EMAIL_BYTES, Unsubscribe},
    resilience::Outcome,
};

use crate::conformance::Contract;

/// The laws of [`EmailProvider`], each with its requirement.
pub const CONTRACT: Contract = Contract::new(
    "EmailProvider",
    &[
        (
            "sends_full_mail",
            "a mail that uses every feature of `Email` is sent, and the receipt has the name of the provider",
        ),
        ("sends_minimal_mail", "a mail with only a recipient, a sender, a subject and a text or an HTML body is sent"),
        (
            "rejects_invalid_mail",
            "a mail that is invalid or too large fails with `Invalid`, which names what is wrong, before the server \
             is contacted",
        ),
        (
            "temporary_error_is_retryable",
            "a temporary refusal fails with `Unavailable` or `RateLimited`, is retryable, and is a known failure",
        ),
        (
            "permanent_error_is_not_retryable",
            "a permanent refusal fails with `Refused`, is not retryable, and is a known failure",
        ),
        (
            "missing_response_is_unknown",
            "a missing response ends in a timeout with `Unknown`, which is not retryable and whose outcome is unknown",
        ),
        (
            "connection_failure_is_retryable",
            "a failed connection fails with `Unavailable`, is retryable, and is a known failure",
        ),
    ],
);

/// A provider under test and the server it calls.
pub struct EmailProviderUnderTest {
    /// The provider.
    pub provider: Box<dyn EmailProvider>,
    /// Returns the number of connections or requests that the server has received so far.
    pub request_count: Box<dyn Fn() -> usize + Send + Sync>,
    server: Box<dyn Any + Send + Sync>,
}

impl EmailProviderUnderTest {
    /// Creates a provider under test that has no server.
    pub fn new(provider: impl EmailProvider) -> Self {
        Self { provider: Box::new(provider), request_count: Box::new(|| 0), server: Box::new(()) }
    }

    /// Sets the function that returns the number of connections or requests the server has received so far.
    #[must_use]
    pub fn with_request_count(mut self, heard: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.request_count = Box::new(heard);
        self
    }

    /// Keeps the server until the test ends.
    #[must_use]
    pub fn with_resource(mut self, server: impl Any + Send + Sync) -> Self {
        self.server = Box::new(server);
        self
    }
}

impl fmt::Debug for EmailProviderUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmailProviderUnderTest").field(&self.provider).finish()
    }
}

/// The behaviour of the server during a conformance test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailServerBehavior {
    /// The server accepts every mail.
    Accepts,
    /// The server rejects every mail with a temporary error.
    Busy,
    /// The server rejects every mail with a permanent error.
    Rejects,
    /// The server receives the mail and never responds.
    Hangs,
    /// The server accepts no connections.
    Down,
}

/// Returns a mail that uses every feature of [`Email`], for conformance tests and tests of one provider.
pub fn full_email() -> Email {
    Email::to("Ada Lovelace <ada@example.com>")
        .add_to("\"O'Brien, Chloë\" <chloe@example.com>")
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

/// Tests that the provider sends [`full_email`] and returns its own name in the result.
pub async fn sends_full_mail(subject: EmailProviderUnderTest) {
    let sent = subject
        .provider
        .send(&full_email())
        .await
        .unwrap_or_else(|error| panic!("the provider rejected a valid mail: {error}"));
    assert_eq!(sent.provider, subject.provider.name());
}

/// Tests that the provider sends mails with only a recipient, a sender, a subject and a text or an HTML body.
pub async fn sends_minimal_mail(subject: EmailProviderUnderTest) {
    let small = Email::to("ada@example.com").from("shop@example.com").subject("Hello");
    for email in [small.clone().text("Hello."), small.html("<p>Hello.</p>")] {
        subject
            .provider
            .send(&email)
            .await
            .unwrap_or_else(|error| panic!("the provider rejected a valid mail: {error}"));
    }
}

/// Tests that the provider rejects invalid mails with [`EmailErrorKind::Invalid`] before it contacts the server.
pub async fn rejects_invalid_mail(subject: EmailProviderUnderTest) {
    let good = || Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
    let large = Attachment::new(
        "large.bin",
        "application/octet-stream",
        vec![0; usize::try_from(MAX_EMAIL_BYTES).unwrap_or(usize::MAX)],
    );
    let table: Vec<(&str, Email)> = vec![
        ("no recipients", Email::default().from("shop@example.com").subject("Hello").text("Hello.")),
        ("no address", good().cc("not an address")),
        ("an address with a header", good().add_to("ada@example.com\r\nBcc: eve@example.com")),
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
        let error = subject
            .provider
            .send(&email)
            .await
            .err()
            .unwrap_or_else(|| panic!("{what}: the provider accepted an invalid mail"));
        expect_error(&error, &[EmailErrorKind::Invalid], false, Outcome::Failed, what);
        assert!(
            error.invalid().is_some_and(|invalid: &InvalidEmail| !invalid.to_string().is_empty()),
            "{what}: {error}"
        );
    }
    assert_eq!((subject.request_count)(), 0, "the provider contacted the server for an invalid mail");
}

/// Tests that a temporary error is retryable and a known failure.
pub async fn temporary_error_is_retryable(subject: EmailProviderUnderTest) {
    let error = failure(&subject).await;
    let kinds = [EmailErrorKind::Unavailable, EmailErrorKind::RateLimited];
    expect_error(&error, &kinds, true, Outcome::Failed, "a temporary refusal");
}

/// Tests that a permanent error is not retryable and a known failure.
pub async fn permanent_error_is_not_retryable(subject: EmailProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[EmailErrorKind::Refused], false, Outcome::Failed, "a permanent refusal");
}

/// Tests that a missing response ends in a timeout with an unknown outcome, which is not retryable.
pub async fn missing_response_is_unknown(subject: EmailProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[EmailErrorKind::Unknown], false, Outcome::Unknown, "a missing response");
}

/// Tests that a failed connection is retryable and a known failure.
pub async fn connection_failure_is_retryable(subject: EmailProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[EmailErrorKind::Unavailable], true, Outcome::Failed, "a failed connection");
}

async fn failure(subject: &EmailProviderUnderTest) -> EmailError {
    match subject.provider.send(&full_email()).await {
        Ok(sent) => panic!("the provider reported success: {sent:?}"),
        Err(error) => error,
    }
}

/// Asserts what an error says about the outcome.
#[track_caller]
fn expect_error(error: &EmailError, kinds: &[EmailErrorKind], is_retryable: bool, outcome: Outcome, what: &str) {
    let kind = error.kind();
    assert!(kinds.contains(&kind), "{what}: the kind is `{kind:?}`, which must be of {kinds:?}: {error}");
    assert_eq!(error.is_retryable(), is_retryable, "{what}: whether it is retryable: {error}");
    assert_eq!(error.outcome(), outcome, "{what}: what is known about the outcome: {error}");
}

/// Generates a test for each requirement of [`email`](crate::email), in a module with the name of the function that
/// creates the [`EmailProviderUnderTest`](crate::email::EmailProviderUnderTest). With `with failures`, generates the tests of server failures too.
#[macro_export]
macro_rules! email_conformance {
    ($make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::email_conformance! { @laws (super::$make)
                sends_full_mail()
                sends_minimal_mail()
                rejects_invalid_mail()
            }
        }
    };
    ($make:ident, with failures) => {
        #[cfg(test)]
        mod $make {
            use $crate::email::EmailServerBehavior;

            $crate::email_conformance! { @laws (super::$make)
                sends_full_mail(EmailServerBehavior::Accepts)
                sends_minimal_mail(EmailServerBehavior::Accepts)
                rejects_invalid_mail(EmailServerBehavior::Accepts)
                temporary_error_is_retryable(EmailServerBehavior::Busy)
                permanent_error_is_not_retryable(EmailServerBehavior::Rejects)
                missing_response_is_unknown(EmailServerBehavior::Hangs)
                connection_failure_is_retryable(EmailServerBehavior::Down)
            }
        }
    };
    (@laws $make:tt $($law:ident($($day:expr)?))+) => {$(
        $crate::email_conformance! { @law $make $law($($day)?) }
    )+};
    (@law ($make:path) $law:ident($($day:expr)?)) => {
        #[tokio::test]
        async fn $law() {
            let subject = $make($($day)?).await;
            let test = $crate::email::$law(subject);
            $crate::conformance::check(&$crate::email::CONTRACT, stringify!($law), test).await;
        }
    };
}
