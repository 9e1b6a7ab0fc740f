//! Secrets: made, compared, signed with and kept.
//!
//! Four small things, each a thin layer over the RustCrypto crates:
//!
//! | for | there is |
//! |---|---|
//! | API keys, session and reset tokens | [`Token`]: 256 bits from the operating system, stored as its [`Sha256`] only |
//! | comparing what a caller presents with what is known | [`same`], whose time does not depend on the contents |
//! | signatures of webhooks and links | [`HmacKey`]: HMAC-SHA-256 (RFC 2104), in hexadecimal and base64 |
//! | secrets of customers in the database | [`KeyRing`]: AES-256-GCM, bound to the row they belong to, with keys that rotate |
//!
//! ```
//! use omnistack_core::crypto::{Context, KeyRing, Token};
//! use secrecy::ExposeSecret as _;
//!
//! let token = Token::with_prefix("sk_live_");
//! let stored = token.hash();                       // what the database keeps
//! assert!(stored.is_of(token.expose()));           // what the caller presents later
//! assert!(!stored.is_of("sk_live_guessed"));
//!
//! let keys: KeyRing = KeyRing::new_key("2030-01").parse()?;
//! let place = Context::row("webhooks", "secret", 17);
//! let sealed = keys.seal("whsec_…", &place)?;      // v1.2030-01.…
//! assert_eq!(keys.open_text(&sealed, &place)?.expose_secret(), "whsec_…");
//! assert!(keys.open(&sealed, &Context::row("webhooks", "secret", 18)).is_err());
//! # Ok::<_, omnistack_core::crypto::Error>(())
//! ```
//!
//! Passwords are none of these: they are guessable, so they need a slow hash (argon2), which the accounts module has.

mod context;
mod error;
mod hash;
mod hmac;
mod key_ring;
mod settings;
mod token;

pub use context::Context;
pub use error::{Error, ErrorKind};
pub use hash::Sha256;
pub use hmac::{HmacKey, Mac};
pub use key_ring::KeyRing;
pub use settings::SecretSettings;
pub(crate) use settings::register;
pub use token::Token;

/// Whether two byte strings are the same, in a time that depends on their lengths only. For anything a caller must not
/// guess byte by byte.
pub fn same(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    subtle::ConstantTimeEq::ct_eq(a.as_ref(), b.as_ref()).into()
}

/// Random bytes of the operating system.
///
/// # Panics
/// When the operating system has no randomness, without which nothing here may go on.
fn random<const N: usize>() -> [u8; N] {
    use rand::Rng as _;
    let mut bytes = [0; N];
    rand::rand_core::UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
