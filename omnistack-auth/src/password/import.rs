//! Password hashes of other systems.

use std::{fmt, sync::Arc};

use super::Password;

/// Verification of password hashes that another system has computed, for accounts that come from there.
///
/// [`Auth::import_hashes`](crate::Auth::import_hashes) adds one, and
/// [`NewUser::with_password_hash`](crate::users::NewUser::with_password_hash) stores such a hash. At the next sign-in
/// with the right password, a hash of this app takes its place. Hashes of Argon2 in PHC strings, such as those of
/// Laravel, need no importer. The feature `password-import` has importers for bcrypt and scrypt.
///
/// It runs on a thread for blocking work, within the limits of [`Passwords`](super::Passwords).
///
/// ```
/// use omnistack_auth::{Auth, password::{Password, PasswordHashImporter}};
/// use omnistack_core::{ExposeSecret as _, crypto::Sha256};
///
/// /// An old shop that stored `sha256:HEX`.
/// struct OldShop;
///
/// impl PasswordHashImporter for OldShop {
///     fn verify(&self, password: &Password, hash: &str) -> Option<bool> {
///         let stored = hash.strip_prefix("sha256:")?;
///         Some(Sha256::digest(password.expose_secret()).to_string() == stored)
///     }
/// }
///
/// let auth = Auth::built_in().import_hashes(OldShop);
/// ```
pub trait PasswordHashImporter: Send + Sync + 'static {
    /// Returns whether the password is that of the hash. Returns `None` if the hash has another form, so that the next
    /// importer is asked. It should compare in constant time.
    fn verify(&self, password: &Password, hash: &str) -> Option<bool>;
}

/// The importers of the app. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct HashImporters(Vec<Arc<dyn PasswordHashImporter>>);

impl HashImporters {
    pub(crate) fn add(&mut self, importer: impl PasswordHashImporter) {
        self.0.push(Arc::new(importer));
    }

    /// Returns whether the password is that of the hash, or `None` if no importer knows the form of the hash.
    pub(super) fn verify(&self, password: &Password, hash: &str) -> Option<bool> {
        self.0.iter().find_map(|importer| importer.verify(password, hash))
    }
}

impl fmt::Debug for HashImporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HashImporters").field(&self.0.len()).finish()
    }
}
