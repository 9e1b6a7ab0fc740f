//! The layer: it claims a key, runs the handler, and stores the response.

use std::{
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{RequestExt as _, body::Body, response::IntoResponse};
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Method, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    Idempotency, IdempotencySettings,
    handle::{CommitState, RequestClaim, TenantResponse},
    in_progress,
    key::{self, Digest, HEADER},
    store::{ClaimOutcome, IdempotencyKeys},
    stored_response::{StoredResponse, is_final},
};
use crate::{
    clock::Clock,
    db::Db,
    http::{Error, Request, Response, body_error, envelope::LaterEnvelope},
    trace,
};

/// A layer that carries out a POST or PATCH with an `Idempotency-Key` once, however often it is sent. See
/// [`idempotency`](super).
///
/// Put it inside the layer that adds the [`Identity`](crate::identity::Identity) to the request's extensions, and
/// inside a [`ClientAddrLayer`](crate::http::layer::ClientAddrLayer) for callers who are not signed in. Callers that
/// it can't distinguish share their keys.
#[derive(Clone)]
pub struct IdempotencyLayer {
    keys: Arc<IdempotencyKeys>,
    lease: Duration,
    required: bool,
}

impl IdempotencyLayer {
    /// Creates a layer that stores keys in this database, on which [`MIGRATIONS`](super::MIGRATIONS) have run. An app
    /// creates its own.
    pub fn new(db: Db, clock: Clock, settings: IdempotencySettings) -> Self {
        Self { lease: settings.lease, keys: Arc::new(IdempotencyKeys::new(db, clock, settings)), required: false }
    }

    /// Rejects a POST or PATCH without a key with 400 `IDEMPOTENCY_KEY_REQUIRED`.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the longest time of a request, in place of the setting. A request that takes longer is ended with 504,
    /// and a retry is carried out again.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    pub(crate) fn lease_at_least(mut self, least: Duration) -> Self {
        self.lease = self.lease.max(least);
        self
    }

    pub(crate) fn keys(&self) -> &IdempotencyKeys {
        &self.keys
    }

    /// Returns whether a request needs no key, or has its key handled already.
    fn bypasses(&self, request: &Request) -> bool {
        let changes = matches!(*request.method(), Method::POST | Method::PATCH);
        if !changes {
            return true;
        }
        if request.headers().contains_key(HEADER) {
            // An outer layer of this type handles the key.
            return request.extensions().get::<Idempotency>().is_some();
        }
        !self.required
    }

    async fn handle<S>(self, request: Request, inner: S) -> Response
    where
        S: Service<Request, Error = Infallible> + Send + 'static,
        S::Response: IntoResponse,
        S::Future: Send,
    {
        let asked = match KeyedRequest::read(request).await {
            Ok(asked) => asked,
            Err(error) => return error.into_response(),
        };
        // In a task of its own, which a client that disconnects does not cancel: its retry then gets the response.
        let keys = Arc::clone(&self.keys);
        let task = keys.running.spawn(trace::propagate(self.claim_and_run(asked, inner)).in_current_span());
        match task.await {
            Ok(response) => response,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Error::unavailable("SHUTTING_DOWN", "the server is shutting down").into_response(),
            },
        }
    }

    async fn claim_and_run<S>(self, asked: KeyedRequest, inner: S) -> Response
    where
        S: Service<Request, Error = Infallible> + Send + 'static,
        S::Response: IntoResponse,
        S::Future: Send,
    {
        match self.claim(&asked.scope, &asked.fingerprint).await {
            Ok(ClaimOutcome::Acquired(owner, until)) => {
                let KeyedRequest { parts, body, key, scope, .. } = asked;
                let keys = Arc::clone(&self.keys);
                let (progress, envelope, apart) = (CommitState::default(), LaterEnvelope::default(), Mutex::default());
                let claim = RequestClaim { keys, key, scope, owner, until, progress, envelope, tenant_response: apart };
                run_handler(Arc::new(claim), Request::from_parts(parts, Body::from(body)), inner).await
            }
            Ok(ClaimOutcome::Completed(answer)) => answer.replay(),
            Ok(ClaimOutcome::KeyReused) => {
                let message = "this Idempotency-Key was used for a different request; use a new key for a new request";
                Error::conflict("IDEMPOTENCY_KEY_REUSED", message).into_response()
            }
            Ok(ClaimOutcome::InProgress(until)) => {
                in_progress(until.duration_since(self.keys.clock.now())).into_response()
            }
            Err(error) => Error::from(error).into_response(),
        }
    }

    /// Claims a key. If another request with the key is in progress, waits up to `IDEMPOTENCY_WAIT` for its end.
    async fn claim(&self, scope: &Digest, fingerprint: &Digest) -> Result<ClaimOutcome, crate::db::Error> {
        const MAX_POLL_DELAY: Duration = Duration::from_millis(500);
        let IdempotencyKeys { clock, settings, .. } = &*self.keys;
        let began = clock.elapsed();
        let mut pause = Duration::from_millis(20);
        loop {
            // Before the check, so that a request that ends after the check is not missed.
            let ended = self.keys.ended(scope).notified();
            let claimed = self.keys.claim(scope, fingerprint, self.lease).await?;
            let left = settings.wait.saturating_sub(clock.elapsed().saturating_sub(began));
            if !matches!(claimed, ClaimOutcome::InProgress(_)) || left.is_zero() {
                return Ok(claimed);
            }
            // Requests in other processes send no notification, so the check is repeated.
            _ = tokio::time::timeout(pause.min(left), ended).await;
            pause = (pause * 2).min(MAX_POLL_DELAY);
        }
    }
}

