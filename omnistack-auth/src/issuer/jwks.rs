//! The keys of an issuer, kept.
//!
//! A key set is fetched once for all who need it, used at once while it is younger than ten minutes, and used while it is
//! fetched again until it is a day old. So an issuer that is away signs nobody out for a day. A key id that is not in the
//! set may be that of a new key and has it fetched again, at most every 30 seconds and for the same id at most every two
//! minutes, however many such tokens come.

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
    key::{Key, read_set},
};

/// For how long keys are used without a thought.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// For how long they are used while they can't be fetched.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two fetches, while there are keys.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches, while there are none.
const RETRY: Duration = Duration::from_secs(5);
/// For how long an id is known to be nobody's.
const NOBODY: Duration = Duration::from_secs(2 * 60);
/// Ids known to be nobody's.
const MOST_NOBODY: u64 = 1000;

/// The keys of one issuer.
#[derive(Clone)]
pub(super) struct KeySet(Arc<Inner>);

struct Inner {
    issuer: String,
    /// Where the keys are, when it was said.
    at: Option<Url>,
    fetch: Fetch,
    clock: Clock,
    known: RwLock<Arc<Known>>,
    /// One fetch at a time.
    flight: Mutex<()>,
    nobody: Cache<String, Duration>,
}

/// What is known. Times are of the steady clock.
#[derive(Clone, Default)]
struct Known {
    keys: Vec<Arc<Key>>,
    fetched: Option<Duration>,
    tried: Option<Duration>,
    /// Counts the tries, so that who waited for one doesn't make the next.
    tries: u64,
}

/// What a token's header finds in a set.
enum Found {
    Key(Arc<Key>),
    /// There is no key of this id.
    Nobody,
    /// There is, for something else; or no id, and several that might be meant.
    Unfit,
}

impl Known {
    fn find(&self, id: Option<&str>, algorithm: &str) -> Found {
        let mut fit = self.keys.iter().filter(|key| key.is_for(algorithm));
        let Some(id) = id else {
            return match (fit.next(), fit.next()) {
                (Some(only), None) => Found::Key(only.clone()),
                _ => Found::Unfit,
            };
        };
        let is_it = |key: &&Arc<Key>| key.id.as_deref() == Some(id);
        match fit.find(is_it) {
            Some(key) => Found::Key(key.clone()),
            None if self.keys.iter().any(|key| is_it(&key)) => Found::Unfit,
            None => Found::Nobody,
        }
    }

    fn age(&self, now: Duration) -> Option<Duration> {
        self.fetched.map(|fetched| now.saturating_sub(fetched)).filter(|age| *age < KEPT)
    }

    fn rested(&self, now: Duration, pause: Duration) -> bool {
        self.tried.is_none_or(|tried| now.saturating_sub(tried) >= pause)
    }
}

impl KeySet {
    pub(super) fn new(issuer: String, at: Option<Url>, fetch: Fetch, clock: Clock) -> Self {
        let nobody = Cache::new(MOST_NOBODY);
        let (known, flight) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { issuer, at, fetch, clock, known, flight, nobody }))
    }

    /// The key a header means.
    ///
    /// # Errors
    /// 503 while there are no keys and the issuer can't be reached.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: &str) -> Result<Option<Arc<Key>>, Error> {
        let (known, now) = (self.0.known(), self.0.clock.elapsed());
        let Some(age) = known.age(now) else {
            if known.rested(now, RETRY) {
                self.fetch(known.tries).await;
            }
            let known = self.0.known();
            return match known.age(self.0.clock.elapsed()) {
                Some(_) => Ok(key(known.find(id, algorithm))),
                None => Err(away()),
            };
        };
        match (known.find(id, algorithm), id) {
            (Found::Nobody, Some(id)) => {
                let asked = self.0.nobody.get(id).is_some_and(|asked| now.saturating_sub(asked) < NOBODY);
                if asked || !known.rested(now, PAUSE) {
                    return Ok(None);
                }
                self.fetch(known.tries).await;
                let found = self.0.known().find(Some(id), algorithm);
                if matches!(found, Found::Nobody) {
                    self.0.nobody.insert(id.to_owned(), now);
                }
                Ok(key(found))
            }
            (found, _) => {
                if age >= FRESH && known.rested(now, PAUSE) {
                    let tries = known.tries;
                    tokio::spawn(fetch_once(self.0.clone(), tries));
                }
                Ok(key(found))
            }
        }
    }

    /// Fetches, or waits for who does. Whoever asked may leave; the others still get theirs.
    async fn fetch(&self, tries: u64) {
        if let Err(error) = tokio::spawn(fetch_once(self.0.clone(), tries)).await {
            tracing::error!(target: "omnistack::auth", issuer = self.0.issuer, %error, "fetching keys broke off");
        }
    }
}

async fn fetch_once(inner: Arc<Inner>, tries: u64) {
    let _one = inner.flight.lock().await;
    let known = inner.known();
    if known.tries != tries {
        return;
    }
    let fetched = inner.keys().await;
    let now = inner.clock.elapsed();
    let mut next = Known { tried: Some(now), tries: tries + 1, ..Known::clone(&known) };
    match fetched {
        Ok(keys) => {
            next.keys = keys.into_iter().map(Arc::new).collect();
            next.fetched = Some(now);
        }
        Err(error) => {
            let usable = known.age(now).is_some();
            tracing::warn!(target: "omnistack::auth", issuer = inner.issuer, error, usable,
                "the issuer's keys could not be fetched; `usable` says whether older ones are used meanwhile");
        }
    }
    *inner.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
}

impl Inner {
    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn keys(&self) -> Result<Vec<Key>, String> {
        let at = match &self.at {
            Some(at) => at.clone(),
            None => self.discover().await?,
        };
        let document = self.fetch.get(&at).await.map_err(|error| format!("{at}: {error}"))?;
        read_set(&document).map_err(|error| format!("{at}: {error}"))
    }

    /// Where the issuer says its keys are (OpenID Connect Discovery 1.0, section 4).
    async fn discover(&self) -> Result<Url, String> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = fetch::source(&url)?;
        let document = self.fetch.get(&url).await.map_err(|error| format!("{url}: {error}"))?;
        let found: Configuration =
            serde_json::from_slice(&document).map_err(|_| format!("{url}: no OpenID configuration"))?;
        // Section 4.3: exactly.
        if found.issuer != self.issuer {
            return Err(format!("{url}: speaks for another issuer"));
        }
        let keys = fetch::source(&found.jwks_uri)?;
        // Nobody out there points into this machine.
        if fetch::is_local(&keys) && !fetch::is_local(&url) {
            return Err(format!("{url}: names keys on this machine"));
        }
        Ok(keys)
    }
}

fn key(found: Found) -> Option<Arc<Key>> {
    match found {
        Found::Key(key) => Some(key),
        Found::Nobody | Found::Unfit => None,
    }
}

fn away() -> Error {
    let message = "the identity provider can't be reached to verify the access token; try again";
    Error::unavailable("IDENTITY_PROVIDER_UNAVAILABLE", message)
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
