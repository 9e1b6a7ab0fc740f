//! Refresh tokens: opaque, good once, each the next of the one before (RFC 9700, section 4.14).
//!
//! A token is `omr_` and base64 of the session's id, a secret of 256 bits and a tag. The first secret is random; each
//! next one is the HMAC of the one before with the session's own key, so that two tabs that refresh at once get the same
//! successor though nothing but hashes is stored. The tag shows that a token was once given out: an old one that comes
//! back means that somebody else has it, a made-up one means nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    crypto::{HmacKey, Sha256},
    identity::SessionId,
};
use secrecy::SecretString;
use uuid::Uuid;

/// What a token begins with.
pub(crate) const PREFIX: &str = "omr_";
const SECRET: usize = 32;
const TAG: usize = 16;

/// A token as it was presented. Nothing is known of it yet but its form.
pub(crate) struct Presented {
    session: SessionId,
    secret: [u8; SECRET],
    tag: [u8; TAG],
}

impl Presented {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (secret, tag) = rest.split_first_chunk::<SECRET>()?;
        Some(Self {
            session: SessionId::from_uuid(Uuid::from_bytes(*session)),
            secret: *secret,
            tag: tag.try_into().ok()?,
        })
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether it was given out for this session.
    pub(crate) fn is_ours(&self, key: &HmacKey) -> bool {
        omnistack_core::crypto::same(tag(key, self.session, &self.secret), self.tag)
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> Sha256 {
        Sha256::of(self.secret)
    }

    /// The one that follows it.
    pub(crate) fn next(&self, key: &HmacKey) -> Issued {
        let secret = *key.sign_parts([b"next".as_slice(), &self.secret]).as_bytes();
        Issued::of(key, self.session, secret)
    }
}

/// A token to be given out, and what to store of it.
pub(crate) struct Issued {
    pub(crate) text: SecretString,
    pub(crate) hash: Sha256,
}

impl Issued {
    /// A session's first.
    pub(crate) fn first(key: &HmacKey, session: SessionId) -> Self {
        Self::of(key, session, rand::random())
    }

    fn of(key: &HmacKey, session: SessionId, secret: [u8; SECRET]) -> Self {
        let bytes = [session.uuid().as_bytes().as_slice(), &secret, &tag(key, session, &secret)].concat();
        Self { text: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into(), hash: Sha256::of(secret) }
    }
}

fn tag(key: &HmacKey, session: SessionId, secret: &[u8; SECRET]) -> [u8; TAG] {
    let mac = key.sign_parts([b"tag".as_slice(), session.uuid().as_bytes(), secret]);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&mac.as_bytes()[..TAG]);
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
        let first = Issued::first(&key, session);
        let presented = Presented::parse(first.text.expose_secret()).unwrap();
        assert!(presented.is_ours(&key) && !presented.is_ours(&other));
        assert_eq!((presented.session(), presented.hash()), (session, first.hash));

        let next = presented.next(&key);
        assert_eq!(next.text.expose_secret(), presented.next(&key).text.expose_secret());
        assert_ne!(next.hash, first.hash);
        assert!(Presented::parse(next.text.expose_secret()).unwrap().is_ours(&key));
    }

    #[test]
    fn what_is_no_token() {
        let key = HmacKey::new([1; 32]).unwrap();
        let text = Issued::first(&key, SessionId::from_uuid(Uuid::from_u128(7))).text;
        let text = text.expose_secret();
        for wrong in
            ["", "omr_", &text[4..], &text[..text.len() - 1], &format!("{text}A"), &text.replace("omr_", "oms_")]
        {
            assert!(Presented::parse(wrong).is_none_or(|presented| !presented.is_ours(&key)), "{wrong}");
        }
    }
}
