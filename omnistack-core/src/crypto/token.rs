//! Random tokens.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Sha256, random};

/// Random token: 256 bits from the operating system as 43 characters of `A-Z a-z 0-9 - _`, with an optional
/// prefix that names its purpose. For API keys, sessions, invitations and password resets.
///
/// A token grants access to its holder, so it is shown once, and only its [`hash`](Self::hash) is stored. A
/// plain SHA-256 is sufficient, because 256 random bits can't be guessed. Look a presented token up by its
/// hash: comparing hashes reveals nothing about the token. `Debug` shows the prefix only.
///
/// ```
/// use omnistack_core::crypto::{Sha256, Token};
///
/// let token = Token::with_prefix("sk_live_");
/// assert!(token.expose().starts_with("sk_live_"));
/// assert_eq!(format!("{token:?}"), "Token(sk_live_…)");
/// assert_eq!(Sha256::digest(token.expose()), token.hash());
/// ```
#[derive(Clone)]
pub struct Token {
    prefix: &'static str,
    text: SecretString,
}

impl Token {
    /// Creates a random token without a prefix.
    ///
    /// # Panics
    ///
    /// Panics if the operating system provides no random bytes.
    pub fn random() -> Self {
        Self::with_prefix("")
    }

    /// Creates a random token with a prefix of URL-safe characters, such as `sk_live_`, by which people and
    /// scanners for leaked secrets recognise it.
    ///
    /// # Panics
    ///
    /// Panics if the operating system provides no random bytes.
    pub fn with_prefix(prefix: &'static str) -> Self {
        let mut text = String::with_capacity(prefix.len() + 43);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(random::<32>(), &mut text);
        Self { prefix, text: text.into() }
    }

    /// Returns the token's text. Show it only to the holder of the token.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Returns the token's text as a secret.
    pub fn into_secret(self) -> SecretString {
        self.text
    }

    /// Returns the hash to store in place of the token.
    pub fn hash(&self) -> Sha256 {
        Sha256::digest(self.expose())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.prefix)
    }
}
