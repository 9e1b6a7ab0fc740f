//! Password hashing: Argon2id (RFC 9106) in PHC strings, with limits on concurrency and on the queue.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc::PasswordHash};
use aws_lc_rs::constant_time;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use omnistack_core::http;
use secrecy::{ExposeSecret as _, zeroize::Zeroize as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{HashImporters, Password};
use crate::Error;

/// The cost of a hash, and the limits on concurrency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashing {
    /// The memory of one hash, in KiB.
    pub(crate) memory: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
    /// The maximum number of hashes computed at the same time.
    pub(crate) running: usize,
    /// The maximum number of hashes that wait.
    pub(crate) waiting: usize,
}

/// Hashes and verifies passwords. Cheap to clone; all clones share the limits.
///
/// ```
/// use omnistack_auth::password::{Password, Passwords};
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// // A secret of the app, such as the passphrase of a vault. It shares the queue with sign-ins.
/// let passwords: Passwords = app.context().get()?;
/// let secret = Password::new("between the two willows").ok_or("longer than any password")?;
/// let kept = passwords.hash(&secret).await?;
/// assert!(kept.starts_with("$argon2id$"));
/// assert!(passwords.verify(&secret, Some(&kept)).await?.valid);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Passwords(Arc<PasswordsInner>);

struct PasswordsInner {
    argon2: Argon2<'static>,
    /// The hash of no password, at the current cost, verified for a user who does not exist.
    nobody: String,
    running: Arc<Semaphore>,
    /// One permit for each hash that runs or waits.
    queue: Arc<Semaphore>,
    memory: HashMemory,
    importers: HashImporters,
}

/// The memory in which hashes are computed, reused and wiped after each hash: memory allocated for each hash, 19 MiB
/// at a time, would accumulate in the allocator. Holds one buffer for each hash that runs at the same time.
struct HashMemory {
    buffers: Mutex<Vec<Vec<Block>>>,
    /// The size of the largest buffer that is kept, which is that of a new hash. One of another system may need much more.
    most_blocks: usize,
}

impl HashMemory {
    /// Computes a hash of the length of `out`. Fails if Argon2 fails, for example if the salt or the output is too
    /// short.
    fn hash(&self, argon2: &Argon2<'_>, password: &[u8], salt: &[u8], out: &mut [u8]) -> argon2::Result<()> {
        let needed = argon2.params().block_count();
        let is_kept = needed <= self.most_blocks;
        let mut blocks = if is_kept { self.kept().pop().unwrap_or_default() } else { Vec::new() };
        if blocks.len() < needed {
            // Allocates a new buffer, because growing the old one would copy its contents.
            blocks = vec![Block::new(); needed];
        }
        let hashed = argon2.hash_password_into_with_memory(password, salt, out, &mut blocks);
        blocks.iter_mut().zeroize();
        if is_kept {
            self.kept().push(blocks);
        }
        hashed
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of a verification.
///
/// ```
/// use omnistack_auth::{Error, password::{Password, Passwords, Verification}};
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// async fn opens(passwords: &Passwords, typed: &Password, kept: &mut String) -> Result<bool, Error> {
///     let Verification { valid, outdated } = passwords.verify(typed, Some(kept)).await?;
///     if outdated {
///         *kept = passwords.hash(typed).await?;
///     }
///     Ok(valid)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let at = |passes: &str| {
/// #     let config = [("DATABASE_URL", "sqlite::memory:"), ("AUTH_ARGON2_PASSES", passes)];
/// #     let app = App::builder(Config::from_pairs(config)).with(Auth::built_in()).build()?;
/// #     Ok::<Passwords, omnistack_core::RunError>(app.context().get()?)
/// # };
/// # let (before, now) = (at("1")?, at("2")?);
/// # let secret = Password::new("between the two willows").ok_or("too long")?;
/// # let mut kept = before.hash(&secret).await?;
/// // `kept` was computed before `AUTH_ARGON2_PASSES` was raised to 2.
/// assert!(kept.contains("t=1"));
/// assert!(opens(&now, &secret, &mut kept).await?);
/// assert!(kept.contains("t=2"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whether the password is right.
    pub valid: bool,
    /// Whether the password is right and its stored hash has another cost or another form than new hashes: store a new
    /// hash of it.
    pub outdated: bool,
}

impl Passwords {
    /// Creates the service with a cost, and importers for the hashes of other systems.
    ///
    /// # Errors
    /// Returns Argon2's message if the cost is invalid.
    pub(crate) fn new(hashing: Hashing, importers: HashImporters) -> Result<Self, String> {
        let params =
            Params::new(hashing.memory, hashing.passes, hashing.lanes, None).map_err(|error| error.to_string())?;
        let nobody = dummy_hash(&params);
        let memory = HashMemory { buffers: Mutex::default(), most_blocks: params.block_count() };
        let running = hashing.running.clamp(1, 1024);
        Ok(Self(Arc::new(PasswordsInner {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            nobody,
            running: Arc::new(Semaphore::new(running)),
            queue: Arc::new(Semaphore::new(running.saturating_add(hashing.waiting).min(100_000))),
            memory,
            importers,
        })))
    }

