//! Google's public keys, fetched and cached.
//!
//! Keys are used as long as Google's header `Cache-Control` says. After that they are used while they are fetched again
//! in the background, until they are a day old; so a notification waits for Google only at first. A key id that is not
//! cached may be that of a new key and causes a fetch, at most every five minutes, however many such tokens arrive.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use omnistack_core::{clock::Clock, http::client::Client};
use reqwest::Url;
use serde::{Deserialize, de::IgnoredAny};
use tokio::sync::Mutex;

use crate::sources::provider_api::read_body;

/// Timeout of a fetch, from the connection to the last byte of the response.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a key set, in bytes.
const MAX_KEY_SET_BYTES: usize = 256 * 1024;
/// Maximum number of keys in a set. Google publishes two or three.
const MAX_KEYS: usize = 100;
/// Minimum time between two fetches while keys are cached, and the minimum age up to which keys are used without one.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Minimum time between two fetches while no keys are cached.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Age up to which keys are used without a fetch if the response does not state one.
const DEFAULT_FRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// Maximum age up to which keys are used without a fetch.
const MAX_FRESH_AGE: Duration = Duration::from_secs(12 * 60 * 60);
/// Age up to which keys are used while they can't be fetched.
const MAX_USABLE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A key and its id.
type IdentifiedKey = (String, Arc<DecodingKey>);

/// The keys with which Google signs tokens. Cheap to clone.
#[derive(Clone)]
pub(super) struct GoogleKeys(Arc<KeyCache>);

struct KeyCache {
    url: Url,
    client: Client,
    clock: Clock,
    cached: RwLock<Arc<CachedKeys>>,
    /// Held during a fetch, so that only one runs at a time.
    fetching: Mutex<()>,
}

/// The cached keys. Times are those of the monotonic clock.
#[derive(Clone, Default)]
struct CachedKeys {
    keys: Vec<IdentifiedKey>,
    fetched_at: Option<Duration>,
    /// The age up to which they are used without a fetch.
    fresh_age: Duration,
    attempted_at: Option<Duration>,
    /// The number of fetches. A task that has waited for another's fetch sees that it has changed and makes none.
    attempts: u64,
}

impl CachedKeys {
    /// Returns the age of the keys, or `None` if there are none that may be used.
    fn age(&self, now: Duration) -> Option<Duration> {
        self.fetched_at.map(|fetched| now.saturating_sub(fetched)).filter(|age| *age < MAX_USABLE_AGE)
    }

    fn find(&self, id: &str) -> Option<Arc<DecodingKey>> {
        self.keys.iter().find(|(known, _)| known == id).map(|(_, key)| Arc::clone(key))
    }

    fn may_fetch(&self, now: Duration) -> bool {
        let interval = if self.age(now).is_some() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        self.attempted_at.is_none_or(|attempted| now.saturating_sub(attempted) >= interval)
    }
}

impl GoogleKeys {
    pub(super) fn new(url: Url, client: Client, clock: Clock) -> Self {
        Self(Arc::new(KeyCache { url, client, clock, cached: RwLock::default(), fetching: Mutex::default() }))
    }

    /// Returns the key with an id, or `None` if Google has published none.
    ///
    /// # Errors
    /// Returns a message while no keys are cached and they can't be fetched.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Arc<DecodingKey>>, &'static str> {
        let (cached, now) = (self.0.cached(), self.0.clock.elapsed());
        let age = cached.age(now);
        if let Some(age) = age
            && let Some(key) = cached.find(id)
        {
            if age >= cached.fresh_age && cached.may_fetch(now) {
                let (cache, attempts) = (Arc::clone(&self.0), cached.attempts);
                tokio::spawn(async move { cache.refresh(attempts).await });
            }
            return Ok(Some(key));
        }
        if cached.may_fetch(now) {
            self.0.refresh(cached.attempts).await;
        }
        let cached = self.0.cached();
        match cached.age(self.0.clock.elapsed()) {
            Some(_) => Ok(cached.find(id)),
            None => Err("Google's keys can't be fetched"),
        }
    }
}

impl KeyCache {
    fn cached(&self) -> Arc<CachedKeys> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the keys, unless there was a fetch since the caller has read `attempts`.
    async fn refresh(&self, attempts: u64) {
        let _only = self.fetching.lock().await;
        let cached = self.cached();
        if cached.attempts != attempts {
            return;
        }
        let fetched = self.fetch().await;
        let now = self.clock.elapsed();
        let mut next = CachedKeys { attempted_at: Some(now), attempts: attempts + 1, ..CachedKeys::clone(&cached) };
        match fetched {
            Ok((keys, fresh_age)) => {
                next.keys = keys;
                next.fetched_at = Some(now);
                next.fresh_age = fresh_age;
            }
            Err(error) => {
                let usable = cached.age(now).is_some();
                tracing::warn!(target: "omnistack::webhooks", url = %self.url, error, usable,
                    "Google's keys could not be fetched; `usable` says whether cached keys are used meanwhile");
            }
        }
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// Returns the keys and the age up to which they are fresh. Fails with a message.
    async fn fetch(&self) -> Result<(Vec<IdentifiedKey>, Duration), String> {
        let request = self.client.get(self.url.clone()).header("accept", "application/json").timeout(FETCH_TIMEOUT);
        let response = request.send().await.map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(format!("responded with status {}", response.status().as_u16()));
        }
        let cache_control = response.headers().get("cache-control").and_then(|value| value.to_str().ok());
        let fresh_age = cache_control.and_then(max_age).unwrap_or(DEFAULT_FRESH_AGE);
        let body = read_body(response, MAX_KEY_SET_BYTES).await.map_err(|error| error.to_string())?;
        let keys = parse_key_set(&body)?;
        Ok((keys, fresh_age.clamp(REFRESH_INTERVAL, MAX_FRESH_AGE)))
    }
}

