//! Encryption of secrets at rest.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::{Error, SealContext, constant_time_eq, random, settings::DEVELOPMENT_KEY};

/// Version of the format in which values are sealed. No other version can be opened.
const VERSION: &str = "v1";
const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;
const MAX_KEY_ID_BYTES: usize = 32;

/// Key ring that seals secrets at rest: the primary key seals, and all keys open what they sealed before.
///
/// A sealed value is a text `v1.KEYID.DATA`, in which `DATA` is URL-safe base64 of a random 96-bit nonce, the
/// ciphertext and its 128-bit tag (AES-256-GCM, NIST SP 800-38D). It can be opened only with its key and its
/// [`SealContext`]. It is 28 bytes longer than the secret, plus a third for base64, and therefore reveals the
/// length of the secret.
///
/// A key seals up to 2³² values (SP 800-38D, section 8.3); rotate it before. To rotate, put a new key before
/// the others in `SECRET_KEYS`, [`reseal`](Self::reseal) all values for which
/// [`needs_reseal`](Self::needs_reseal) is `true`, and then remove the old key.
///
/// ```
/// use omnistack_core::crypto::{SealContext, KeyRing};
///
/// let old = KeyRing::new_key("2029");
/// let place = SealContext::row("webhooks", "secret", 17);
/// let sealed = old.parse::<KeyRing>()?.seal("whsec_…", &place)?;
///
/// let both: KeyRing = format!("{},{old}", KeyRing::new_key("2030")).parse()?;
/// assert!(both.needs_reseal(&sealed));
/// let resealed = both.reseal(&sealed, &place)?.unwrap();
/// assert!(resealed.starts_with("v1.2030.") && !both.needs_reseal(&resealed));
/// # Ok::<_, omnistack_core::crypto::Error>(())
/// ```
#[doc(alias = "encryption at rest")]
#[derive(Clone)]
pub struct KeyRing(Arc<[SealingKey]>);

struct SealingKey {
    id: String,
    cipher: Aes256Gcm,
    /// Reason why the key could be guessed, if it could.
    weakness: Option<&'static str>,
}

impl KeyRing {
    /// Creates a new key in the format of `SECRET_KEYS`, `id:base64`. It is a secret: print it for an operator,
    /// and never log it.
    ///
    /// # Panics
    ///
    /// Panics if the operating system provides no random bytes.
    pub fn new_key(id: &str) -> String {
        format!("{id}:{}", base64::engine::general_purpose::STANDARD.encode(random::<KEY_LENGTH>()))
    }

    /// Returns the id of the primary key, which seals.
    pub fn primary(&self) -> &str {
        self.0.first().map_or("", |key| &key.id)
    }

    /// Seals a secret for its context.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::TooLarge`] for more than 64 GiB.
    pub fn seal(&self, secret: impl AsRef<[u8]>, place: &SealContext) -> Result<String, Error> {
        let primary = self.0.first().ok_or_else(no_key)?;
        let nonce = random::<NONCE_LENGTH>();
        let payload = Payload { msg: secret.as_ref(), aad: &place.additional_data(VERSION, &primary.id) };
        let sealed = primary.cipher.encrypt(&nonce.into(), payload).map_err(|_| Error::TooLarge)?;
        let data = [nonce.as_slice(), &sealed].concat();
        Ok(format!("{VERSION}.{}.{}", primary.id, URL_SAFE_NO_PAD.encode(data)))
    }

    /// Opens a sealed value in its context.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Malformed`] if the text is not a sealed value, [`Error::UnknownKey`] if its key is
    /// not in the ring, and [`Error::CannotOpen`] if the value was changed or belongs to another context.
    pub fn open(&self, sealed: &str, place: &SealContext) -> Result<SecretSlice<u8>, Error> {
        self.open_bytes(sealed, place).map(SecretSlice::from)
    }

    /// Opens a sealed text in its context.
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) does, and with [`Error::NotText`] if the secret is not UTF-8.
    pub fn open_text(&self, sealed: &str, place: &SealContext) -> Result<SecretString, Error> {
        String::from_utf8(self.open_bytes(sealed, place)?).map(SecretString::from).map_err(|_| Error::NotText)
    }

    /// Returns whether a value is not sealed with the primary key in the current format. The value is not
    /// opened.
    pub fn needs_reseal(&self, sealed: &str) -> bool {
        !SealedParts::parse(sealed).is_ok_and(|parts| parts.key_id == self.primary())
    }

    /// Seals a value again with the primary key. Returns `None` if it is sealed with it already.
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) does.
    pub fn reseal(&self, sealed: &str, place: &SealContext) -> Result<Option<String>, Error> {
        if !self.needs_reseal(sealed) {
            return Ok(None);
        }
        self.seal(self.open(sealed, place)?.expose_secret(), place).map(Some)
    }

    /// Returns the id of the first key that could be guessed, with the reason.
    pub(crate) fn weak_key(&self) -> Option<(&str, &'static str)> {
        self.0.iter().find_map(|key| Some((key.id.as_str(), key.weakness?)))
    }

    fn open_bytes(&self, sealed: &str, place: &SealContext) -> Result<Vec<u8>, Error> {
        let parts = SealedParts::parse(sealed)?;
        let key = self.0.iter().find(|key| key.id == parts.key_id);
        let key = key.ok_or_else(|| Error::UnknownKey(parts.key_id.into()))?;
        open(&key.cipher, parts.nonce, &place.additional_data(VERSION, &key.id), &parts.data)
    }
}

