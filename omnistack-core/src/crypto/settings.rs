//! Settings of the keys.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Error, KeyRing};
use crate::app::Registry;

/// Key for development. It is public, so it is rejected in production under any id.
pub(super) const DEVELOPMENT_KEY: &[u8; 32] = b"omnistack development key: weak!";

crate::settings! {
    /// Secrets at rest.
    pub struct SecretSettings {
        /// Keys that seal secrets at rest, as `id:base64,id2:base64`, each with 32 random bytes (`openssl rand
        /// -base64 32`). The first key seals; the others still open the values that they sealed.
        pub keys: SecretString = "SECRET_KEYS", development "development:b21uaXN0YWNrIGRldmVsb3BtZW50IGtleTogd2VhayE=";
    }
}

impl SecretSettings {
    /// Parses the keys.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::InvalidKeys`], which names the first unusable key.
    pub fn key_ring(&self) -> Result<KeyRing, Error> {
        self.keys.expose_secret().parse()
    }
}

/// Provides the [`KeyRing`] of `SECRET_KEYS` if a module requires one. An app that seals nothing needs no keys.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<SecretSettings>() else { return };
    match settings.key_ring() {
        Err(error) => {
            let fix = "set it to `id:base64` with the output of `openssl rand -base64 32`, several separated by commas";
            registry.report_problem(format!("`SECRET_KEYS`: {error}"), fix);
        }
        Ok(keys) => match keys.weak_key().filter(|_| registry.environment().is_production()) {
            Some((id, weakness)) => {
                let fix = "replace it by the output of `openssl rand -base64 32`; the values that it sealed are no \
                           longer secret: enter them again";
                registry.report_problem(format!("`SECRET_KEYS`: the key `{id}` {weakness}"), fix);
            }
            None => _ = registry.provide(keys),
        },
    }
}
