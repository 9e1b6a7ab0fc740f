//! Whether a call may be repeated.

use http::{Method, Request};

/// Whether a call may be repeated. Only the caller knows, so no policy decides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetrySafety {
    /// A repetition has a further effect, such as a second charge or mail. A call of unknown outcome is not
    /// repeated.
    #[default]
    Never,
    /// A repetition has no further effect: a `PUT`, or a request with an idempotency key that the called
    /// service honors. A call of unknown outcome is repeated. If then no attempt succeeds, the outcome of the
    /// call remains unknown, and its result is that of the attempt that may have taken effect.
    Idempotent,
    /// The call changes nothing, so the result of the last attempt counts, whatever happened before.
    ReadOnly,
}

impl RetrySafety {
    /// Decides by the method (RFC 9110, sections 9.2.1 and 9.2.2) and `Idempotency-Key`: `GET`, `HEAD`,
    /// `OPTIONS` and `TRACE` are read-only; `PUT`, `DELETE` and all requests with a key are idempotent; other
    /// requests are neither.
    ///
    /// The key is trusted: send it only to a server that honors it.
    pub fn from_request<B>(request: &Request<B>) -> Self {
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Self::ReadOnly,
            Method::PUT | Method::DELETE => Self::Idempotent,
            _ if request.headers().contains_key("idempotency-key") => Self::Idempotent,
            _ => Self::Never,
        }
    }
}

/// Decides for each request of a service whether it may be repeated. A [`RetrySafety`] decides the same for all
/// requests, a closure `|request: &R| RetrySafety` for each.
pub trait RequestRetrySafety<R> {
    /// Returns whether the request may be repeated.
    fn retry_safety(&self, request: &R) -> RetrySafety;
}

impl<R> RequestRetrySafety<R> for RetrySafety {
    fn retry_safety(&self, _: &R) -> RetrySafety {
        *self
    }
}

impl<R, F: Fn(&R) -> RetrySafety> RequestRetrySafety<R> for F {
    fn retry_safety(&self, request: &R) -> RetrySafety {
        self(request)
    }
}

/// Policy whose caller allows calls to be repeated.
///
/// It is a separate type, created at the call, so that a shared policy never repeats by accident: a field of
/// type [`Retry`](super::Retry) never repeats a call of unknown outcome.
///
/// ```compile_fail,E0308
/// # use omnistack_core::resilience::Retry;
/// # use std::time::Duration;
/// struct Mailer { retry: Retry }
/// let mailer = Mailer { retry: Retry::new(3, Duration::from_secs(10)).idempotent() };
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "does nothing unless it is run or used as a layer"]
pub struct RepeatablePolicy<P, R = RetrySafety> {
    pub(super) policy: P,
    pub(super) repeat: R,
}

/// Generates the methods by which the caller allows repetition. Every policy that can make a second call has
/// the same four.
macro_rules! repeatable {
    ($policy:ident) => {
        impl<C: Clone> $policy<C> {
            /// Allows repetition for calls that have the same effect when made twice, because the called
            /// service honors an idempotency key, or because they set rather than add. A call of unknown
            /// outcome is repeated too.
            pub fn idempotent(&self) -> RepeatablePolicy<Self> {
                self.repeating(RetrySafety::Idempotent)
            }

            /// Allows repetition for calls that change nothing. A call of unknown outcome is repeated too, and
            /// the result of the last attempt is returned.
            pub fn read_only(&self) -> RepeatablePolicy<Self> {
                self.repeating(RetrySafety::ReadOnly)
            }

            /// Allows repetition as `repeat` says, for calls that are decided at run time.
            pub fn repeating(&self, repeat: RetrySafety) -> RepeatablePolicy<Self> {
                RepeatablePolicy { policy: self.clone(), repeat }
            }

            /// Decides for each request of a layer whether it may be repeated: with [`RetrySafety::from_request`], or
            /// with a closure.
            pub fn by_request<R, F: Fn(&R) -> RetrySafety>(&self, repeat: F) -> RepeatablePolicy<Self, F> {
                RepeatablePolicy { policy: self.clone(), repeat }
            }
        }
    };
}
pub(super) use repeatable;
