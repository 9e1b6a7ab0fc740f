//! Settings of the keys.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Error, KeyRing};

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