    /// Returns the hash of a password as a PHC string, with a new salt.
    ///
    /// # Errors
    /// 503 `PASSWORD_HASH_BUSY` if too many hashes are waiting.
    pub async fn hash(&self, password: &Password) -> Result<String, Error> {
        let password = password.clone();
        let hashed = self.run(move |argon2, memory| {
            let (salt, mut hash): ([u8; 16], [u8; HASH_BYTES]) = (rand::random(), [0; HASH_BYTES]);
            let hashed = memory.hash(argon2, password.expose_secret().as_bytes(), &salt, &mut hash);
            hashed.map(|()| phc(argon2.params(), &salt, &hash))
        });
        hashed.await?.map_err(|_| Error::invalid_key())
    }

    /// Verifies a password against a stored hash. Takes the same time if there is no stored hash, or one that can't be
    /// read. A hash that is not one of Argon2 is verified by the app's [importers](super::PasswordHashImporter), and is
    /// outdated if it is right. A hash of Argon2 whose cost is too large to compute matches no password.
    ///
    /// # Errors
    /// 503 `PASSWORD_HASH_BUSY` if too many hashes are waiting.
    pub async fn verify(&self, password: &Password, kept: Option<&str>) -> Result<Verification, Error> {
        let (password, somebody) = (password.clone(), kept.is_some());
        let kept = kept.unwrap_or(&self.0.nobody).to_owned();
        let inner = Arc::clone(&self.0);
        self.run(move |argon2, memory| {
            let read = ParsedHash::read(&kept).filter(|read| is_bearable(read.argon2.params(), argon2.params()));
            if read.is_none()
                && let Some(valid) = inner.importers.verify(&password, &kept)
            {
                return Verification { valid, outdated: valid };
            }
            // Otherwise the time of a response would tell an account with such a hash from none.
            let is_readable = read.is_some();
            let Some(kept) = read.or_else(|| ParsedHash::read(&inner.nobody)) else {
                return Verification { valid: false, outdated: false };
            };
            let mut hash = vec![0; kept.hash.len()];
            let hashed = memory.hash(&kept.argon2, password.expose_secret().as_bytes(), &kept.salt, &mut hash);
            let same = constant_time::verify_slices_are_equal(&hash, &kept.hash).is_ok();
            let good = hashed.is_ok() && same && somebody && is_readable;
            let cost = |of: &Params| (of.m_cost(), of.t_cost(), of.p_cost());
            let is_current =
                kept.algorithm == Algorithm::Argon2id && cost(kept.argon2.params()) == cost(argon2.params());
            Verification { valid: good, outdated: good && !is_current }
        })
        .await
    }

    /// Runs work on a blocking thread, within the limits, and logs it at `omnistack::auth::password=debug`. If the
    /// caller is cancelled, the work still finishes and occupies its place until then. Fails with 503
    /// `PASSWORD_HASH_BUSY`.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>, &HashMemory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        let place = Arc::clone(&inner.queue).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&inner.running).acquire_owned().await.map_err(|_| busy())?;
        tracing::debug!(target: "omnistack::auth::password", "a password hash is computed");
        let done = tokio::task::spawn_blocking(move || {
            let _held: [OwnedSemaphorePermit; 2] = [place, turn];
            work(&inner.argon2, &inner.memory)
        });
        done.await.map_err(|error| http::Error::internal(error).into())
    }
}

fn busy() -> http::Error {
    http::Error::unavailable("PASSWORD_HASH_BUSY", "too many sign-ins at this moment; try again later")
}

/// The length of a new hash, in bytes.
const HASH_BYTES: usize = 32;