/// Runs the handler within its lease, and stores its response.
async fn run_handler<S>(claim: Arc<RequestClaim>, mut request: Request, mut inner: S) -> Response
where
    S: Service<Request, Error = Infallible> + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    request.extensions_mut().insert(claim.envelope.clone());
    request.extensions_mut().insert(Idempotency::new(Arc::clone(&claim)));
    let left = claim.until.locked_until.duration_since(claim.keys.clock.now());
    let work = async move {
        let Ok(response) = inner.call(request).await;
        response.into_response()
    };
    let ended = tokio::time::timeout(left, AssertUnwindSafe(work).catch_unwind()).await;
    match ended {
        Ok(Ok(response)) => claim.store_response(response).await,
        Ok(Err(panic)) => {
            claim.release().await;
            resume_unwind(panic)
        }
        Err(_) => {
            claim.release().await;
            let message = "the request took longer than the lease of its Idempotency-Key and was cancelled; try again";
            Error::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", message).into_response()
        }
    }
}

impl RequestClaim {
    /// Stores the response, unless the handler did.
    async fn store_response(self: &Arc<Self>, response: Response) -> Response {
        let apart = self.take_tenant_response();
        if let Some(TenantResponse { answer, from_earlier_attempt: true }) = apart {
            // An earlier attempt carried out the request, but its process did not finish.
            self.store(&answer).await;
            return answer.replay();
        }
        if self.progress.committed() {
            // A crash before this line leaves the claim until its lease ends; a retry then finds the row in the
            // tenant database.
            if let Some(TenantResponse { answer, .. }) = apart {
                self.store(&answer).await;
            }
            self.keys.ended(&self.scope).notify_waiters();
            return response;
        }
        // A transaction that stored the response has committed by now, or never will: then nothing was done, and
        // there is nothing to store.
        if !self.progress.untouched() || !is_final(response.status()) {
            self.release().await;
            return response;
        }
        let (response, answer) = match StoredResponse::read(response).await {
            Ok(read) => read,
            Err(error) => {
                self.release().await;
                return error.into_response();
            }
        };
        self.store(&answer).await;
        response
    }

