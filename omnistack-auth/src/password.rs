//! Passwords: the password policy, hashing and verification.
//!
//! A password is normalised (Unicode NFC, so that the same keys typed on two devices give the same password), checked
//! for its length and for how early it would be guessed, and stored as an Argon2id hash in a PHC string. There are no
//! rules about digits or capital letters, and passwords do not expire (NIST SP 800-63B-4, section 3.1.1.2).
//!
//! Hashing uses memory and a CPU core by design, so the number of simultaneous hashes and the number of waiting
//! requests are limited. A request beyond these limits fails with 503 `PASSWORD_HASH_BUSY` and `Retry-After`. Verifying the
//! password of a user who does not exist computes the same hash as for one who does.
//!
//! An app can have passwords looked up in a list of breached ones with a [`PasswordCheck`]:
//!
//! ```
//! use omnistack_auth::{Auth, password::{Password, PasswordCheck}};
//! use omnistack_core::{ExposeSecret as _, BoxError, async_trait};
//!
//! struct Leaked(std::collections::HashSet<String>);
//!
//! #[async_trait]
//! impl PasswordCheck for Leaked {
//!     async fn is_breached(&self, password: &Password) -> Result<bool, BoxError> {
//!         Ok(self.0.contains(password.expose_secret()))
//!     }
//! }
//!
//! let auth = Auth::built_in().password_check(Leaked(["an unlucky password".to_owned()].into()));
//! ```

mod common_passwords;
mod hash;
mod import;
#[cfg(feature = "password-import")]
mod import_known;
mod policy;

pub(crate) use hash::Hashing;
pub use hash::{Passwords, Verification};
pub(crate) use import::HashImporters;
pub use import::PasswordHashImporter;
#[cfg(feature = "password-import")]
pub use import_known::{BcryptImporter, ScryptImporter};
pub use policy::MAX_PASSWORD_CHARS;
pub(crate) use policy::{PasswordProblem, find_problem};

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::BoxError;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::Error as _};
use unicode_normalization::UnicodeNormalization as _;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

/// A password as typed by a user, in NFC, of at most [`MAX_PASSWORD_CHARS`] characters. It is wiped from memory when
/// dropped, and its `Debug` output is redacted.
///
/// ```
/// use omnistack_auth::password::{MAX_PASSWORD_CHARS, Password};
/// use omnistack_core::ExposeSecret as _;
///
/// // One keyboard sends `é` as one character, another as a letter and a combining accent.
/// let typed = Password::new("cafe\u{301} at noon").ok_or("longer than any password")?;
/// assert_eq!(typed.expose_secret(), "caf\u{e9} at noon");
/// assert_eq!(format!("{typed:?}"), "Password(…)");
/// assert!(Password::new(&"x".repeat(MAX_PASSWORD_CHARS + 1)).is_none());
/// # Ok::<_, &str>(())
/// ```
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Creates a password from typed text. Returns `None` if it has more than [`MAX_PASSWORD_CHARS`] characters.
    pub fn new(typed: &str) -> Option<Self> {
        // NFC changes the length of a text by a factor of three at most, in bytes.
        if typed.len() > 3 * 4 * MAX_PASSWORD_CHARS {
            return None;
        }
        let text: String = typed.nfc().collect();
        (text.chars().count() <= MAX_PASSWORD_CHARS).then(|| Self(text.into()))
    }
}

impl ExposeSecret<str> for Password {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| D::Error::custom(format!("must have at most {MAX_PASSWORD_CHARS} characters")))
    }
}

impl PartialSchema for Password {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .max_length(Some(MAX_PASSWORD_CHARS))
            .pattern(Some("^[^\\x00]*$"))
            .into()
    }
}

/// Named so that generated clients have no type called `Password`, which would hide a type of some languages.
impl ToSchema for Password {
    fn name() -> Cow<'static, str> {
        "AccountPassword".into()
    }
}

/// A check whether a password is known from a data breach.
///
/// ```
/// use omnistack_auth::password::{Password, PasswordCheck};
/// use omnistack_core::{crypto::Sha256, ExposeSecret as _, BoxError, async_trait};
/// use std::{collections::HashSet, sync::OnceLock};
///
/// /// The hashes of leaked passwords, which a job loads some time after the start.
/// #[derive(Default)]
/// struct Leaked(OnceLock<HashSet<String>>);
///
/// #[async_trait]
/// impl PasswordCheck for Leaked {
///     async fn is_breached(&self, password: &Password) -> Result<bool, BoxError> {
///         let hashes = self.0.get().ok_or("the list is not read yet")?;
///         Ok(hashes.contains(&Sha256::digest(password.expose_secret()).to_string()))
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let (leaked, password) = (Leaked::default(), Password::new("an unlucky password").ok_or("too long")?);
/// # assert!(leaked.is_breached(&password).await.is_err());
/// # leaked.0.get_or_init(|| [Sha256::digest("an unlucky password").to_string()].into());
/// # assert!(leaked.is_breached(&password).await?);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait PasswordCheck: Send + Sync + 'static {
    /// Returns whether the password is known to have leaked.
    ///
    /// # Errors
    /// Returns an error if the check is not possible now. The password is accepted then, and the error is logged.
    async fn is_breached(&self, password: &Password) -> Result<bool, BoxError>;
}

/// The app's [`PasswordCheck`], if it has one.
#[derive(Clone, Default)]
pub(crate) struct BreachedPasswordCheck(pub(crate) Option<Arc<dyn PasswordCheck>>);

impl BreachedPasswordCheck {
    /// Returns whether the app's check reports the password as breached; `false` if the app has no check or the check
    /// fails.
    pub(crate) async fn is_breached(&self, password: &Password) -> bool {
        let Some(check) = &self.0 else { return false };
        check.is_breached(password).await.unwrap_or_else(|error| {
            tracing::warn!(target: "omnistack::auth", %error,
                "the check for breached passwords failed; a password was accepted unchecked");
            false
        })
    }
}

impl fmt::Debug for BreachedPasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Breaches").field(&self.0.is_some()).finish()
    }
}
