//! Calls to those who sometimes don't answer.
//!
//! A call to somebody else's service ends in one of three ways, the [`Outcome`]: it happened, it did not happen, or nobody
//! knows. The third is what loses money: a charge whose answer was lost may have been made, so it must be neither repeated
//! nor sent elsewhere as if it had failed. Every policy here speaks of outcomes, and none repeats what may have happened
//! unless the caller says that twice is once.
//!
//! | policy | does | when it answers itself |
//! |---|---|---|
//! | [`Fallback`] | makes another call when one failed | |
//! | [`Retry`] | tries again: attempts, deadline, backoff, budget | unknown, when the deadline cuts an attempt |
//! | [`Breaker`] | refuses while the other side fails too often | failed, may be tried again |
//! | [`Bulkhead`] | lets so many run at once, and so many wait | failed, may be tried again |
//! | [`Timeout`] | gives up what takes too long | unknown |
//!
//! What a result means is its [`Class`], given by the error itself ([`Classify`]) or by a closure of the call's result. What
//! a policy answers in place of the call is an [`Error`], and becomes an error of the call's own type by `From`. So a
//! provider behind policies is still a provider, with the same errors.
//!
//! Each policy is a handle with `run`, and a [`tower::Layer`]:
//!
//! ```
//! use omnistack_core::{
//!     clock::Clock,
//!     resilience::{Breaker, BreakerSettings, Bulkhead, CallError, Class, Classify, Repeat, Retry, Timeout},
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
//!     fn class(&self) -> Class {
//!         Class::failed()
//!     }
//! }
//!
//! // From the outside in.
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
//! From the outside in: fallback, retry, breaker, bulkhead, timeout. Each place has its reason:
//!
//! - The **timeout** is next to the call and bounds one attempt, so the breaker counts an attempt that hangs. A timeout
//!   outside of the breaker drops the call before the breaker learns anything.
//! - The **bulkhead** is outside of the timeout: waiting for a place is not waiting for an answer, and to be refused there is
//!   a failure, not an unknown outcome.
//! - The **breaker** is outside of the bulkhead, so that nobody queues for a peer that is down. It does not count what the
//!   bulkhead refuses.
//! - The **retry** is outside of both: what they refuse was not sent and is tried again, after the breaker's open time if the
//!   deadline allows it. Its deadline bounds the whole.
//! - The **fallback** is outermost: it asks somebody else when this one has been tried enough.
//!
//! Timers are tokio's; how long a breaker has been open is the [`Clock`](crate::clock::Clock)'s; chance is a [`Jitter`]. Tests
//! pause the first, move the second and seed the third.

mod breaker;
mod bulkhead;
mod error;
mod fallback;
mod outcome;
mod repeat;
mod response;
mod retry;
mod timeout;

pub use breaker::{Breaker, BreakerFuture, BreakerService, BreakerSettings, Count, Permit, State};
pub use bulkhead::{Bulkhead, BulkheadFuture, BulkheadService, Place};
pub use error::{CallError, Error};
pub use fallback::{Fallback, FallbackLayer, FallbackService};
pub use outcome::{ByError, Class, Classifier, Classify, Outcome};
pub use repeat::{Repeat, Repeatable, Repetition};
pub use retry::{Budget, Jitter, Retry, RetryService};
pub use timeout::{Timeout, TimeoutFuture, TimeoutService};
