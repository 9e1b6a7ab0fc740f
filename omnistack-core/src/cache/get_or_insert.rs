//! Computing missing values once.

use std::{
    any::Any,
    future::{IntoFuture, Ready, ready},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Cache, ClaimKind, Lease, clamp_ttl, decode, encode,
    lock::HeldClaim,
    log_error,
    single_flight::{Computation, ComputationResult, FlightRole, wait_for_result},
};

/// Default of [`GetOrInsert::lease`].
const DEFAULT_LEASE: Duration = Duration::from_secs(5);
/// First and longest delay between two checks for a value that another replica computes.
const POLL_DELAYS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(100));

/// Future that reads a value, or computes and stores it. Created by [`Cache::get_or_insert_with`].
#[must_use = "nothing is read until it is awaited"]
pub struct GetOrInsert<'a, F> {
    wanted: GetOrInsertRequest<'a>,
    compute: F,
}

struct GetOrInsertRequest<'a> {
    cache: &'a Cache,
    key: &'a str,
    ttl: Duration,
    lease: Duration,
    tags: Vec<String>,
}

impl<'a, F> GetOrInsert<'a, F> {
    pub(crate) fn new(cache: &'a Cache, key: &'a str, ttl: Duration, compute: F) -> Self {
        Self {
            wanted: GetOrInsertRequest { cache, key, ttl: clamp_ttl(ttl), lease: DEFAULT_LEASE, tags: Vec::new() },
            compute,
        }
    }

    /// Stores the value with tags. If one of them is invalidated during the computation, the value is not
    /// stored.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wanted.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Sets how long other replicas wait for a replica that began to compute and then ended. Default: 5
    /// seconds. The lease is renewed while the computation runs, so it does not limit its duration.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.wanted.lease = clamp_ttl(lease);
        self
    }
}

impl<'a, F, Computing, T, E> IntoFuture for GetOrInsert<'a, F>
where
    F: FnOnce() -> Computing + Send + 'a,
    Computing: Future<Output = Result<T, E>> + Send + 'a,
    T: Serialize + DeserializeOwned + Send + 'a,
    E: Send + Sync + 'static,
{
    type Output = Result<T, Arc<E>>;
    type IntoFuture = Either<Ready<Self::Output>, BoxFuture<'a, Self::Output>>;

    fn into_future(self) -> Self::IntoFuture {
        // A value in this process needs no boxed future.
        match self.wanted.cache.get_in_process(self.wanted.key) {
            Some(value) => Either::Left(ready(Ok(value))),
            None => Either::Right(Box::pin(self.run())),
        }
    }
}

impl<F> GetOrInsert<'_, F> {
    async fn run<Computing, T, E>(self) -> Result<T, Arc<E>>
    where
        F: FnOnce() -> Computing + Send,
        Computing: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Send + Sync + 'static,
    {
        let GetOrInsertRequest { cache, key, .. } = self.wanted;
        if cache.in_process.is_none()
            && let Some(value) = cache.get(key).await
        {
            return Ok(value);
        }
        loop {
            let result = match cache.flights.join(key) {
                FlightRole::Compute(flight) => return self.compute_and_share(flight).await,
                FlightRole::Wait(result) => result,
            };
            match wait_for_result(result).await {
                // The caller that computed was dropped: this or another caller takes over.
                None => {}
                Some(ComputationResult::Value(bytes)) => match decode(key, &bytes) {
                    Some(value) => return Ok(value),
                    None => break,
                },
                Some(ComputationResult::Failed(error)) => match error.downcast::<E>() {
                    Ok(error) => return Err(error),
                    Err(_) => break,
                },
                Some(ComputationResult::Unshared) => break,
            }
        }
        // The computation of another caller has another type, so its result can't be shared.
        (self.compute)().await.map_err(Arc::new)
    }

    /// Computes the value for all callers in this process and in other replicas.
    async fn compute_and_share<Computing, T, E>(self, flight: Computation) -> Result<T, Arc<E>>
    where
        F: FnOnce() -> Computing + Send,
        Computing: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Send + Sync + 'static,
    {
        let Self { wanted, compute } = self;
        let held = match wanted.value_or_lease().await {
            ValueOrLease::Stored(bytes, value) => {
                flight.complete(ComputationResult::Value(bytes));
                return Ok(value);
            }
            ValueOrLease::Leased(held) => Some(held),
            ValueOrLease::WithoutStore => None,
        };
        let computed = {
            let mut computing = std::pin::pin!(compute());
            loop {
                tokio::select! {
                    biased;
                    computed = &mut computing => break computed,
                    () = tokio::time::sleep(wanted.lease / 3), if held.is_some() => {
                        // The value is wanted even if the lease is lost. The renewal runs in its own task, so
                        // that a slow store delays nothing.
                        if let Some(held) = &held {
                            let (store, key, owner) = (Arc::clone(&held.store), held.key.clone(), held.owner.clone());
                            let lease = wanted.lease;
                            tokio::spawn(async move { _ = store.extend(ClaimKind::Lease(&key), &owner, lease).await });
                        }
                    }
                }
            }
        };
        match computed {
            Ok(value) => {
                let Some(bytes) = encode(wanted.key, &value) else {
                    flight.complete(ComputationResult::Unshared);
                    return Ok(value);
                };
                flight.complete(ComputationResult::Value(bytes.clone()));
                if let Some(mut held) = held {
                    held.ended = true;
                    log_error(
                        wanted.key,
                        wanted.cache.store.store_leased(wanted.key, &held.owner, bytes, wanted.ttl).await,
                    );
                }
                Ok(value)
            }
            Err(error) => {
                let error = Arc::new(error);
                flight.complete(ComputationResult::Failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
                Err(error)
            }
        }
    }
}

impl GetOrInsertRequest<'_> {
    /// Waits until the value is stored or this process gets the lease to compute it.
    async fn value_or_lease<T: DeserializeOwned>(&self) -> ValueOrLease<T> {
        let owner = super::owner();
        let store = &self.cache.store;
        let (mut pause, longest) = POLL_DELAYS;
        let mut unreadable = false;
        loop {
            match store.lease(self.key, &owner, self.lease, self.ttl, &self.tags).await {
                Ok(Lease::Value(bytes)) => match decode(self.key, &bytes) {
                    Some(value) => return ValueOrLease::Stored(bytes, value),
                    None if unreadable => return ValueOrLease::WithoutStore,
                    // For example a value of another version of the app.
                    None => {
                        unreadable = true;
                        log_error(self.key, store.delete(self.key).await);
                    }
                },
                Ok(Lease::Granted) => {
                    let (store, key) = (Arc::clone(store), self.key.to_owned());
                    return ValueOrLease::Leased(HeldClaim { store, key, owner, lease: true, ended: false });
                }
                Ok(Lease::Busy) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                Err(error) => {
                    log_error::<()>(self.key, Err(error));
                    return ValueOrLease::WithoutStore;
                }
            }
        }
    }
}

enum ValueOrLease<T> {
    Stored(Bytes, T),
    Leased(HeldClaim),
    /// The store is unavailable: compute without a lease.
    WithoutStore,
}

impl<F> std::fmt::Debug for GetOrInsert<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetOrInsert").field("key", &self.wanted.key).finish_non_exhaustive()
    }
}
