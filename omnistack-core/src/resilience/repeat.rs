//! Whether a call may be made twice.

use http::{Method, Request};

/// What the caller knows about making the same call twice. Only the caller can know, so nothing else decides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is twice: a charge, a mail. A call of unknown outcome is not repeated.
    #[default]
    Never,
    /// Twice is once: a `PUT`, or a request with an idempotency key the other side keeps. A call of unknown outcome is
    /// repeated; if then no attempt succeeds, the call's outcome is still unknown, and its result that of the attempt that
    /// may have happened.
    Idempotent,
    /// It changes nothing, so the last answer counts whatever happened before.
    ReadOnly,
}

impl Repeat {
    /// By method (RFC 9110, sections 9.2.1 and 9.2.2) and `Idempotency-Key`: `GET`, `HEAD`, `OPTIONS` and `TRACE` only
    /// read, `PUT`, `DELETE` and whatever has a key are idempotent, anything else is neither.
    ///
    /// The key is believed: send it only to a server that keeps it.
    pub fn of_request<B>(request: &Request<B>) -> Self {
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Self::ReadOnly,
            Method::PUT | Method::DELETE => Self::Idempotent,
            _ if request.headers().contains_key("idempotency-key") => Self::Idempotent,
            _ => Self::Never,
        }
    }
}

/// Says of each request of a service whether it may be made twice. A [`Repeat`] says the same of all, a closure
/// `|request: &R| Repeat` looks.
pub trait Repetition<R> {
    /// Whether this one may be made twice.
    fn repeat(&self, request: &R) -> Repeat;
}

impl<R> Repetition<R> for Repeat {
    fn repeat(&self, _: &R) -> Repeat {
        *self
    }
}

impl<R, F: Fn(&R) -> Repeat> Repetition<R> for F {
    fn repeat(&self, request: &R) -> Repeat {
        self(request)
    }
}

/// A policy whose caller has said that calls may be made twice.
///
/// It is a type of its own, made at the call, so that a policy somebody shares never repeats by accident: where a
/// [`Retry`](super::Retry) is held, no call of unknown outcome is repeated.
///
/// ```compile_fail,E0308
/// # use omnistack_core::resilience::Retry;
/// # use std::time::Duration;
/// struct Mailer { retry: Retry }
/// let mailer = Mailer { retry: Retry::new(3, Duration::from_secs(10)).idempotent() };
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "it does nothing until it is run or layered"]
pub struct Repeatable<P, R = Repeat> {
    pub(super) policy: P,
    pub(super) repeat: R,
}

/// What a policy's caller may say about calls: every policy that makes a second one has the same four methods.
macro_rules! repeatable {
    ($policy:ident) => {
        impl<C: Clone> $policy<C> {
            /// For calls that may be made twice with the effect of one: the other side keeps an idempotency key, or sets rather
            /// than adds. Unknown outcomes are followed by another call too.
            pub fn idempotent(&self) -> Repeatable<Self> {
                self.repeating(Repeat::Idempotent)
            }

            /// For calls that change nothing. Unknown outcomes are followed by another call too, and the last answer is the
            /// result.
            pub fn read_only(&self) -> Repeatable<Self> {
                self.repeating(Repeat::ReadOnly)
            }

            /// For calls of which is known only when they are made whether they may be made twice.
            pub fn repeating(&self, repeat: Repeat) -> Repeatable<Self> {
                Repeatable { policy: self.clone(), repeat }
            }

            /// For a layer, where each request says whether it may be made twice: [`Repeat::of_request`], or a closure of your
            /// own.
            pub fn by_request<R, F: Fn(&R) -> Repeat>(&self, repeat: F) -> Repeatable<Self, F> {
                Repeatable { policy: self.clone(), repeat }
            }
        }
    };
}
pub(super) use repeatable;