    async fn store(self: &Arc<Self>, answer: &StoredResponse) {
        match self.keys.complete(&self.scope, self.owner, answer).await {
            Ok(true) => {}
            Ok(false) => warn("the lease ended before the request did, and the request was carried out again"),
            Err(error) => {
                warn(&format!("the response can't be stored; retrying until {}: {error}", self.until.locked_until));
                self.retry_in_background(Some(answer.clone()));
            }
        }
        self.keys.ended(&self.scope).notify_waiters();
    }

    /// Releases the claim, so that a retry is carried out.
    async fn release(self: &Arc<Self>) {
        if let Err(error) = self.keys.release(&self.scope, self.owner).await {
            warn(&format!("the key can't be released; retrying until {}: {error}", self.until.locked_until));
            self.retry_in_background(None);
        }
        self.keys.ended(&self.scope).notify_waiters();
    }

    /// Stores the response, or releases the claim if there is none, as soon as the database is available. Gives up at
    /// the end of the lease.
    fn retry_in_background(self: &Arc<Self>, answer: Option<StoredResponse>) {
        const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
        let claim = Arc::clone(self);
        self.keys.running.spawn(async move {
            let Self { keys, scope, owner, until, .. } = &*claim;
            let mut pause = Duration::from_millis(100);
            while keys.clock.now() < until.locked_until {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY_DELAY);
                let ended = match &answer {
                    Some(answer) => keys.complete(scope, *owner, answer).await.map(drop),
                    None => keys.release(scope, *owner).await,
                };
                if ended.is_ok() {
                    return keys.ended(scope).notify_waiters();
                }
            }
        });
    }
}

fn warn(what: &str) {
    tracing::warn!(target: "omnistack::idempotency", "a request with an Idempotency-Key: {what}");
}

/// A request with a key, with its whole body.
struct KeyedRequest {
    parts: Parts,
    body: axum::body::Bytes,
    key: String,
    scope: Digest,
    fingerprint: Digest,
}

impl KeyedRequest {
    async fn read(request: Request) -> Result<Self, Error> {
        if !request.headers().contains_key(HEADER) {
            let message = "the header `Idempotency-Key` is missing; send a unique key for each new request";
            return Err(Error::bad_request("IDEMPOTENCY_KEY_REQUIRED", message));
        }
        let key = key::read(request.headers())?;
        let (parts, body) = request.with_limited_body().into_parts();
        let body = body.collect().await.map_err(|error| body_error(&error))?.to_bytes();
        let (scope, fingerprint) = (key::scope(&parts, &key), key::fingerprint(&parts, &body));
        Ok(Self { parts, body, key, scope, fingerprint })
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> IdempotencyService<S> {
        IdempotencyService { inner, layer: self.clone() }
    }
}

/// Service of [`IdempotencyLayer`].
#[derive(Clone, Debug)]
pub struct IdempotencyService<S> {
    inner: S,
    layer: IdempotencyLayer,
}

impl<S> Service<Request> for IdempotencyService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = IdempotencyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if self.layer.bypasses(&request) {
            return IdempotencyFuture::Passed { future: self.inner.call(request) };
        }
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        IdempotencyFuture::Keyed { future: Box::pin(self.layer.clone().handle(request, inner)) }
    }
}

pin_project! {
    /// Future of [`IdempotencyService`].
    #[project = IdempotentProjection]
    pub enum IdempotencyFuture<F> {
        Passed {
            #[pin]
            future: F,
        },
        Keyed { future: BoxFuture<'static, Response> },
    }
}

impl<F, R> Future for IdempotencyFuture<F>
where
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            IdempotentProjection::Passed { future } => {
                future.poll(cx).map(|answered| answered.map(IntoResponse::into_response))
            }
            IdempotentProjection::Keyed { future } => future.as_mut().poll(cx).map(Ok),
        }
    }
}

impl<F> fmt::Debug for IdempotencyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("settings", &self.keys.settings)
            .field("lease", &self.lease)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}
