//! Policies for calls to services that can fail or stop responding: retry, fallback and circuit breaker.
//!
//! A call to another service ends in one of three ways, the [`Outcome`]: it took effect, it did not take
//! effect, or the outcome is unknown. An unknown outcome is the dangerous one: a charge whose response was lost
//! may have been made, so it must neither be repeated nor be sent to another provider as if it had failed.
//! An error states its outcome by [`Classify`], and the policies decide by it.
//!
//! | policy | effect |
//! |---|---|
//! | [`Retry`] | repeats a call after a transient failure; after an unknown outcome only if the call is idempotent |
//! | [`fallback`] | makes a second call after a transient failure of the first |
//! | [`Breaker`] | is opened while a service is unavailable, so that no caller waits for it, and closes itself when the service responds |
//!
//! A call needs a time limit of its own, such as the timeout of the HTTP client. Its error is then of unknown
//! outcome. The policies compose: the retry is around the call, and the fallback around both.
//!
//! ```
//! use omnistack_core::resilience::{Classification, Classify, Retry, RetrySafety, fallback};
//! use std::time::Duration;
//!
//! # #[derive(Debug, PartialEq)]
//! enum RateError { Unavailable, Lost }
//!
//! impl Classify for RateError {
//!     fn class(&self) -> Classification {
//!         match self {
//!             Self::Unavailable => Classification::failed().retryable(),
//!             Self::Lost => Classification::unknown().retryable(),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let retry = Retry::new(2, Duration::from_secs(10));
//! let first = retry.run(RetrySafety::Idempotent, || async { Err(RateError::Unavailable) });
//! let rate = fallback(first, |_| async { Ok(1.08) }).await;
//! assert_eq!(rate, Ok(1.08));
//! # }
//! ```

mod breaker;
mod fallback;
mod outcome;
mod response;
mod retry;

pub use breaker::Breaker;
pub use fallback::fallback;
pub use outcome::{Classification, Classify, Outcome, RetrySafety};
pub use retry::Retry;
