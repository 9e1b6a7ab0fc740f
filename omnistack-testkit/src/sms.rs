//! Conformance tests for SMS providers.
//!
//! Each function of this module tests one requirement on a provider. [`sms_conformance!`](crate::sms_conformance)
//! generates a test for each of them:
//!
//! ```
//! use omnistack_messaging::sms::SmsMemory;
//! use omnistack_testkit::{sms::SmsProviderUnderTest, sms_conformance};
//!
//! async fn memory() -> SmsProviderUnderTest {
//!     SmsProviderUnderTest::new(SmsMemory::default())
//! }
//!
//! sms_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A provider that calls a server is also tested on the server's failures. Its function then takes the [`SmsServerBehavior`] and
//! sets up a server that behaves this way: `sms_conformance!(mine, with failures)`.

use std::{any::Any, fmt};

use omnistack_core::resilience::Outcome;
use omnistack_messaging::sms::{MAX_SEGMENTS, SmsError, SmsErrorKind, SmsMessage, SmsProvider};

use crate::conformance::Contract;

/// The laws of [`SmsProvider`], each with its requirement.
pub const CONTRACT: Contract = Contract::new(
    "SmsProvider",
    &[
        (
            "sends_messages",
            "a message in any script, of up to `MAX_SEGMENTS` segments, is sent, and the receipt has the name of the \
             provider",
        ),
        (
            "rejects_invalid_message",
            "an invalid message fails with `Invalid`, which names what is wrong, before the server is contacted",
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
            "opt_out_is_reported",
            "the refusal for a recipient who has opted out fails with `OptedOut`, is not retryable, and is a known \
             failure",
        ),
        (
            "missing_response_is_unknown",
            "a missing or broken response ends with `Unknown`, which is not retryable and whose outcome is unknown, \
             after a single request",
        ),
        (
            "connection_failure_is_retryable",
            "a failed connection fails with `Unavailable`, is retryable, and is a known failure",
        ),
    ],
);

/// A provider under test and the server it calls.
pub struct SmsProviderUnderTest {
    /// The provider.
    pub provider: Box<dyn SmsProvider>,
    /// Returns the number of requests that the server has received so far.
    pub request_count: Box<dyn Fn() -> usize + Send + Sync>,
    server: Box<dyn Any + Send + Sync>,
}

impl SmsProviderUnderTest {
    /// Creates a provider under test that has no server.
    pub fn new(provider: impl SmsProvider) -> Self {
        Self { provider: Box::new(provider), request_count: Box::new(|| 0), server: Box::new(()) }
    }

    /// Sets the function that returns the number of requests the server has received so far.
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

impl fmt::Debug for SmsProviderUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmsProviderUnderTest").field(&self.provider).finish()
    }
}

/// The behaviour of the server during a conformance test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmsServerBehavior {
    /// The server accepts every message.
    Accepts,
    /// The server rejects every message with a temporary error.
    Busy,
    /// The server rejects every message with a permanent error.
    Rejects,
    /// The server rejects every message because the recipient has opted out.
    OptedOut,
    /// The server receives the message and fails while it responds.
    BreaksResponse,
    /// The server receives the message and never responds.
    Hangs,
    /// The server accepts no connections.
    Down,
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
pub async fn sends_messages(subject: SmsProviderUnderTest) {
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
pub async fn rejects_invalid_message(subject: SmsProviderUnderTest) {
    let long = "a".repeat(153 * MAX_SEGMENTS + 1);
    for text in ["", " \n", "a\0b", "a\u{1b}[2J", long.as_str()] {
        let error = subject
            .provider
            .send(&message(text))
            .await
            .err()
            .unwrap_or_else(|| panic!("the provider accepted the invalid message {text:?}"));
        expect_error(&error, &[SmsErrorKind::Invalid], false, Outcome::Failed, &format!("{text:?}"));
        assert!(error.invalid().is_some(), "{text:?}: {error}");
    }
    assert_eq!((subject.request_count)(), 0, "the provider contacted the server for an invalid message");
}

/// Tests that a temporary error is retryable and a known failure.
pub async fn temporary_error_is_retryable(subject: SmsProviderUnderTest) {
    let error = failure(&subject).await;
    let kinds = [SmsErrorKind::Unavailable, SmsErrorKind::RateLimited];
    expect_error(&error, &kinds, true, Outcome::Failed, "a temporary refusal");
}

/// Tests that a permanent error is not retryable and a known failure.
pub async fn permanent_error_is_not_retryable(subject: SmsProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[SmsErrorKind::Refused], false, Outcome::Failed, "a permanent refusal");
}