/// The content of a PHC string.
struct ParsedHash {
    /// Argon2 with the cost at which the hash was computed.
    argon2: Argon2<'static>,
    algorithm: Algorithm,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl ParsedHash {
    /// Reads a PHC string. Returns `None` if the text is not a PHC string of Argon2.
    fn read(text: &str) -> Option<Self> {
        let read = PasswordHash::new(text).ok()?;
        let (algorithm, params) = (Algorithm::try_from(read.algorithm.as_str()).ok()?, Params::try_from(&read).ok()?);
        let version = read.version.map_or(Ok(Version::V0x13), Version::try_from).ok()?;
        let (salt, hash) = (read.salt?, read.hash?);
        Some(Self {
            argon2: Argon2::new(algorithm, version, params),
            algorithm,
            salt: salt.as_ref().to_vec(),
            hash: hash.as_bytes().to_vec(),
        })
    }
}

/// Most memory of a hash of another system, in KiB. Laravel uses 64 MiB.
const MAX_FOREIGN_MEMORY_KIB: u32 = 1024 * 1024;
/// Most memory in KiB, times the passes over it, of a hash of another system: a few seconds.
const MAX_FOREIGN_WORK: u64 = 4 * 1024 * 1024;

/// Returns whether a stored hash may be computed: one sign-in with a hash of a huge cost would use up the memory, or
/// occupy a place for hours.
fn is_bearable(stored: &Params, own: &Params) -> bool {
    let work = |of: &Params| u64::from(of.m_cost()) * u64::from(of.t_cost());
    stored.m_cost() <= own.m_cost().max(MAX_FOREIGN_MEMORY_KIB) && work(stored) <= work(own).max(MAX_FOREIGN_WORK)
}

/// Returns a PHC string that no password matches: its salt and its hash are random.
fn dummy_hash(params: &Params) -> String {
    let (salt, hash): ([u8; 16], [u8; HASH_BYTES]) = (rand::random(), rand::random());
    phc(params, &salt, &hash)
}

/// Returns a hash as a PHC string.
fn phc(params: &Params, salt: &[u8], hash: &[u8]) -> String {
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("cost", self.0.argon2.params()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(passes: u32) -> Passwords {
        let hashing = Hashing { memory: 8, passes, lanes: 1, running: 1, waiting: 1 };
        Passwords::new(hashing, HashImporters::default()).unwrap()
    }

    #[tokio::test]
    async fn hashes_of_argon2_by_other_systems_are_verified_and_outdated() {
        let password = Password::new("correct horse battery").unwrap();
        let other = Password::new("correct horse").unwrap();
        for kept in [
            // Laravel's default cost.
            "$argon2id$v=19$m=65536,t=4,p=1$bGFyYXZlbC1zYWx0LTE2Yg$vKrT2gQZZhoJwlzciRTBIK4fdxo6lCeksSlIEwsJ/+8",
            "$argon2i$v=19$m=1024,t=2,p=2$bGFyYXZlbC1zYWx0LTE2Yg$nlGn2Sjs/NROH9Lb4leQwJyUBMTi1tMbbSD4dlmCiec",
        ] {
            let verified = passwords(1).verify(&password, Some(kept)).await.unwrap();
            assert_eq!(verified, Verification { valid: true, outdated: true }, "{kept}");
            assert!(!passwords(1).verify(&other, Some(kept)).await.unwrap().valid, "{kept}");
        }
    }

    #[tokio::test]
    async fn the_memory_of_a_costly_hash_is_not_kept() {
        let passwords = passwords(1);
        let password = Password::new("correct horse battery").unwrap();
        let kept = "$argon2i$v=19$m=1024,t=2,p=2$bGFyYXZlbC1zYWx0LTE2Yg$nlGn2Sjs/NROH9Lb4leQwJyUBMTi1tMbbSD4dlmCiec";
        assert!(passwords.verify(&password, Some(kept)).await.unwrap().valid);
        assert!(passwords.0.memory.kept().is_empty());
        passwords.hash(&password).await.unwrap();
        assert_eq!(passwords.0.memory.kept().iter().map(Vec::len).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn a_stored_hash_has_a_limited_cost() {
        let params = |memory, passes| Params::new(memory, passes, 1, None).unwrap();
        let own = params(19_456, 2);
        for (memory, passes, expected) in
            [(65_536, 4, true), (1_048_576, 4, true), (1_048_577, 1, false), (1_048_576, 5, false), (8, 524_289, false)]
        {
            assert_eq!(is_bearable(&params(memory, passes), &own), expected, "m={memory}, t={passes}");
        }
        let (own, same) = (params(4_194_304, 10), params(4_194_304, 10));
        assert!(is_bearable(&same, &own), "the app's own cost is always one");
    }

    #[tokio::test]
    async fn only_the_password_is_good_and_an_old_cost_is_told() {
        let (passwords, costlier) = (passwords(1), passwords(2));
        let (composed, decomposed) = (Password::new("caf\u{e9}").unwrap(), Password::new("cafe\u{301}").unwrap());
        let kept = passwords.hash(&composed).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{kept}");
        assert_ne!(kept, passwords.hash(&composed).await.unwrap(), "each has a salt of its own");
        let (valid, outdated) = (true, true);
        for (passwords, typed, expected) in [
            (&passwords, &composed, Verification { valid, outdated: false }),
            (&passwords, &decomposed, Verification { valid, outdated: false }),
            (&costlier, &composed, Verification { valid, outdated }),
            (&passwords, &Password::new("cafe").unwrap(), Verification { valid: false, outdated: false }),
        ] {
            assert_eq!(passwords.verify(typed, Some(&kept)).await.unwrap(), expected);
        }
        for kept in [None, Some(""), Some("$argon2id$"), Some("plain")] {
            assert!(!passwords.verify(&composed, kept).await.unwrap().valid, "{kept:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_told() {
        let passwords = passwords(1);
        let password = Password::new("x").unwrap();
        let _queue = Arc::clone(&passwords.0.queue).try_acquire_many_owned(2).unwrap();
        let refused = http::Error::from(passwords.hash(&password).await.unwrap_err());
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "PASSWORD_HASH_BUSY"));
    }
}
