//! Conformance tests for SMS providers.
//!
//! Each function of this module tests one requirement on a provider. [`sms_conformance!`](crate::sms_conformance)
//! generates a test for each of them:
//!
//! ```
//! use omnistack_core::sms::SmsMemory;
//! use omnistack_testkit::{sms::Subject, sms_conformance};
//!
//! async fn memory() -> Subject {
//!     Subject::new(SmsMemory::default())
//! }
//!
//! sms_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A provider that calls a server is also tested on the server's failures. Its function then takes the [`Day`] and
//! sets up a server that behaves this way: `sms_conformance!(mine, with bad days)`.

use std::{any::Any, fmt};

use omnistack_core::{
    resilience::Outcome,
    sms::{MAX_SEGMENTS, SmsError, SmsErrorKind, SmsMessage, SmsProvider},
};

/// A provider under test and the server it calls.
pub struct Subject {
    /// The provider.
    pub provider: Box<dyn SmsProvider>,
    /// Returns the number of requests that the server has received so far.
    pub heard: Box<dyn Fn() -> usize + Send + Sync>,
    server: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// Creates a provider under test that has no server.
    pub fn new(provider: impl SmsProvider) -> Self {
        Self { provider: Box::new(provider), heard: Box::new(|| 0), server: Box::new(()) }
    }

    /// Sets the function that returns the number of requests the server has received so far.
    #[must_use]
    pub fn heard(mut self, heard: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.heard = Box::new(heard);
        self
    }

    /// Keeps the server until the test ends.
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

/// The behaviour of the server during a conformance test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The server accepts every message.
    Good,
    /// The server rejects every message with a temporary error.
    Later,
    /// The server rejects every message with a permanent error.
    No,
    /// The server rejects every message because the recipient has opted out.
    Unwanted,
    /// The server receives the message and fails while it responds.
    Broken,
    /// The server receives the message and never responds.
    Silent,
    /// The server accepts no connections.
    Away,
}

/// Returns a message to a number reserved for tests.
///
/// # Panics
/// Never panics, because the number is valid.
pub fn message(text: &str) -> SmsMessage {
    match "+15005550006".parse() {
        Ok(to) => SmsMessage::new(to, text),
        Err(error) => panic!("{error}"),
    }
}

/// Tests that the provider sends messages in any script and of up to [`MAX_SEGMENTS`] segments, and returns its own
/// name in the result.
pub async fn takes_messages(subject: Subject) {
    let long = "a".repeat(153 * MAX_SEGMENTS);
    for text in ["Hello", "Grüße, 10 €\n^{}", "你好 🎉", long.as_str()] {
        let sent = subject
            .provider
            .send(&message(text))
            .await
            .unwrap_or_else(|error| panic!("the provider rejected a valid message: {error}"));
        assert_eq!(sent.provider, subject.provider.name());
    }
}

/// Tests that the provider rejects invalid messages with [`SmsErrorKind::Invalid`] before it contacts the server.
pub async fn refuses_what_nobody_can_send(subject: Subject) {
    let long = "a".repeat(153 * MAX_SEGMENTS + 1);
    for text in ["", " \n", "a\0b", "a\u{1b}[2J", long.as_str()] {
        let error = subject
            .provider
            .send(&message(text))
            .await
            .err()
            .unwrap_or_else(|| panic!("the provider accepted the invalid message {text:?}"));
        assert_eq!(error.kind(), SmsErrorKind::Invalid, "{text:?}: {error}");
        assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{text:?}: {error}");
        assert!(error.invalid().is_some(), "{text:?}: {error}");
    }
    assert_eq!((subject.heard)(), 0, "the provider contacted the server for an invalid message");
}

/// Tests that a temporary error is retryable and a known failure.
pub async fn later_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert!(matches!(error.kind(), SmsErrorKind::Unavailable | SmsErrorKind::RateLimited), "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Tests that a permanent error is not retryable and a known failure.
pub async fn no_is_not_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Refused, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Tests that the rejection for a recipient who has opted out is [`SmsErrorKind::OptedOut`], which is not retryable.
pub async fn unwanted_is_told_apart(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::OptedOut, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Tests that a missing or broken response ends with an unknown outcome, which is not retryable, after a single
/// request.
pub async fn silence_is_unknown(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Unknown, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Unknown, "{error}");
    assert!((subject.heard)() <= 1, "the message was sent more than once");
}

/// Tests that a failed connection is retryable and a known failure.
pub async fn away_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

async fn failure(subject: &Subject) -> SmsError {
    match subject.provider.send(&message("Hello")).await {
        Ok(sent) => panic!("the provider reported success: {sent:?}"),
        Err(error) => error,
    }
}

/// Generates a test for each requirement of [`sms`](crate::sms), in a module with the name of the function that
/// creates the [`Subject`](crate::sms::Subject). With `with bad days`, generates the tests of server failures too.
#[macro_export]
macro_rules! sms_conformance {
    ($make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::sms_conformance! { @laws (super::$make)
                takes_messages: takes_messages()
                refuses_what_nobody_can_send: refuses_what_nobody_can_send()
            }
        }
    };
    ($make:ident, with bad days) => {
        #[cfg(test)]
        mod $make {
            use $crate::sms::Day;

            $crate::sms_conformance! { @laws (super::$make)
                takes_messages: takes_messages(Day::Good)
                refuses_what_nobody_can_send: refuses_what_nobody_can_send(Day::Good)
                later_may_be_tried_again: later_may_be_tried_again(Day::Later)
                no_is_not_tried_again: no_is_not_tried_again(Day::No)
                unwanted_is_told_apart: unwanted_is_told_apart(Day::Unwanted)
                silence_is_unknown: silence_is_unknown(Day::Silent)
                a_broken_answer_is_unknown: silence_is_unknown(Day::Broken)
                away_may_be_tried_again: away_may_be_tried_again(Day::Away)
            }
        }
    };
    (@laws $make:tt $($name:ident: $law:ident($($day:expr)?))+) => {$(
        $crate::sms_conformance! { @law $make $name: $law($($day)?) }
    )+};
    (@law ($make:path) $name:ident: $law:ident($($day:expr)?)) => {
        #[tokio::test]
        async fn $name() {
            $crate::sms::$law($make($($day)?).await).await;
        }
    };
}
