//! What every provider of text messages must do, as tests: yours as much as ours.
//!
//! Each law is a function over `&dyn SmsProvider`, and [`sms_conformance!`](crate::sms_conformance) names one test a law:
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
//! A provider with a server behind it is also asked what it makes of the server's bad days. Its `make` takes the [`Day`] and
//! sets the server up for it: `sms_conformance!(mine, with bad days)`.

use std::{any::Any, fmt};

use omnistack_core::{
    resilience::Outcome,
    sms::{MAX_SEGMENTS, SmsError, SmsErrorKind, SmsMessage, SmsProvider},
};

/// A provider under test, and what it speaks to.
pub struct Subject {
    /// The provider.
    pub provider: Box<dyn SmsProvider>,
    /// How many requests the server has heard so far.
    pub heard: Box<dyn Fn() -> usize + Send + Sync>,
    server: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A provider without a server.
    pub fn new(provider: impl SmsProvider) -> Self {
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
    /// It takes every message.
    Good,
    /// It says "later".
    Later,
    /// It says "no".
    No,
    /// It says that the number's owner wants no messages.
    Unwanted,
    /// It breaks while it answers.
    Broken,
    /// It takes the message, and says nothing.
    Silent,
    /// It is not there.
    Away,
}

/// A message to a number nobody has.
///
/// # Panics
/// Never: the number is one.
pub fn message(text: &str) -> SmsMessage {
    match "+15005550006".parse() {
        Ok(to) => SmsMessage::new(to, text),
        Err(error) => panic!("{error}"),
    }
}

/// Takes messages in any script, of several parts too, and says who took them.
pub async fn takes_messages(subject: Subject) {
    let long = "a".repeat(153 * MAX_SEGMENTS);
    for text in ["Hello", "Grüße, 10 €\n^{}", "你好 🎉", long.as_str()] {
        let sent = subject.provider.send(&message(text)).await.unwrap_or_else(|error| panic!("refused: {error}"));
        assert_eq!(sent.provider, subject.provider.name());
    }
}

/// What no provider can send is refused as such, before the server hears of it.
pub async fn refuses_what_nobody_can_send(subject: Subject) {
    let long = "a".repeat(153 * MAX_SEGMENTS + 1);
    for text in ["", " \n", "a\0b", "a\u{1b}[2J", long.as_str()] {
        let error = subject.provider.send(&message(text)).await.err().unwrap_or_else(|| panic!("{text:?} was taken"));
        assert_eq!(error.kind(), SmsErrorKind::Invalid, "{text:?}: {error}");
        assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{text:?}: {error}");
        assert!(error.invalid().is_some(), "{text:?}: {error}");
    }
    assert_eq!((subject.heard)(), 0, "the server heard of a message nobody can send");
}

/// "Later" is certain, and may be tried again.
pub async fn later_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert!(matches!(error.kind(), SmsErrorKind::Unavailable | SmsErrorKind::RateLimited), "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// "No" is certain, and is not tried again.
pub async fn no_is_not_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Refused, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Whoever wants no messages is known as such.
pub async fn unwanted_is_told_apart(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::OptedOut, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

/// Without an answer that says, nobody knows. The provider asked once, and it ends.
pub async fn silence_is_unknown(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Unknown, "{error}");
    assert!(!error.is_retryable() && error.outcome() == Outcome::Unknown, "{error}");
    assert!((subject.heard)() <= 1, "it was sent more than once");
}

/// A server that is not there has certainly taken nothing.
pub async fn away_may_be_tried_again(subject: Subject) {
    let error = failure(&subject).await;
    assert_eq!(error.kind(), SmsErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::Failed, "{error}");
}

async fn failure(subject: &Subject) -> SmsError {
    match subject.provider.send(&message("Hello")).await {
        Ok(sent) => panic!("was taken: {sent:?}"),
        Err(error) => error,
    }
}

/// One test a law of [`sms`](crate::sms): in a module of the name of the function that makes the [`Subject`].
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
