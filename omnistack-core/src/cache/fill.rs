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
    Cache, Claim, Lease, bounded, decode, encode,
    flight::{Flight, Outcome, Seat, outcome},
    lock::Held,
    report,
};

/// Default of [`GetOrInsert::lease`].
const DEFAULT_LEASE: Duration = Duration::from_secs(5);
/// First and longest delay between two checks for a value that another replica computes.
const POLL_DELAYS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(100));

/// Future that reads a value, or computes and stores it. Created by [`Cache::get_or_insert_with`].
#[must_use = "nothing is read until it is awaited"]
pub struct GetOrInsert<'a, F> {
    wanted: Wanted<'a>,
    compute: F,
}

struct Wanted<'a> {
    cache: &'a Cache,
    key: &'a str,
    ttl: Duration,
    lease: Duration,
    tags: Vec<String>,
}

impl<'a, F> GetOrInsert<'a, F> {
    pub(super) fn new(cache: &'a Cache, key: &'a str, ttl: Duration, compute: F) -> Self {
        Self { wanted: Wanted { cache, key, ttl: bounded(ttl), lease: DEFAULT_LEASE, tags: Vec::new() }, compute }
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
        self.wanted.lease = bounded(lease);
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
        match self.wanted.cache.get_own(self.wanted.key) {
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
        let Wanted { cache, key, .. } = self.wanted;
        if cache.own.is_none()
            && let Some(value) = cache.get(key).await
        {
            return Ok(value);
        }
        loop {
            let result = match cache.flights.join(key) {
                Seat::Lead(flight) => return self.lead(flight).await,
                Seat::Follow(result) => result,
            };
            match outcome(result).await {
                // The caller that computed was dropped: this or another caller takes over.
                None => {}
                Some(Outcome::Value(bytes)) => match decode(key, &bytes) {
                    Some(value) => return Ok(value),
                    None => break,
                },
                Some(Outcome::Failed(error)) => match error.downcast::<E>() {
                    Ok(error) => return Err(error),
                    Err(_) => break,
                },
                Some(Outcome::Unshared) => break,
            }
        }
        // The computation of another caller has another type, so its result can't be shared.
        (self.compute)().await.map_err(Arc::new)
    }

    /// Computes the value for all callers in this process and in other replicas.
    async fn lead<Computing, T, E>(self, flight: Flight) -> Result<T, Arc<E>>
    where
        F: FnOnce() -> Computing + Send,
        Computing: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Send + Sync + 'static,
    {
        let Self { wanted, compute } = self;
        let held = match wanted.value_or_lease().await {
            Right::Known(bytes, value) => {
                flight.land(Outcome::Value(bytes));
                return Ok(value);
            }
            Right::Leased(held) => Some(held),
            Right::Alone => None,
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
                            tokio::spawn(async move { _ = store.extend(Claim::Lease(&key), &owner, lease).await });
                        }
                    }
                }
            }
        };
        match computed {
            Ok(value) => {
                let Some(bytes) = encode(wanted.key, &value) else {
                    flight.land(Outcome::Unshared);
                    return Ok(value);
                };
                flight.land(Outcome::Value(bytes.clone()));
                if let Some(mut held) = held {
                    held.ended = true;
                    report(wanted.key, wanted.cache.store.fill(wanted.key, &held.owner, bytes, wanted.ttl).await);
                }
                Ok(value)
            }
            Err(error) => {
                let error = Arc::new(error);
                flight.land(Outcome::Failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
                Err(error)
            }
        }
    }
}

impl Wanted<'_> {
    /// Waits until the value is stored or this process gets the lease to compute it.
    async fn value_or_lease<T: DeserializeOwned>(&self) -> Right<T> {
        let owner = super::owner();
        let store = &self.cache.store;
        let (mut pause, longest) = POLL_DELAYS;
        let mut unreadable = false;
        loop {
            match store.lease(self.key, &owner, self.lease, self.ttl, &self.tags).await {
                Ok(Lease::Value(bytes)) => match decode(self.key, &bytes) {
                    Some(value) => return Right::Known(bytes, value),
                    None if unreadable => return Right::Alone,
                    // For example a value of another version of the app.
                    None => {
                        unreadable = true;
                        report(self.key, store.delete(self.key).await);
                    }
                },
                Ok(Lease::Granted) => {
                    let (store, key) = (Arc::clone(store), self.key.to_owned());
                    return Right::Leased(Held { store, key, owner, lease: true, ended: false });
                }
                Ok(Lease::Busy) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                Err(error) => {
                    report::<()>(self.key, Err(error));
                    return Right::Alone;
                }
            }
        }
    }
}

enum Right<T> {
    Known(Bytes, T),
    Leased(Held),
    /// The store is unavailable: compute without a lease.
    Alone,
}

impl<F> std::fmt::Debug for GetOrInsert<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetOrInsert").field("key", &self.wanted.key).finish_non_exhaustive()
    }
}
