//! Policies for calls to services that can fail or stop responding: timeout, retry, circuit breaker, bulkhead
//! and fallback.
//!
//! A call to another service ends in one of three ways, the [`Outcome`]: it took effect, it did not take
//! effect, or the outcome is unknown. An unknown outcome is the dangerous one: a charge whose response was lost
//! may have been made, so it must neither be repeated nor be sent to another provider as if it had failed.
//! Every policy here decides by outcomes, and none repeats a call that may have taken effect, unless the caller
//! declares the call idempotent.
//!
//! | policy | effect | outcome of its own errors |
//! |---|---|---|
//! | [`Fallback`] | makes another call if one failed | |
//! | [`Retry`] | retries, limited by attempts, deadline, backoff and budget | unknown, if an attempt hits the deadline |
//! | [`Breaker`] | rejects calls while too many of them fail | failed, retryable |
//! | [`Bulkhead`] | limits the calls that run and the calls that wait | failed, retryable |
//! | [`Timeout`] | gives up a call that takes too long | unknown |
//!
//! A result is classified by a [`Classification`], which either the error provides ([`Classify`]) or a closure derives
//! from the call's result. A policy that ends a call itself returns an [`Error`], converted to the call's error
//! type by `From`. A provider behind policies therefore is a provider with the same error type.
//!
//! Each policy has a method `run` and is a [`tower::Layer`]:
//!
//! ```
//! use omnistack_core::{
//!     clock::Clock,
//!     resilience::{Breaker, BreakerSettings, Bulkhead, CallError, Classification, Classify, RetrySafety, Retry, Timeout},
//! };
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #[derive(Clone, Debug)]
//! struct Refused;
//!
//! impl Classify for Refused {
//!     fn class(&self) -> Classification {
//!         Classification::failed()
//!     }
//! }
//!
//! // From the outermost to the innermost.
//! let mut rates = ServiceBuilder::new()
//!     .layer(Retry::new(3, Duration::from_secs(10)).read_only())
//!     .layer(Breaker::new("rates", BreakerSettings::default(), Clock::system()))
//!     .layer(Bulkhead::new("rates", 20).queue(50, Duration::from_secs(1)))
//!     .layer(Timeout::new(Duration::from_secs(2)))
//!     .service(service_fn(|currency: &'static str| async move {
//!         if currency == "EUR" { Ok(1.08) } else { Err(CallError::Call(Refused)) }
//!     }));
//!
//! assert_eq!(rates.ready().await.unwrap().call("EUR").await.unwrap(), 1.08);
//! # }
//! ```
//!
//! # Order
//!
//! From the outermost to the innermost: fallback, retry, breaker, bulkhead, timeout. Reasons for the order:
//!
//! - The **timeout** is directly around the call and limits one attempt, so the breaker counts an attempt that
//!   hangs. A timeout outside of the breaker would drop the call before the breaker sees its result.
//! - The **bulkhead** is outside of the timeout: waiting for a permit is not waiting for a response, and a
//!   rejection by the bulkhead is a failure, not an unknown outcome.
//! - The **breaker** is outside of the bulkhead, so that no calls queue for a service that is down. It does not
//!   count rejections by the bulkhead.
//! - The **retry** is outside of both: calls that they reject were not sent and are retried, after the
//!   breaker's open time if the deadline allows it. Its deadline limits the whole call.
//! - The **fallback** is outermost: it makes the other call when the retries have failed.
//!
//! Timers are tokio's, the open time of a breaker is measured by the [`Clock`](crate::clock::Clock), and random
//! delays come from a [`Jitter`]. Tests pause the first, advance the second and seed the third.

mod breaker;
mod bulkhead;
mod error;
mod fallback;
mod outcome;
mod repeat;
mod response;
mod retry;
mod timeout;

pub use breaker::{
    Breaker, BreakerFuture, BreakerPermit, BreakerSample, BreakerService, BreakerSettings, BreakerState,
};
pub use bulkhead::{Bulkhead, BulkheadFuture, BulkheadPermit, BulkheadService};
pub use error::{CallError, Error};
pub use fallback::{Fallback, FallbackLayer, FallbackService};
pub use outcome::{Classification, Classifier, Classify, ClassifyByError, Outcome};
pub use repeat::{RepeatablePolicy, RequestRetrySafety, RetrySafety};
pub use retry::{Jitter, Retry, RetryBudget, RetryService};
pub use timeout::{Timeout, TimeoutFuture, TimeoutService};
