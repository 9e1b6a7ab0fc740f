//! Fallback to another call.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::{
    Classification, Classifier, ClassifyByError, Outcome, RepeatablePolicy, RetrySafety,
    outcome::combine_results,
    repeat::{RequestRetrySafety, repeatable},
};

/// Fallback policy: makes another call if the first one failed.
///
/// After an **unknown** outcome it makes the other call only through [`idempotent`](Self::idempotent) or
/// [`read_only`](Self::read_only), which the caller adds at the call. An idempotency key of one provider has no
/// meaning for another: a charge is not idempotent across two providers.
///
/// The result is that of the other call, with one exception that keeps outcomes correct: if the outcome of the
/// first call is unknown and the other call failed, the result is that of the first call, unless the failure is
/// [settled](Classification::settled) or the call is read-only.
///
/// ```
/// use omnistack_core::resilience::{Classification, Classify, Fallback};
///
/// #[derive(Debug, PartialEq)]
/// enum SmsError { Refused, Lost }
///
/// impl Classify for SmsError {
///     fn class(&self) -> Classification {
///         match self {
///             Self::Refused => Classification::failed(),
///             Self::Lost => Classification::unknown(),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let fallback = Fallback::new();
/// let sent = fallback.run(async { Err(SmsError::Refused) }, || async { Ok("by the other") }).await;
/// assert_eq!(sent, Ok("by the other"));
///
/// // The message may have been sent, so it is not sent by the other provider as well.
/// let sent = fallback.run(async { Err(SmsError::Lost) }, || async { Ok("by the other") }).await;
/// assert_eq!(sent, Err(SmsError::Lost));
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fallback<C = ClassifyByError> {
    classifier: C,
    only_transient: bool,
}

impl Default for Fallback {
    fn default() -> Self {
        Self::new()
    }
}

impl Fallback {
    /// Creates a policy that falls back after any failure. Results are classified by their errors, which
    /// implement [`Classify`](super::Classify); [`classify`](Self::classify) uses a closure instead.
    pub const fn new() -> Self {
        Self { classifier: ClassifyByError, only_transient: false }
    }
}

impl<C> Fallback<C> {
    /// Falls back only after transient failures: an invalid request is invalid for the other service as well.
    #[must_use]
    pub const fn only_transient(mut self) -> Self {
        self.only_transient = true;
        self
    }

    /// Returns the same policy, for calls whose results the closure classifies: `|result: Result<&T, &E>|
    /// Class`.
    #[must_use]
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Classification>(&self, classifier: F) -> Fallback<F> {
        Fallback { classifier, only_transient: self.only_transient }
    }

    /// Makes the first call, and the other one if the first failed.
    ///
    /// # Errors
    ///
    /// Fails as the call does that was made last.
    pub async fn run<T, E, F>(
        &self,
        first: impl Future<Output = Result<T, E>>,
        other: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
    {
        self.run_with_fallback(RetrySafety::Never, first, other).await
    }

    /// Returns a layer that sends failed requests to this service.
    pub fn to<F>(self, other: F) -> FallbackLayer<C, F> {
        FallbackLayer { fallback: self, other, repeat: RetrySafety::Never }
    }

    async fn run_with_fallback<T, E, F>(
        &self,
        repeat: RetrySafety,
        first: impl Future<Output = Result<T, E>>,
        other: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
    {
        let result = first.await;
        let class = self.classifier.classify(result.as_ref());
        let elsewhere = match class.outcome() {
            Outcome::Success => false,
            Outcome::Failed => class.is_transient() || !self.only_transient,
            Outcome::Unknown => repeat != RetrySafety::Never,
        };
        if !elsewhere {
            return result;
        }
        tracing::debug!(outcome = class.outcome().as_str(), "falling back to another call");
        let unknown = (class.outcome() == Outcome::Unknown).then_some(result);
        let result = other().await;
        let class = self.classifier.classify(result.as_ref());
        combine_results(unknown, result, &class, repeat)
    }
}

repeatable!(Fallback);

impl<C> RepeatablePolicy<Fallback<C>> {
    /// Makes the calls like [`Fallback::run`], and the other call also after an unknown outcome if the caller
    /// allows it.
    ///
    /// # Errors
    ///
    /// Fails as the other call does, or as the first one if its outcome is unknown and the other call failed.
    pub async fn run<T, E, F>(
        &self,
        first: impl Future<Output = Result<T, E>>,
        other: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
    {
        self.policy.run_with_fallback(self.repeat, first, other).await
    }
}

impl<C, R> RepeatablePolicy<Fallback<C>, R> {
    /// Returns a layer that sends failed requests, and those of unknown outcome if allowed, to this service.
    pub fn to<F>(self, other: F) -> FallbackLayer<C, F, R> {
        FallbackLayer { fallback: self.policy, other, repeat: self.repeat }
    }
}

/// Layer that sends failed requests to another service. Created by [`Fallback::to`].
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing unless it wraps a service"]
pub struct FallbackLayer<C, F, R = RetrySafety> {
    fallback: Fallback<C>,
    other: F,
    repeat: R,
}

impl<S, C: Clone, F: Clone, R: Clone> Layer<S> for FallbackLayer<C, F, R> {
    type Service = FallbackService<S, C, F, R>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, layer: self.clone() }
    }
}

/// Service created by [`FallbackLayer`]. Requests are cloned.
#[derive(Clone, Debug)]
pub struct FallbackService<S, C, F, R = RetrySafety> {
    inner: S,
    layer: FallbackLayer<C, F, R>,
}

impl<S, C, F, P, R> Service<R> for FallbackService<S, C, F, P>
where
    S: Service<R>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    C: Classifier<S::Response, S::Error> + Clone + Send + Sync + 'static,
    F: Service<R, Response = S::Response, Error = S::Error> + Clone + Send + 'static,
    F::Future: Send,
    P: RequestRetrySafety<R>,
    R: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let repeat = self.layer.repeat.retry_safety(&request);
        let fallback = self.layer.fallback.clone();
        let other = self.layer.other.clone();
        let first = self.inner.call(request.clone());
        Box::pin(async move { fallback.run_with_fallback(repeat, first, || other.oneshot(request)).await })
    }
}
