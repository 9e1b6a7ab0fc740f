//! The key set of an issuer, fetched and cached.
//!
//! Concurrent requests share one fetch. A key set that is younger than ten minutes is used as it is. An older one is
//! used while it is fetched again in the background, until it is a day old; so an outage of the issuer of up to a day
//! affects no user. A key id that is not in the set may be that of a new key and triggers a fetch, at most every 30
//! seconds, and for the same id at most every two minutes, however many such tokens arrive.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use moka::sync::Cache;
use omnistack_core::{clock::Clock, http::Error};
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    fetch::{self, Fetch},
    key::{Key, parse_key_set},
};

/// The age up to which keys are used without a fetch.
const MAX_FRESH_AGE: Duration = Duration::from_secs(10 * 60);
/// The age up to which keys are used while they can't be fetched.
const MAX_USABLE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The minimum time between two fetches while keys are cached.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum time between two fetches while no keys are cached.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The time for which a key id is known to be absent.
const UNKNOWN_KEY_ID_TTL: Duration = Duration::from_secs(2 * 60);
/// The maximum number of key ids known to be absent.
const MAX_UNKNOWN_KEY_IDS: u64 = 1000;

/// The keys of one issuer.
#[derive(Clone)]
pub(crate) struct KeySet(Arc<KeySetInner>);

struct KeySetInner {
    issuer: String,
    /// The URL of the key set, unless it is discovered.
    url: Option<Url>,
    fetch: Fetch,
    clock: Clock,
    cached: RwLock<Arc<CachedKeys>>,
    /// Held during a fetch, so that only one runs at a time.
    fetch_lock: Mutex<()>,
    unknown_key_ids: Cache<String, Duration>,
}

/// The cached keys. Times are those of the monotonic clock.
#[derive(Clone, Default)]
struct CachedKeys {
    keys: Vec<Arc<Key>>,
    fetched_at: Option<Duration>,
    attempted_at: Option<Duration>,
    /// The number of fetches. A task that has waited for another's fetch sees that it has changed and makes none.
    attempts: u64,
}

/// The result of looking up a token's key.
enum KeyLookup {
    Key(Arc<Key>),
    /// No key has this id.
    UnknownId,
    /// The key has another algorithm; or the token names no key id and several keys match.
    NoMatch,
}

impl CachedKeys {
    fn find(&self, id: Option<&str>, algorithm: &str) -> KeyLookup {
        let mut fit = self.keys.iter().filter(|key| key.supports_algorithm(algorithm));
        let Some(id) = id else {
            return match (fit.next(), fit.next()) {
                (Some(only), None) => KeyLookup::Key(only.clone()),
                _ => KeyLookup::NoMatch,
            };
        };
        let is_it = |key: &&Arc<Key>| key.id.as_deref() == Some(id);
        match fit.find(is_it) {
            Some(key) => KeyLookup::Key(key.clone()),
            None if self.keys.iter().any(|key| is_it(&key)) => KeyLookup::NoMatch,
            None => KeyLookup::UnknownId,
        }
    }

    fn age(&self, now: Duration) -> Option<Duration> {
        self.fetched_at.map(|fetched| now.saturating_sub(fetched)).filter(|age| *age < MAX_USABLE_AGE)
    }

    fn may_fetch(&self, now: Duration, pause: Duration) -> bool {
        self.attempted_at.is_none_or(|tried| now.saturating_sub(tried) >= pause)
    }
}

impl KeySet {
    pub(crate) fn new(issuer: String, at: Option<Url>, fetch: Fetch, clock: Clock) -> Self {
        let nobody = Cache::new(MAX_UNKNOWN_KEY_IDS);
        let (known, flight) = (RwLock::default(), Mutex::default());
        Self(Arc::new(KeySetInner {
            issuer,
            url: at,
            fetch,
            clock,
            cached: known,
            fetch_lock: flight,
            unknown_key_ids: nobody,
        }))
    }

