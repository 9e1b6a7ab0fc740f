//! The keys that sign the app's access tokens (ES256, RFC 7518, section 3.4).

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
    crypto::{KeyRing, SealContext, Sha256},
    db::{Db, Tx},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{Error, session::store::signing_keys as store};

/// The time for which a new key is published before it signs, so that all processes and all services that cache the
/// key set know it by then.
const PUBLISHED_BEFORE_USE: Duration = Duration::from_secs(60 * 60);
/// The age after which a process reads the keys again before it uses them. A key is deleted an hour after its last
/// token has expired, when every process has read that another key signs.
const MAX_READING_AGE: Duration = Duration::from_secs(60);
/// The minimum time between two readings caused by an unknown key id or by a failed reading.
const MIN_READING_INTERVAL: Duration = Duration::from_secs(5);
/// The `typ` header of an access token (RFC 9068, section 2.1).
pub(crate) const TYPE: &str = "at+jwt";

/// The app's signing keys, stored sealed in its database. All replicas share them, and each reads them once a minute.
///
/// ```
/// use omnistack_auth::signing::SigningKeys;
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// // The keys with which other services verify the app's access tokens.
/// let keys: SigningKeys = app.context().get()?;
/// let set = keys.public().await;
/// assert_eq!(set["keys"][0]["alg"], "ES256");
/// assert!(set["keys"][0].get("d").is_none(), "the response contains no private key");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SigningKeys(Arc<SigningKeysInner>);

struct SigningKeysInner {
    db: Db,
    ring: KeyRing,
    clock: Clock,
    known: RwLock<Arc<LoadedKeys>>,
    /// The time of the last attempt to read the keys. Locked while they are read.
    tried: Mutex<Option<Timestamp>>,
}

/// The keys as they were last read.
#[derive(Default)]
struct LoadedKeys {
    /// The keys, the newest first.
    keys: Vec<SigningKey>,
    by_id: HashMap<String, DecodingKey>,
    /// The time of the reading; `None` before the first one.
    read: Option<Timestamp>,
}

struct SigningKey {
    id: String,
    signs_from: Timestamp,
    private: EncodingKey,
    public: Value,
}

impl SigningKeys {
    pub(crate) fn new(db: Db, ring: KeyRing, clock: Clock) -> Self {
        Self(Arc::new(SigningKeysInner { db, ring, clock, known: RwLock::default(), tried: Mutex::default() }))
    }

