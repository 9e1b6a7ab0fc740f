//! The secrets and the custom headers of an endpoint, as they are sealed in the database.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    clock::Timestamp,
    crypto::{Error, KeyRing, SealContext},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::endpoint::WebhookEndpointId;
use crate::signing::{InvalidWebhookKey, SigningKey};

/// Largest number of previous secrets that still sign. If an endpoint is rotated more often within the overlap, the
/// oldest are dropped.
const MAX_PREVIOUS_SECRETS: usize = 3;

#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    secret: String,
    /// `None` for the current secret.
    expires_at: Option<Timestamp>,
}

/// The secrets of an endpoint, the newest first.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretList(Vec<StoredSecret>);

impl SecretList {
    /// Creates a list with a single secret.
    pub(crate) fn new(secret: &SecretString) -> Self {
        Self(vec![StoredSecret { secret: secret.expose_secret().to_owned(), expires_at: None }])
    }

    /// Opens the sealed list of an endpoint.
    pub(crate) fn open(sealed: &str, keys: &KeyRing, id: WebhookEndpointId) -> Result<Self, Error> {
        open_json(sealed, keys, &secrets_place(id))
    }

    /// Seals the list for an endpoint.
    pub(crate) fn seal(&self, keys: &KeyRing, id: WebhookEndpointId) -> Result<String, Error> {
        seal_json(self, keys, &secrets_place(id))
    }

    /// Makes `secret` the current one. Those before it expire after `overlap`, unless they expire earlier.
    pub(crate) fn rotate(&mut self, secret: &SecretString, now: Timestamp, overlap: Duration) {
        let end = now + overlap;
        for previous in &mut self.0 {
            previous.expires_at = Some(previous.expires_at.map_or(end, |at| at.min(end)));
        }
        self.0.retain(|previous| previous.is_valid(now));
        self.0.truncate(MAX_PREVIOUS_SECRETS);
        self.0.insert(0, StoredSecret { secret: secret.expose_secret().to_owned(), expires_at: None });
    }

    /// Returns the secrets that have not expired, the newest first.
    pub(crate) fn valid(&self, now: Timestamp) -> Vec<SecretString> {
        self.0.iter().filter(|secret| secret.is_valid(now)).map(|secret| secret.secret.clone().into()).collect()
    }

    /// Returns the public key of the current secret, or `None` if the scheme has none.
    pub(crate) fn public_key(&self) -> Result<Option<String>, InvalidWebhookKey> {
        let current = self.0.first().ok_or(InvalidWebhookKey)?;
        Ok(SigningKey::parse(&current.secret)?.public_key())
    }

    /// Returns until when a previous secret signs, or `None` if none does.
    pub(crate) fn previous_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter(|secret| secret.is_valid(now)).filter_map(|secret| secret.expires_at).max()
    }
}

impl StoredSecret {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// Opens the custom headers of an endpoint.
pub(crate) fn open_headers(
    sealed: Option<&str>,
    keys: &KeyRing,
    id: WebhookEndpointId,
) -> Result<BTreeMap<String, String>, Error> {
    sealed.map_or_else(|| Ok(BTreeMap::new()), |sealed| open_json(sealed, keys, &headers_place(id)))
}

/// Seals the custom headers of an endpoint. Returns `None` if there are none.
pub(crate) fn seal_headers(
    headers: &BTreeMap<String, String>,
    keys: &KeyRing,
    id: WebhookEndpointId,
) -> Result<Option<String>, Error> {
    if headers.is_empty() { Ok(None) } else { seal_json(headers, keys, &headers_place(id)).map(Some) }
}

fn secrets_place(id: WebhookEndpointId) -> SealContext {
    SealContext::row("omni_webhook_endpoints", "secrets", id)
}

fn headers_place(id: WebhookEndpointId) -> SealContext {
    SealContext::row("omni_webhook_endpoints", "headers", id)
}

fn seal_json<T: Serialize>(value: &T, keys: &KeyRing, place: &SealContext) -> Result<String, Error> {
    keys.seal(serde_json::to_vec(value).map_err(|_| Error::Malformed)?, place)
}

fn open_json<T: DeserializeOwned>(sealed: &str, keys: &KeyRing, place: &SealContext) -> Result<T, Error> {
    serde_json::from_slice(keys.open(sealed, place)?.expose_secret()).map_err(|_| Error::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &SecretList, now: Timestamp) -> Vec<String> {
        list.valid(now).iter().map(|secret| secret.expose_secret().to_owned()).collect()
    }

    #[test]
    fn a_rotated_secret_is_valid_for_the_overlap() {
        let overlap = Duration::from_secs(60);
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut list = SecretList::new(&"first".into());
        list.rotate(&"second".into(), start, overlap);
        assert_eq!(texts(&list, start), ["second", "first"]);
        assert_eq!(list.previous_until(start), Some(start + overlap));

        // A longer overlap does not prolong the life of the first secret.
        list.rotate(&"third".into(), start + Duration::from_secs(59), overlap);
        assert_eq!(texts(&list, start + Duration::from_secs(59)), ["third", "second", "first"]);
        assert_eq!(texts(&list, start + overlap), ["third", "second"]);
        assert_eq!(texts(&list, start + Duration::from_secs(119)), ["third"]);
        assert_eq!(list.previous_until(start + Duration::from_secs(119)), None);
    }

    #[test]
    fn few_secrets_are_kept_and_an_overlap_of_zero_keeps_none() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut list = SecretList::new(&"0".into());
        for number in 1..=9 {
            list.rotate(&number.to_string().into(), now, Duration::from_secs(60));
        }
        assert_eq!(texts(&list, now), ["9", "8", "7", "6"]);
        list.rotate(&"10".into(), now, Duration::ZERO);
        assert_eq!(texts(&list, now), ["10"]);
    }
}
