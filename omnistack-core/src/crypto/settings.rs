//! The keys as a setting.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Error, KeyRing};
use crate::app::Registry;

/// What everybody can read here. Production refuses it under whatever name.
pub(super) const DEVELOPMENT_KEY: &[u8; 32] = b"omnistack development key: weak!";

crate::section! {
    /// Secrets at rest.
    pub struct SecretSettings {
        /// The keys that seal secrets at rest, `id:base64,id2:base64`, each of 32 random bytes (`openssl rand -base64 32`).
        /// The first seals, the others still open what they sealed.
        pub keys: SecretString = "SECRET_KEYS", development "development:b21uaXN0YWNrIGRldmVsb3BtZW50IGtleTogd2VhayE=";
    }
}

impl SecretSettings {
    /// The keys, read.
    ///
    /// # Errors
    /// [`Error::Keys`], which says which of them can't be used.
    pub fn key_ring(&self) -> Result<KeyRing, Error> {
        self.keys.expose_secret().parse()
    }
}

/// With a module that requires a [`KeyRing`]: the one of `SECRET_KEYS`. An app that seals nothing needs no keys.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<SecretSettings>() else { return };
    match settings.key_ring() {
        Err(error) => {
            let fix = "set it to `id:base64` with the output of `openssl rand -base64 32`, several separated by commas";
            registry.problem(format!("`SECRET_KEYS`: {error}"), fix);
        }
        Ok(keys) => match keys.weak_key().filter(|_| registry.environment().is_production()) {
            Some((id, weakness)) => {
                let fix = "replace it by the output of `openssl rand -base64 32`; what it sealed is no secret, and is to be \
                           entered anew";
                registry.problem(format!("`SECRET_KEYS`: the key `{id}` {weakness}"), fix);
            }
            None => _ = registry.provide(keys),
        },
    }
}