/// Decrypts the ciphertext and verifies its tag.
pub(super) fn open(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LENGTH],
    authenticated: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, Error> {
    cipher.decrypt(&nonce.into(), Payload { msg: data, aad: authenticated }).map_err(|_| Error::CannotOpen)
}

/// Parts of a sealed text.
struct SealedParts<'a> {
    key_id: &'a str,
    nonce: [u8; NONCE_LENGTH],
    data: Vec<u8>,
}

impl<'a> SealedParts<'a> {
    fn parse(sealed: &'a str) -> Result<Self, Error> {
        let (version, rest) = sealed.split_once('.').ok_or(Error::Malformed)?;
        let (key_id, data) = rest.split_once('.').ok_or(Error::Malformed)?;
        if version != VERSION || !is_id(key_id) {
            return Err(Error::Malformed);
        }
        let data = URL_SAFE_NO_PAD.decode(data).map_err(|_| Error::Malformed)?;
        let (nonce, data) = data.split_first_chunk().ok_or(Error::Malformed)?;
        if data.len() < TAG_LENGTH {
            return Err(Error::Malformed);
        }
        Ok(Self { key_id, nonce: *nonce, data: data.to_vec() })
    }
}

impl FromStr for KeyRing {
    type Err = Error;

    /// Parses `id:base64key,id2:base64key2`; the first key is the primary one.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut keys: Vec<SealingKey> = Vec::new();
        for (index, item) in text.split(',').map(str::trim).filter(|item| !item.is_empty()).enumerate() {
            let wrong = |what: &str| Error::InvalidKeys(format!("key {} {what}", index + 1));
            let (id, key) = item.split_once(':').ok_or_else(|| wrong("is not of the form `id:base64`"))?;
            if !is_id(id) {
                return Err(wrong("has an invalid id: it must be 1 to 32 of the characters a-z A-Z 0-9 - _"));
            }
            if keys.iter().any(|other| other.id == id) {
                return Err(wrong("has the same id as another key"));
            }
            let key = SecretSlice::from(decode(key).ok_or_else(|| wrong("is not base64"))?);
            let bytes = key.expose_secret();
            let length = || wrong(&format!("has {} bytes: it must have {KEY_LENGTH}", bytes.len()));
            let cipher = Aes256Gcm::new_from_slice(bytes).map_err(|_| length())?;
            keys.push(SealingKey { id: id.into(), cipher, weakness: weakness(bytes) });
        }
        if keys.is_empty() { Err(no_key()) } else { Ok(Self(keys.into())) }
    }
}

/// Shows the ids of the keys only.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

fn no_key() -> Error {
    Error::InvalidKeys("no key is given".into())
}

/// Returns whether an id has a valid length and no characters that are separators in a sealed text or in
/// `SECRET_KEYS`.
fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_KEY_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed)
}

/// Returns the reason why a key could be guessed. Keys from a random generator pass: fewer than once in 10^12
/// keys, 32 random bytes have fewer than 16 different values, only printable ASCII characters, or a pattern.
fn weakness(bytes: &[u8]) -> Option<&'static str> {
    const MIN_DIFFERENT_BYTES: usize = 16;
    let different: BTreeSet<u8> = bytes.iter().copied().collect();
    let step = |pair: &[u8]| pair[1].wrapping_sub(pair[0]);
    let is_repeated = (1..=bytes.len() / 2).any(|length| bytes[length..] == bytes[..bytes.len() - length]);
    if constant_time_eq(bytes, DEVELOPMENT_KEY) {
        Some("is the development key, which is public")
    } else if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Some("is not random: it is a text")
    } else if different.len() < MIN_DIFFERENT_BYTES || is_repeated {
        Some("is not random: it repeats a few bytes")
    } else if bytes.windows(2).all(|pair| step(pair) == step(bytes)) {
        Some("is not random: its bytes count up or down")
    } else {
        None
    }
}

/// Decodes base64 in either alphabet, with or without padding, as different tools print it.
fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}