/// Tests that the rejection for a recipient who has opted out is [`SmsErrorKind::OptedOut`], which is not retryable.
pub async fn opt_out_is_reported(subject: SmsProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[SmsErrorKind::OptedOut], false, Outcome::Failed, "an opt-out");
}

/// Tests that a missing or broken response ends with an unknown outcome, which is not retryable, after a single
/// request.
pub async fn missing_response_is_unknown(subject: SmsProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[SmsErrorKind::Unknown], false, Outcome::Unknown, "a missing response");
    assert!((subject.request_count)() <= 1, "the message was sent more than once");
}

/// Tests that a failed connection is retryable and a known failure.
pub async fn connection_failure_is_retryable(subject: SmsProviderUnderTest) {
    let error = failure(&subject).await;
    expect_error(&error, &[SmsErrorKind::Unavailable], true, Outcome::Failed, "a failed connection");
}

async fn failure(subject: &SmsProviderUnderTest) -> SmsError {
    match subject.provider.send(&message("Hello")).await {
        Ok(sent) => panic!("the provider reported success: {sent:?}"),
        Err(error) => error,
    }
}

/// Asserts what an error says about the outcome.
#[track_caller]
fn expect_error(error: &SmsError, kinds: &[SmsErrorKind], is_retryable: bool, outcome: Outcome, what: &str) {
    let kind = error.kind();
    assert!(kinds.contains(&kind), "{what}: the kind is `{kind:?}`, which must be of {kinds:?}: {error}");
    assert_eq!(error.is_retryable(), is_retryable, "{what}: whether it is retryable: {error}");
    assert_eq!(error.outcome(), outcome, "{what}: what is known about the outcome: {error}");
}

/// Generates a test for each requirement of [`sms`](crate::sms), in a module with the name of the function that
/// creates the [`SmsProviderUnderTest`](crate::sms::SmsProviderUnderTest). With `with failures`, generates the tests of server failures too.
#[macro_export]
macro_rules! sms_conformance {
    ($make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::sms_conformance! { @laws (super::$make)
                sends_messages: sends_messages()
                rejects_invalid_message: rejects_invalid_message()
            }
        }
    };
    ($make:ident, with failures) => {
        #[cfg(test)]
        mod $make {
            use $crate::sms::SmsServerBehavior;

            $crate::sms_conformance! { @laws (super::$make)
                sends_messages: sends_messages(SmsServerBehavior::Accepts)
                rejects_invalid_message: rejects_invalid_message(SmsServerBehavior::Accepts)
                temporary_error_is_retryable: temporary_error_is_retryable(SmsServerBehavior::Busy)
                permanent_error_is_not_retryable: permanent_error_is_not_retryable(SmsServerBehavior::Rejects)
                opt_out_is_reported: opt_out_is_reported(SmsServerBehavior::OptedOut)
                missing_response_is_unknown: missing_response_is_unknown(SmsServerBehavior::Hangs)
                broken_response_is_unknown: missing_response_is_unknown(SmsServerBehavior::BreaksResponse)
                connection_failure_is_retryable: connection_failure_is_retryable(SmsServerBehavior::Down)
            }
        }
    };
    (@laws $make:tt $($name:ident: $law:ident($($day:expr)?))+) => {$(
        $crate::sms_conformance! { @law $make $name: $law($($day)?) }
    )+};
    (@law ($make:path) $name:ident: $law:ident($($day:expr)?)) => {
        #[tokio::test]
        async fn $name() {
            let subject = $make($($day)?).await;
            let test = $crate::sms::$law(subject);
            $crate::conformance::check(&$crate::sms::CONTRACT, stringify!($law), test).await;
        }
    };
}
