//! Tokens nobody guesses.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Sha256, random};

/// A random token: 256 bits of the operating system as 43 characters of `A-Z a-z 0-9 - _`, with a prefix if it should
/// say what it is. For API keys, sessions, invitations and password resets.
///
/// Whoever holds it is let in, so it is shown once and only its [`hash`](Self::hash) is stored: a plain SHA-256 is
/// enough, for 256 random bits can't be guessed. Look it up by the hash of what was presented; comparing hashes tells
/// nothing about the token. Its `Debug` shows the prefix only.
///
/// ```
/// use omnistack_core::crypto::{Sha256, Token};
///
/// let token = Token::with_prefix("sk_live_");
/// assert!(token.expose().starts_with("sk_live_"));
/// assert_eq!(format!("{token:?}"), "Token(sk_live_…)");
/// assert_eq!(Sha256::of(token.expose()), token.hash());
/// ```
#[derive(Clone)]
pub struct Token {
    prefix: &'static str,
    text: SecretString,
}

impl Token {
    /// Random, without a prefix.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn random() -> Self {
        Self::with_prefix("")
    }

    /// Random, after a prefix of url-safe characters, by which people and scanners for leaked secrets know it:
    /// `sk_live_`.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn with_prefix(prefix: &'static str) -> Self {
        let mut text = String::with_capacity(prefix.len() + 43);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(random::<32>(), &mut text);
        Self { prefix, text: text.into() }
    }

    /// Its text, to be shown to its holder and to nobody else.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Its text as a secret.
    pub fn into_secret(self) -> SecretString {
        self.text
    }

    /// What to store in its place.
    pub fn hash(&self) -> Sha256 {
        Sha256::of(self.expose())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.prefix)
    }
}