    /// Returns the key that a token's header names, or `None` if there is none.
    ///
    /// # Errors
    /// Returns 503 while no keys are cached and the issuer can't be reached.
    pub(crate) async fn find(&self, id: Option<&str>, algorithm: &str) -> Result<Option<Arc<Key>>, Error> {
        let (known, now) = (self.0.known(), self.0.clock.elapsed());
        let Some(age) = known.age(now) else {
            if known.may_fetch(now, RETRY_INTERVAL) {
                self.fetch(known.attempts).await;
            }
            let known = self.0.known();
            return match known.age(self.0.clock.elapsed()) {
                Some(_) => Ok(key(known.find(id, algorithm))),
                None => Err(keys_unavailable()),
            };
        };
        match (known.find(id, algorithm), id) {
            (KeyLookup::UnknownId, Some(id)) => {
                let asked =
                    self.0.unknown_key_ids.get(id).is_some_and(|asked| now.saturating_sub(asked) < UNKNOWN_KEY_ID_TTL);
                if asked || !known.may_fetch(now, REFRESH_INTERVAL) {
                    return Ok(None);
                }
                self.fetch(known.attempts).await;
                let found = self.0.known().find(Some(id), algorithm);
                if matches!(found, KeyLookup::UnknownId) {
                    self.0.unknown_key_ids.insert(id.to_owned(), now);
                }
                Ok(key(found))
            }
            (found, _) => {
                if age >= MAX_FRESH_AGE && known.may_fetch(now, REFRESH_INTERVAL) {
                    let tries = known.attempts;
                    tokio::spawn(fetch_once(self.0.clone(), tries));
                }
                Ok(key(found))
            }
        }
    }

    /// Fetches the keys, or waits for a fetch that is running. The fetch runs in a task of its own, so it completes
    /// even if the request that started it is cancelled.
    async fn fetch(&self, tries: u64) {
        if let Err(error) = tokio::spawn(fetch_once(self.0.clone(), tries)).await {
            let issuer = &self.0.issuer;
            tracing::error!(target: "omnistack::auth", issuer, %error, "fetching the issuer's keys panicked");
        }
    }
}

async fn fetch_once(inner: Arc<KeySetInner>, tries: u64) {
    let _one = inner.fetch_lock.lock().await;
    let known = inner.known();
    if known.attempts != tries {
        return;
    }
    let fetched = inner.keys().await;
    let now = inner.clock.elapsed();
    let mut next = CachedKeys { attempted_at: Some(now), attempts: tries + 1, ..CachedKeys::clone(&known) };
    match fetched {
        Ok(keys) => {
            next.keys = keys.into_iter().map(Arc::new).collect();
            next.fetched_at = Some(now);
        }
        Err(error) => {
            let usable = known.age(now).is_some();
            tracing::warn!(target: "omnistack::auth", issuer = inner.issuer, error, usable,
                "the issuer's keys could not be fetched; `usable` says whether cached keys are used meanwhile");
        }
    }
    *inner.cached.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
}

impl KeySetInner {
    fn known(&self) -> Arc<CachedKeys> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn keys(&self) -> Result<Vec<Key>, String> {
        let at = match &self.url {
            Some(at) => at.clone(),
            None => self.discover().await?,
        };
        let document = self.fetch.get(&at).await.map_err(|error| format!("{at}: {error}"))?;
        parse_key_set(&document).map_err(|error| format!("{at}: {error}"))
    }

    /// Returns the `jwks_uri` of the issuer's configuration (OpenID Connect Discovery 1.0, section 4). Fails with a
    /// message if the document can't be fetched or used.
    async fn discover(&self) -> Result<Url, String> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = fetch::parse_source_url(&url)?;
        let document = self.fetch.get(&url).await.map_err(|error| format!("{url}: {error}"))?;
        let found: Configuration =
            serde_json::from_slice(&document).map_err(|_| format!("{url}: not an OpenID configuration"))?;
        // Section 4.3: the issuer must match exactly.
        if found.issuer != self.issuer {
            return Err(format!("{url}: names another issuer"));
        }
        let keys = fetch::parse_source_url(&found.jwks_uri)?;
        // A remote issuer must not make the app send requests to its own host.
        if fetch::is_local(&keys) && !fetch::is_local(&url) {
            return Err(format!("{url}: names keys on this host"));
        }
        Ok(keys)
    }
}

fn key(found: KeyLookup) -> Option<Arc<Key>> {
    match found {
        KeyLookup::Key(key) => Some(key),
        KeyLookup::UnknownId | KeyLookup::NoMatch => None,
    }
}

fn keys_unavailable() -> Error {
    let message = "the identity provider can't be reached to verify the access token; try again";
    Error::unavailable("IDENTITY_PROVIDER_UNAVAILABLE", message)
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