/// Returns the `max-age` of a header `Cache-Control`.
fn max_age(header: &str) -> Option<Duration> {
    let mut directives = header.split(',').filter_map(|directive| directive.trim().split_once('='));
    let (_, seconds) = directives.find(|(name, _)| name.eq_ignore_ascii_case("max-age"))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// Parses a key set (RFC 7517). Keys for other algorithms and other uses are skipped.
///
/// # Errors
/// Returns a message if the document is not a key set with a key for RS256, or has more than 100 keys.
pub(super) fn parse_key_set(json: &[u8]) -> Result<Vec<IdentifiedKey>, &'static str> {
    #[derive(Deserialize)]
    struct KeySetDocument {
        keys: Vec<serde_json::Value>,
    }
    let set: KeySetDocument =
        serde_json::from_slice(json).map_err(|_| "responded with something else than a key set")?;
    if set.keys.len() > MAX_KEYS {
        return Err("responded with more than 100 keys");
    }
    let published = set.keys.into_iter().filter_map(|key| serde_json::from_value::<PublishedKey>(key).ok());
    let keys: Vec<IdentifiedKey> = published.filter_map(PublishedKey::read).collect();
    if keys.is_empty() { Err("responded with a key set without a key for RS256") } else { Ok(keys) }
}

/// An RSA key as it is published.
#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: String,
    e: String,
    /// Present in private keys only, whose signatures prove nothing when they are published.
    d: Option<IgnoredAny>,
}

impl PublishedKey {
    /// Returns the key, or `None` if it is not a public key of 2048 to 8192 bits for RS256.
    fn read(self) -> Option<IdentifiedKey> {
        let is_for = |stated: &Option<String>, expected: &str| stated.as_deref().is_none_or(|it| it == expected);
        if self.kty != "RSA" || self.d.is_some() || !is_for(&self.alg, "RS256") || !is_for(&self.purpose, "sig") {
            return None;
        }
        let (n, e) = (URL_SAFE_NO_PAD.decode(&self.n).ok()?, URL_SAFE_NO_PAD.decode(&self.e).ok()?);
        let bits = n.iter().skip_while(|byte| **byte == 0).count() * 8;
        let fits = (2048..=8192).contains(&bits) && matches!(e.len(), 1..=4);
        fits.then(|| (self.kid, Arc::new(DecodingKey::from_rsa_raw_components(&n, &e))))
    }
}

impl fmt::Debug for GoogleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleKeys").field("url", &self.0.url.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_keys_is_read_from_the_header() {
        for (header, expected) in [
            ("public, max-age=19845, must-revalidate, no-transform", Some(19_845)),
            ("Max-Age=\"60\"", Some(60)),
            ("no-cache", None),
            ("max-age=", None),
            ("max-age=-1", None),
            ("s-maxage=5", None),
            ("", None),
        ] {
            assert_eq!(max_age(header), expected.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn only_public_rsa_keys_are_read() {
        let n = URL_SAFE_NO_PAD.encode([0xC5; 256]);
        let key = |fields: &str| format!(r#"{{"kty":"RSA","kid":"k","n":"{n}","e":"AQAB"{fields}}}"#);
        for (key, is_read) in [
            (key(""), true),
            (key(r#","alg":"RS256","use":"sig""#), true),
            (key(r#","alg":"RS512""#), false),
            (key(r#","use":"enc""#), false),
            (key(r#","d":"AQAB""#), false),
            (r#"{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB"}"#.to_owned(), false),
            (r#"{"kty":"oct","kid":"k","k":"AQAB","n":"","e":""}"#.to_owned(), false),
            (r#"{"kty":"EC","kid":"k","crv":"P-256","x":"","y":""}"#.to_owned(), false),
            ("7".to_owned(), false),
        ] {
            assert_eq!(parse_key_set(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).is_ok(), is_read, "{key}");
        }
        let many = vec![key(""); 101].join(",");
        assert!(parse_key_set(format!(r#"{{"keys":[{many}]}}"#).as_bytes()).is_err());
        assert!(parse_key_set(b"<html>").is_err());
    }
}
