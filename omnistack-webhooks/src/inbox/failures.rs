//! The limits of requests that are not verified.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use omnistack_core::{
    http::{Error, RateLimits, RateSetting, SharedRateLimiter},
    identity::TenantId,
    metrics::RATE_LIMIT_HITS,
};

/// Name of the rate limit of failed verifications.
const LIMIT_NAME: &str = "webhooks";
/// The subject of the message of a 429.
const SUBJECT: &str = "requests that are not verified";
/// Largest number of places of a key that wait for its next requests. More would let a client whose requests were once
/// verified send many forged ones at once.
const MAX_FREE_PLACES: u32 = 20;
/// Largest number of keys whose places are remembered. Without one, verified requests of a key count for a while.
const MAX_KEYS_WITH_PLACES: usize = 10_000;

/// The limits of requests that are not verified: by the network of the client, and by the tenant whose account is asked
/// to verify them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct FailureLimits {
    by_network: Option<FailureBudget>,
    by_account: Option<FailureBudget>,
}

impl FailureLimits {
    pub(super) fn new(limits: &RateLimits, by_network: RateSetting, by_account: RateSetting) -> Self {
        let budget = |name: &str, RateSetting(rate)| rate.map(|rate| FailureBudget::new(limits.limiter(name, rate)));
        Self {
            by_network: budget("webhooks:failures", by_network),
            by_account: budget("webhooks:account-failures", by_account),
        }
    }

    /// Counts a request whose verification has failed.
    ///
    /// # Errors
    /// 429 if the client has sent too many of them.
    pub(super) async fn count(&self, source: &str, client: Option<IpAddr>) -> Result<(), Error> {
        match &self.by_network {
            Some(budget) => budget.count(&network_key(source, client)).await,
            None => Ok(()),
        }
    }

    /// Counts a request before a call to the provider verifies it, as one that fails. What is returned gives its places
    /// back if it is verified.
    ///
    /// # Errors
    /// 429 if too many requests of the client or for the account were not verified.
    pub(super) async fn reserve(
        &self,
        source: &str,
        client: Option<IpAddr>,
        tenant: Option<TenantId>,
    ) -> Result<ReservedPlaces, Error> {
        let mut reserved = ReservedPlaces(Vec::new());
        // By the network first, so that one client can't use up the limit of an account.
        let by_network = self.by_network.as_ref().map(|budget| (budget, network_key(source, client)));
        let account = tenant.map_or_else(|| "-".to_owned(), |tenant| tenant.to_string());
        let by_account = self.by_account.as_ref().map(|budget| (budget, format!("{source}:{account}")));
        for (budget, key) in [by_network, by_account].into_iter().flatten() {
            budget.reserve(&key).await?;
            reserved.0.push((budget.clone(), key));
        }
        Ok(reserved)
    }
}

/// The places of a request that is being verified.
#[derive(Debug)]
pub(super) struct ReservedPlaces(Vec<(FailureBudget, String)>);

impl ReservedPlaces {
    /// Gives the places to the next requests of the same keys, because this one is verified.
    pub(super) fn give_back(self) {
        for (budget, key) in self.0 {
            budget.give_back(key);
        }
    }
}

/// A rate limit whose counts can be given back. A place that was given back is used by the next request of its key in
/// this process, so that verified requests, however many they are, count no more often than they overlap.
#[derive(Clone, Debug)]
struct FailureBudget {
    limiter: SharedRateLimiter<String>,
    places: Arc<Mutex<HashMap<String, u32>>>,
}

impl FailureBudget {
    fn new(limiter: SharedRateLimiter<String>) -> Self {
        Self { limiter, places: Arc::default() }
    }

    async fn count(&self, key: &str) -> Result<(), Error> {
        let verdict = self.limiter.check(&key.to_owned(), 1).await;
        if verdict.allowed {
            return Ok(());
        }
        RATE_LIMIT_HITS.counter([LIMIT_NAME]).increment(1);
        Err(self.limiter.too_many_requests(LIMIT_NAME, SUBJECT, verdict))
    }

    async fn reserve(&self, key: &str) -> Result<(), Error> {
        if self.take_place(key) {
            return Ok(());
        }
        self.count(key).await
    }

    fn take_place(&self, key: &str) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(free) = places.get_mut(key) else { return false };
        *free -= 1;
        if *free == 0 {
            places.remove(key);
        }
        true
    }

    fn give_back(&self, key: String) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MAX_KEYS_WITH_PLACES && !places.contains_key(&key) {
            return;
        }
        let free = places.entry(key).or_default();
        *free = free.saturating_add(1).min(MAX_FREE_PLACES);
    }
}

fn network_key(source: &str, client: Option<IpAddr>) -> String {
    format!("{source}:{}", network(client))
}

/// Returns the network whose failed verifications share one limit: the IPv4 address, or the /64 network of an IPv6
/// address, which belongs to one customer.
fn network(client: Option<IpAddr>) -> IpAddr {
    match client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}
