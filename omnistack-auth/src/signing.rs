//! The keys the app signs its access tokens with (ES256, RFC 7518, section 3.4).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use omnistack_core::{
    ExposeSecret as _,
    clock::{Clock, Timestamp},
    crypto::{Context, KeyRing, Sha256},
    db::Db,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Error, store::signing as store};

/// How long a new key is published before it signs, so that whoever keeps the key set for a while knows it by then.
const AHEAD: Duration = Duration::from_secs(60 * 60);
/// An unknown key makes the keys be read again, at most this often.
const PAUSE: Duration = Duration::from_secs(5);
/// `typ` of an access token (RFC 9068, section 2.1).
pub(crate) const TYPE: &str = "at+jwt";

/// The app's own signing keys. Kept in its database, sealed; all replicas share them.
///
/// ```
/// use omnistack_auth::signing::SigningKeys;
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// // What other services verify the app's access tokens with.
/// let keys: SigningKeys = app.ctx().get()?;
/// let set = keys.public();
/// assert_eq!(set["keys"][0]["alg"], "ES256");
/// assert!(set["keys"][0].get("d").is_none(), "the private half is in no answer");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SigningKeys(Arc<Inner>);

struct Inner {
    db: Db,
    ring: KeyRing,
    clock: Clock,
    known: RwLock<Arc<Known>>,
}

#[derive(Default)]
struct Known {
    /// The newest first.
    keys: Vec<Key>,
    by_id: HashMap<String, DecodingKey>,
    read: Option<Timestamp>,
}

struct Key {
    id: String,
    signs_from: Timestamp,
    private: EncodingKey,
    public: Value,
}

impl SigningKeys {
    pub(crate) fn new(db: Db, ring: KeyRing, clock: Clock) -> Self {
        Self(Arc::new(Inner { db, ring, clock, known: RwLock::default() }))
    }

    /// Reads the keys; makes the first one.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.read().await?;
        if self.known().keys.is_empty() {
            self.make(self.0.clock.now()).await?;
        }
        Ok(())
    }

    /// Makes the next key when the newest is older than `lifetime`, and forgets those that no good token was signed with
    /// for longer than `keep`.
    pub(crate) async fn rotate(&self, lifetime: Duration, keep: Duration) -> Result<(), Error> {
        self.read().await?;
        let (known, now) = (self.known(), self.0.clock.now());
        if known.keys.first().is_none_or(|newest| now.since(newest.signs_from) >= lifetime) {
            self.make(now + AHEAD).await?;
        }
        // A key signs until the next one does.
        let signing = known.keys.iter().position(|key| key.signs_from <= now).unwrap_or_default();
        for pair in known.keys[signing..].windows(2) {
            if let [next, old] = pair
                && now.since(next.signs_from) > keep
            {
                store::delete(&self.0.db, &old.id).await?;
            }
        }
        self.read().await
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let (known, now) = (self.known(), self.0.clock.now());
        let key = known.keys.iter().find(|key| key.signs_from <= now).or(known.keys.last()).ok_or_else(Error::key)?;
        let header = Header { typ: Some(TYPE.into()), kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, claims, &key.private)?)
    }

    /// The key of an id; reads the keys again for one that another replica may have made.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<DecodingKey>, Error> {
        if let Some(key) = self.known().by_id.get(id) {
            return Ok(Some(key.clone()));
        }
        let now = self.0.clock.now();
        if self.known().read.is_some_and(|read| now.since(read) < PAUSE) {
            return Ok(None);
        }
        self.read().await?;
        Ok(self.known().by_id.get(id).cloned())
    }

    /// The public keys, as a JWK Set (RFC 7517, section 5).
    pub fn public(&self) -> Value {
        json!({ "keys": self.known().keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() })
    }

    fn known(&self) -> Arc<Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self) -> Result<(), Error> {
        let mut known = Known { read: Some(self.0.clock.now()), ..Known::default() };
        for row in store::all(&self.0.db).await? {
            let private = self.0.ring.open(&row.private, &place(&row.id))?;
            let public: Value = serde_json::from_str(&row.public).map_err(|_| Error::key())?;
            let part = |name| public.get(name).and_then(Value::as_str).unwrap_or_default();
            known.by_id.insert(row.id.clone(), DecodingKey::from_ec_components(part("x"), part("y"))?);
            let private = EncodingKey::from_ec_der(private.expose_secret());
            known.keys.push(Key { id: row.id, signs_from: row.signs_from, private, public });
        }
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    async fn make(&self, signs_from: Timestamp) -> Result<(), Error> {
        let unusable = |_| Error::key();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(unusable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
        let pair = pair.map_err(|_| Error::key())?;
        let (x, y) = coordinates(&pair)?;
        let thumbprint = Sha256::of(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
        // RFC 7638.
        let id = URL_SAFE_NO_PAD.encode(thumbprint.as_bytes());
        let public = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y });
        let private = self.0.ring.seal(document.as_ref(), &place(&id))?;
        let key = store::Row { id, private, public: public.to_string(), signs_from };
        store::insert(&self.0.db, key, self.0.clock.now()).await?;
        self.read().await
    }
}

/// Both coordinates of the public key, in base64 for URLs.
fn coordinates(pair: &EcdsaKeyPair) -> Result<(String, String), Error> {
    let point: aws_lc_rs::encoding::EcPublicKeyUncompressedBin<'_> =
        pair.public_key().as_be_bytes().map_err(|_| Error::key())?;
    match point.as_ref().split_first() {
        // SEC 1, section 2.3.3: 4, and both.
        Some((4, both)) if both.len() == 64 => {
            Ok((URL_SAFE_NO_PAD.encode(&both[..32]), URL_SAFE_NO_PAD.encode(&both[32..])))
        }
        _ => Err(Error::key()),
    }
}

fn place(id: &str) -> Context {
    Context::row("signing_keys", "private", id)
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known().keys.iter().map(|key| &key.id)).finish()
    }
}
