//! Credentials as they are sealed in the database.

use std::collections::BTreeMap;

use omnistack_core::crypto::{Error, KeyRing, SealContext};
use secrecy::{ExposeSecret as _, SecretString};

use super::model::AccountKey;
use crate::service::Credentials;

/// Seals the credentials of an account.
pub(super) fn seal(credentials: &Credentials, keys: &KeyRing, key: &AccountKey) -> Result<String, Error> {
    let fields: BTreeMap<&str, &str> =
        credentials.0.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    keys.seal(serde_json::to_vec(&fields).map_err(|_| Error::Malformed)?, &place(key))
}

/// Opens the credentials of an account.
pub(super) fn open(sealed: &str, keys: &KeyRing, key: &AccountKey) -> Result<Credentials, Error> {
    let opened = keys.open(sealed, &place(key))?;
    let fields: BTreeMap<String, String> =
        serde_json::from_slice(opened.expose_secret()).map_err(|_| Error::Malformed)?;
    Ok(Credentials(fields.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect()))
}

/// Seals the credentials of an account with the primary key. Returns `None` if they are.
pub(super) fn reseal(sealed: &str, keys: &KeyRing, key: &AccountKey) -> Result<Option<String>, Error> {
    keys.reseal(sealed, &place(key))
}

fn place(key: &AccountKey) -> SealContext {
    SealContext::row("omni_payment_credentials", "credentials", key.tenant)
        .with("service", &key.service)
        .with("environment", key.environment)
}
