//! Cryptography: tokens, constant-time comparison, signatures and sealed secrets.
//!
//! Small tools, each a thin layer over other crates:
//!
//! | purpose | type or function |
//! |---|---|
//! | API keys, session tokens and reset tokens | [`Token`]: 256 random bits; only its [`Sha256`] is stored |
//! | comparing a value sent by a caller with an expected one | [`constant_time_eq`], whose time does not depend on the contents |
//! | signatures of webhooks and links | [`HmacKey`]: HMAC-SHA-256 (RFC 2104), in hexadecimal and base64 |
//! | secrets in the database | with the feature `key-ring`: [`KeyRing`], AES-256-GCM, bound to the row they belong to, with key rotation |
//! | signatures of providers | with the feature `signed-data`: `UnverifiedJws` and `TrustedRoots`, chains of certificates |
//!
//! ```
//! use omnistack_core::crypto::{SealContext, KeyRing, Token};
//! use secrecy::ExposeSecret as _;
//!
//! let token = Token::with_prefix("sk_live_");
//! let stored = token.hash();                       // what the database keeps
//! assert!(stored.matches(token.expose()));           // what the caller presents later
//! assert!(!stored.matches("sk_live_guessed"));
//!
//! let keys: KeyRing = KeyRing::new_key("2030-01").parse()?;
//! let place = SealContext::row("webhooks", "secret", 17);
//! let sealed = keys.seal("whsec_…", &place)?;      // v1.2030-01.…
//! assert_eq!(keys.open_text(&sealed, &place)?.expose_secret(), "whsec_…");
//! assert!(keys.open(&sealed, &SealContext::row("webhooks", "secret", 18)).is_err());
//! # Ok::<_, omnistack_core::crypto::Error>(())
//! ```
//!
//! Passwords need something else: they can be guessed, so they need a slow hash (argon2), which the accounts
//! module provides.

#[cfg(feature = "signed-data")]
mod certificates;
#[cfg(feature = "key-ring")]
mod context;
mod error;
mod hash;
mod hmac;
#[cfg(feature = "signed-data")]
mod jws;
#[cfg(feature = "key-ring")]
mod key_ring;
#[cfg(feature = "backup")]
mod sealed_stream;
#[cfg(feature = "key-ring")]
mod settings;
mod token;

#[cfg(feature = "signed-data")]
pub use certificates::{CertificateUsage, ReadableCertificate, TrustedRoots};
#[cfg(feature = "key-ring")]
pub use context::SealContext;
pub use error::{Error, ErrorKind};
pub use hash::Sha256;
pub use hmac::{HmacKey, Mac};
#[cfg(feature = "signed-data")]
pub use jws::UnverifiedJws;
#[cfg(feature = "key-ring")]
pub use key_ring::KeyRing;
#[cfg(feature = "backup")]
pub(crate) use sealed_stream::{OpeningReader, SealingWriter, StreamStart};
#[cfg(feature = "key-ring")]
pub use settings::SecretSettings;
pub use token::Token;

/// Returns whether two byte strings are equal, in a time that depends only on their lengths. Use it for all
/// values that a caller must not be able to guess byte by byte.
pub fn constant_time_eq(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    subtle::ConstantTimeEq::ct_eq(a.as_ref(), b.as_ref()).into()
}

/// Returns random bytes from the operating system.
///
/// # Panics
///
/// Panics if the operating system provides no random bytes, because nothing here is secure without them.
fn random<const N: usize>() -> [u8; N] {
    use rand::Rng as _;
    let mut bytes = [0; N];
    rand::rand_core::UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
#[cfg(feature = "key-ring")]
mod tests;