    /// Reads the keys, and creates the first one if there is none.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.read().await?;
        if self.known().keys.is_empty() {
            self.create_if(|newest| newest.is_none(), self.0.clock.now()).await?;
        }
        Ok(())
    }

    /// Creates the next key when the newest one has signed for `lifetime`, and deletes each key when its successor
    /// has signed for longer than `keep`.
    pub(crate) async fn rotate(&self, lifetime: Duration, keep: Duration) -> Result<(), Error> {
        self.read().await?;
        let (known, now) = (self.known(), self.0.clock.now());
        let is_due =
            |newest: Option<Timestamp>| newest.is_none_or(|signs_from| now.duration_since(signs_from) >= lifetime);
        if is_due(known.keys.first().map(|newest| newest.signs_from)) {
            self.create_if(is_due, now + PUBLISHED_BEFORE_USE).await?;
        }
        // A key signs until its successor starts to sign.
        let signing = known.keys.iter().position(|key| key.signs_from <= now).unwrap_or_default();
        for pair in known.keys[signing..].windows(2) {
            if let [next, old] = pair
                && now.duration_since(next.signs_from) > keep
            {
                store::delete(&self.0.db, &old.id).await?;
            }
        }
        self.read().await
    }

    /// Signs claims with the keys as last read; the caller calls [`refresh`](Self::refresh) before.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let (known, now) = (self.known(), self.0.clock.now());
        let key =
            known.keys.iter().find(|key| key.signs_from <= now).or(known.keys.last()).ok_or_else(Error::invalid_key)?;
        let header = Header { typ: Some(TYPE.into()), kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, claims, &key.private)?)
    }

    /// Returns the key with an id, or `None` if there is none. Reads the keys again for an unknown id, which another
    /// process may have created.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<DecodingKey>, Error> {
        self.refresh().await;
        let known = self.known();
        if let Some(key) = known.by_id.get(id) {
            return Ok(Some(key.clone()));
        }
        if known.read.is_some_and(|read| self.0.clock.now().duration_since(read) < MIN_READING_INTERVAL) {
            return Ok(None);
        }
        self.read().await?;
        Ok(self.known().by_id.get(id).cloned())
    }

    /// Returns the public keys as a JWK Set (RFC 7517, section 5), as they were in the database within the last minute.
    pub async fn public(&self) -> Value {
        self.refresh().await;
        json!({ "keys": self.known().keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() })
    }

    /// Reads the keys again if the last reading is older than [`MAX_READING_AGE`], because other processes create and
    /// delete keys. If the keys cannot be read, the known ones stay in use.
    pub(crate) async fn refresh(&self) {
        if !self.is_old() {
            return;
        }
        let mut tried = self.0.tried.lock().await;
        let now = self.0.clock.now();
        if self.is_old() && tried.is_none_or(|tried| now.duration_since(tried) >= MIN_READING_INTERVAL) {
            *tried = Some(now);
            if let Err(error) = self.read().await {
                tracing::warn!(target: "omnistack::auth", %error, "the signing keys cannot be read; known ones stay in use");
            }
        }
    }

    /// Reads the keys as [`refresh`](Self::refresh) does, on the connection of a transaction.
    pub(crate) async fn refresh_in(&self, tx: &mut Tx) -> Result<(), Error> {
        if self.is_old() { self.replace(store::all_in(tx).await?) } else { Ok(()) }
    }

    fn is_old(&self) -> bool {
        self.known().read.is_none_or(|read| self.0.clock.now().duration_since(read) >= MAX_READING_AGE)
    }

    fn known(&self) -> Arc<LoadedKeys> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self) -> Result<(), Error> {
        self.replace(store::all(&self.0.db).await?)
    }

    fn replace(&self, rows: Vec<store::SigningKeyRow>) -> Result<(), Error> {
        let mut known = LoadedKeys { read: Some(self.0.clock.now()), ..LoadedKeys::default() };
        for row in rows {
            let private = self.0.ring.open(&row.private, &encryption_context(&row.id))?;
            let public: Value = serde_json::from_str(&row.public).map_err(|_| Error::invalid_key())?;
            let part = |name| public.get(name).and_then(Value::as_str).unwrap_or_default();
            known.by_id.insert(row.id.clone(), DecodingKey::from_ec_components(part("x"), part("y"))?);
            let private = EncodingKey::from_ec_der(private.expose_secret());
            known.keys.push(SigningKey { id: row.id, signs_from: row.signs_from, private, public });
        }
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    /// Creates a key if the start time of the newest one requires it. The table is locked meanwhile, so only one of
    /// several processes creates it.
    async fn create_if(&self, is_due: impl Fn(Option<Timestamp>) -> bool, signs_from: Timestamp) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        store::lock(&mut tx).await?;
        if is_due(store::newest_signs_from(&mut tx).await?) {
            store::insert(&mut tx, generate(&self.0.ring, signs_from)?, self.0.clock.now()).await?;
        }
        tx.commit().await?;
        self.read().await
    }
}

/// Generates a key, sealed for its row.
fn generate(ring: &KeyRing, signs_from: Timestamp) -> Result<store::SigningKeyRow, Error> {
    let unusable = |_| Error::invalid_key();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let document = document.map_err(unusable)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
    let pair = pair.map_err(|_| Error::invalid_key())?;
    let (x, y) = coordinates(&pair)?;
    let thumbprint = Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
    // The thumbprint is the key id (RFC 7638).
    let id = URL_SAFE_NO_PAD.encode(thumbprint.as_bytes());
    let public = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y });
    let private = ring.seal(document.as_ref(), &encryption_context(&id))?;
    Ok(store::SigningKeyRow { id, private, public: public.to_string(), signs_from })
}

/// Returns both coordinates of the public key, in base64url.
fn coordinates(pair: &EcdsaKeyPair) -> Result<(String, String), Error> {
    let point: aws_lc_rs::encoding::EcPublicKeyUncompressedBin<'_> =
        pair.public_key().as_be_bytes().map_err(|_| Error::invalid_key())?;
    match point.as_ref().split_first() {
        // An uncompressed point: the byte 4, then both coordinates (SEC 1, section 2.3.3).
        Some((4, both)) if both.len() == 64 => {
            Ok((URL_SAFE_NO_PAD.encode(&both[..32]), URL_SAFE_NO_PAD.encode(&both[32..])))
        }
        _ => Err(Error::invalid_key()),
    }
}

fn encryption_context(id: &str) -> SealContext {
    SealContext::row("omni_signing_keys", "private", id)
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known().keys.iter().map(|key| &key.id)).finish()
    }
}
