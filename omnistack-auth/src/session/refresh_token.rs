//! Refresh tokens: opaque, used once, rotated at each use (RFC 9700, section 4.14).
//!
//! A token is `omr_` and the base64 of the session's id, a secret of 256 bits and a tag. The first secret is random;
//! each next one is the HMAC of the one before with the session's own key, so that two tabs that refresh at once get
//! the same successor although only hashes are stored. The tag proves that the app has issued the token: reuse of an
//! old token means that another person has it, while a forged token means nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    crypto::{HmacKey, Sha256},
    identity::SessionId,
};
use secrecy::SecretString;
use uuid::Uuid;

/// The prefix of a refresh token.
pub(crate) const PREFIX: &str = "omr_";
/// The length of the secret, in bytes.
const SECRET_BYTES: usize = 32;
/// The length of the tag, in bytes.
const TAG_BYTES: usize = 16;

/// A refresh token from a request. Only its form has been checked.
pub(crate) struct PresentedRefreshToken {
    session: SessionId,
    secret: [u8; SECRET_BYTES],
    tag: [u8; TAG_BYTES],
}

impl PresentedRefreshToken {
    /// Parses a token. Returns `None` if its form is wrong.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (secret, tag) = rest.split_first_chunk::<SECRET_BYTES>()?;
        Some(Self {
            session: SessionId::from_uuid(Uuid::from_bytes(*session)),
            secret: *secret,
            tag: tag.try_into().ok()?,
        })
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Returns whether the token was issued for its session, whose key is `key`.
    pub(crate) fn is_issued_with(&self, key: &HmacKey) -> bool {
        omnistack_core::crypto::constant_time_eq(tag(key, self.session, &self.secret), self.tag)
    }

    /// Returns the hash that is stored for the token.
    pub(crate) fn hash(&self) -> Sha256 {
        Sha256::digest(self.secret)
    }

    /// Returns the token that follows this one.
    pub(crate) fn next(&self, key: &HmacKey) -> IssuedRefreshToken {
        let secret = *key.sign_parts([b"next".as_slice(), &self.secret]).as_bytes();
        IssuedRefreshToken::with_secret(key, self.session, secret)
    }
}

/// A token to be issued, and the hash to be stored for it.
pub(crate) struct IssuedRefreshToken {
    pub(crate) text: SecretString,
    pub(crate) hash: Sha256,
}

impl IssuedRefreshToken {
    /// Creates the first token of a session.
    pub(crate) fn first(key: &HmacKey, session: SessionId) -> Self {
        Self::with_secret(key, session, rand::random())
    }

    fn with_secret(key: &HmacKey, session: SessionId, secret: [u8; SECRET_BYTES]) -> Self {
        let bytes = [session.uuid().as_bytes().as_slice(), &secret, &tag(key, session, &secret)].concat();
        Self { text: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into(), hash: Sha256::digest(secret) }
    }
}

/// Returns the tag that proves that the app has issued the secret for the session.
fn tag(key: &HmacKey, session: SessionId, secret: &[u8; SECRET_BYTES]) -> [u8; TAG_BYTES] {
    let mac = key.sign_parts([b"tag".as_slice(), session.uuid().as_bytes(), secret]);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&mac.as_bytes()[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use omnistack_core::ExposeSecret as _;

    use super::*;

    #[test]
    fn each_follows_from_the_one_before() {
        let (key, other) = (HmacKey::new([1; 32]).unwrap(), HmacKey::new([2; 32]).unwrap());
        let session = SessionId::from_uuid(Uuid::from_u128(7));
        let first = IssuedRefreshToken::first(&key, session);
        let presented = PresentedRefreshToken::parse(first.text.expose_secret()).unwrap();
        assert!(presented.is_issued_with(&key) && !presented.is_issued_with(&other));
        assert_eq!((presented.session(), presented.hash()), (session, first.hash));

        let next = presented.next(&key);
        assert_eq!(next.text.expose_secret(), presented.next(&key).text.expose_secret());
        assert_ne!(next.hash, first.hash);
        assert!(PresentedRefreshToken::parse(next.text.expose_secret()).unwrap().is_issued_with(&key));
    }

    #[test]
    fn what_is_no_token() {
        let key = HmacKey::new([1; 32]).unwrap();
        let text = IssuedRefreshToken::first(&key, SessionId::from_uuid(Uuid::from_u128(7))).text;
        let text = text.expose_secret();
        for wrong in
            ["", "omr_", &text[4..], &text[..text.len() - 1], &format!("{text}A"), &text.replace("omr_", "oms_")]
        {
            assert!(
                PresentedRefreshToken::parse(wrong).is_none_or(|presented| !presented.is_issued_with(&key)),
                "{wrong}"
            );
        }
    }
}
