//! The extractor with which a handler stores its response in its own transaction.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use axum::{extract::FromRequestParts, response::IntoResponse};
use http::request::Parts;

use super::{
    in_progress,
    key::Digest,
    store::{self, AttemptMarker, ClaimLease, IdempotencyKeys},
    stored_response::{StoredResponse, is_final},
};
use crate::{
    db::Tx,
    http::{Error, Response, envelope::LaterEnvelope},
    id::Id,
};

/// Extractor of the idempotency key of the request, if it has one. Use it in a handler that changes data, and end
/// with [`commit`](Self::commit): the change and the stored response are then one transaction.
///
/// ```
/// use axum::extract::State;
/// use omnistack_core::{db::Db, http::{Error, Json, Response, StatusCode}, idempotency::Idempotency};
///
/// async fn order(State(db): State<Db>, idempotency: Idempotency) -> Result<Response, Error> {
///     let mut tx = db.begin().await?;
///     tx.query("update stock set pieces = pieces - 1").execute().await?;
///     idempotency.commit(tx, (StatusCode::CREATED, Json("ordered"))).await
/// }
/// # let _: axum::Router<Db> = axum::Router::new().route("/orders", axum::routing::post(order));
/// ```
///
/// Extracting never fails. Without a key, or without the layer, `commit` commits and returns the response.
#[derive(Clone, Default)]
pub struct Idempotency(Option<Arc<RequestClaim>>);

/// The claim of this process on a request.
pub(crate) struct RequestClaim {
    pub(crate) keys: Arc<IdempotencyKeys>,
    pub(crate) key: String,
    pub(crate) scope: Digest,
    pub(crate) owner: Id<AttemptMarker>,
    pub(crate) until: ClaimLease,
    pub(crate) progress: CommitState,
    /// The envelope in which a layer inside the idempotency layer wraps the response.
    pub(crate) envelope: LaterEnvelope,
    /// The response that this attempt or an earlier one stored in a tenant database.
    pub(crate) tenant_response: Mutex<Option<TenantResponse>>,
}

/// A response stored in a tenant database.
pub(crate) struct TenantResponse {
    pub(crate) answer: StoredResponse,
    /// Whether an earlier attempt stored it, and carried out the request.
    pub(crate) from_earlier_attempt: bool,
}

/// State of the handler's transaction.
#[derive(Default)]
pub(crate) struct CommitState(AtomicU8);

impl CommitState {
    /// The handler has not used it.
    const UNTOUCHED: u8 = 0;
    /// A transaction has confirmed the owner, and stores no response.
    const CONFIRMED: u8 = 1;
    /// A transaction has stored the response.
    const WRITTEN: u8 = 2;
    /// The transaction has committed.
    const COMMITTED: u8 = 3;

    pub(crate) fn untouched(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::UNTOUCHED
    }

    pub(crate) fn committed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::COMMITTED
    }
}

impl Idempotency {
    pub(crate) fn new(claim: Arc<RequestClaim>) -> Self {
        Self(Some(claim))
    }

    /// Returns the key without quotes, or `None` without a key.
    pub fn key(&self) -> Option<&str> {
        self.0.as_ref().map(|claim| claim.key.as_str())
    }

    /// Stores the response in the transaction, commits, and returns the response: both become durable or neither.
    ///
    /// A response that is not final (5xx, 408, 425, 429) is not stored; the transaction is committed anyway, and a
    /// retry is carried out again.
    ///
    /// # Errors
    /// Fails with 409 `IDEMPOTENCY_IN_PROGRESS` if the lease has ended and another request with the key has taken
    /// over, and with the database's error. In both cases the transaction is rolled back.
    pub async fn commit(&self, mut tx: Tx, answer: impl IntoResponse) -> Result<Response, Error> {
        let response = self.complete_in(&mut tx, answer).await?;
        tx.commit().await?;
        if let Some(claim) = &self.0 {
            let (from, to) = (CommitState::WRITTEN, CommitState::COMMITTED);
            _ = claim.progress.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        }
        Ok(response)
    }

    /// Like [`commit`](Self::commit), but leaves the commit to the caller: for a transaction that is retried after a
    /// conflict, or has more to do. Call it as late as possible: it holds a lock that retries check until the
    /// transaction ends. If the transaction is rolled back, the returned response is not stored, and a retry is
    /// carried out again.
    ///
    /// # Errors
    /// Fails like `commit`. After an error the transaction can't be committed: the commit fails and rolls back.
    #[must_use = "the returned response is the one to send"]
    pub async fn complete_in(&self, tx: &mut Tx, answer: impl IntoResponse) -> Result<Response, Error> {
        let response = answer.into_response();
        let Some(claim) = &self.0 else { return Ok(response) };
        let (scope, owner) = (&claim.scope, claim.owner);
        let stored = async {
            if tx.in_tenant_database() {
                return claim.complete_in_tenant_database(tx, response).await;
            }
            if !is_final(response.status()) {
                claim.progress.0.store(CommitState::CONFIRMED, Ordering::SeqCst);
                return Ok((store::confirm_in(tx, scope, owner).await?, response));
            }
            let (response, answer) = StoredResponse::read_before_envelope(response, &claim.envelope).await?;
            claim.progress.0.store(CommitState::WRITTEN, Ordering::SeqCst);
            Ok::<_, Error>((store::complete_in(tx, scope, owner, &answer).await?, response))
        };
        match stored.await {
            Ok((true, response)) => Ok(response),
            Ok((false, _)) => {
                tx.mark_rollback_only("another request with the same Idempotency-Key took over");
                // Its lease began after the end of this one.
                Err(in_progress(claim.keys.settings.lease))
            }
            Err(error) => {
                tx.mark_rollback_only("the response could not be stored");
                Err(error)
            }
        }
    }
}

impl RequestClaim {
    /// Stores the response in a transaction of a tenant database. Only one attempt stores a response there; the
    /// transactions of other attempts are rolled back, and they return the stored response.
    async fn complete_in_tenant_database(&self, tx: &mut Tx, response: Response) -> Result<(bool, Response), Error> {
        let now = self.keys.clock.now();
        let (response, answer, first) = if is_final(response.status()) {
            let (response, answer) = StoredResponse::read_before_envelope(response, &self.envelope).await?;
            self.progress.0.store(CommitState::WRITTEN, Ordering::SeqCst);
            let first =
                store::complete_in_tenant_database(tx, (&self.scope, self.owner, self.until), &answer, now).await?;
            (response, Some(answer), first)
        } else {
            self.progress.0.store(CommitState::CONFIRMED, Ordering::SeqCst);
            (response, None, store::find_in_tenant_database(tx, &self.scope, now).await?.is_none())
        };
        let others = !first;
        let answer = if others { store::find_in_tenant_database(tx, &self.scope, now).await? } else { answer };
        *self.tenant_response.lock().unwrap_or_else(PoisonError::into_inner) =
            answer.map(|answer| TenantResponse { answer, from_earlier_attempt: others });
        Ok((first, response))
    }

    pub(crate) fn take_tenant_response(&self) -> Option<TenantResponse> {
        self.tenant_response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Idempotency").field(&self.key()).finish()
    }
}
