//! Importers of the password hashes of widely used systems.

use std::fmt;

use aws_lc_rs::constant_time;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use unicode_normalization::UnicodeNormalization as _;

use super::{Password, PasswordHashImporter};

/// Importer of bcrypt hashes (`$2a$`, `$2b$`, `$2y$`), as Devise, Laravel and many others store them. As in those
/// systems, only the first 72 bytes of a password count, until its hash is replaced at the next sign-in. A hash whose cost
/// is above 16 matches no password.
///
/// ```
/// use omnistack_auth::password::{BcryptImporter, Password, PasswordHashImporter as _};
///
/// let hash = "$2y$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS";
/// let password = Password::new("correct horse battery").ok_or("longer than any password")?;
/// assert_eq!(BcryptImporter::default().verify(&password, hash), Some(true));
/// assert_eq!(BcryptImporter::default().verify(&password, "a hash of another kind"), None);
/// # Ok::<_, &str>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct BcryptImporter {
    pepper: Option<SecretString>,
}

impl BcryptImporter {
    /// Sets the text that the other system appends to each password: `config.pepper` of Devise.
    pub fn pepper(mut self, pepper: impl Into<SecretString>) -> Self {
        self.pepper = Some(pepper.into());
        self
    }
}

/// The largest cost of a bcrypt hash, which takes several seconds. Each further step takes twice as long, up to hours.
const MAX_BCRYPT_COST: u32 = 16;

impl PasswordHashImporter for BcryptImporter {
    fn verify(&self, password: &Password, hash: &str) -> Option<bool> {
        if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            return None;
        }
        let cost = hash.get(4..6).and_then(|digits| digits.parse::<u32>().ok());
        if cost.is_none_or(|cost| cost > MAX_BCRYPT_COST) {
            return Some(false);
        }
        let pepper = self.pepper.as_ref().map_or("", |pepper| pepper.expose_secret());
        let peppered = Zeroizing::new(format!("{}{pepper}", password.expose_secret()));
        Some(bcrypt::verify(peppered.as_bytes(), hash).unwrap_or(false))
    }
}

impl fmt::Debug for BcryptImporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BcryptImporter").field("pepper", &self.pepper.is_some()).finish()
    }
}

/// Importer of the scrypt hashes of Better Auth: `SALT:KEY`, both in hexadecimal.
///
/// ```
/// use omnistack_auth::{Auth, password::ScryptImporter};
///
/// let auth = Auth::built_in().import_hashes(ScryptImporter);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ScryptImporter;

/// The cost of Better Auth: 2^14 blocks of 16 × 128 bytes.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 16;
const SCRYPT_P: u32 = 1;
/// The length of a key of Better Auth, in bytes.
const SCRYPT_KEY_BYTES: usize = 64;

impl PasswordHashImporter for ScryptImporter {
    fn verify(&self, password: &Password, hash: &str) -> Option<bool> {
        let (salt, key) = hash.split_once(':')?;
        let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hex(salt) {
            return None;
        }
        let key = hex::decode(key).ok().filter(|key| key.len() == SCRYPT_KEY_BYTES)?;
        let typed: Zeroizing<String> = Zeroizing::new(password.expose_secret().nfkc().collect());
        let params = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).ok()?;
        let mut computed = [0_u8; SCRYPT_KEY_BYTES];
        // The salt is the text of its hexadecimal digits.
        scrypt::scrypt(typed.as_bytes(), salt.as_bytes(), &params, &mut computed).ok()?;
        Some(constant_time::verify_slices_are_equal(&computed, &key).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the library of Better Auth.
    const SCRYPT: &str = "3f2a9d0c77b1e4c85566aa0102030405:354b8bee116a4e31289e41ada6742b20f064560163af40160539ecbb80dd241\
                          dcf09e5fe3e76fe1343afa19560cd652a7e6ceed6cd336b1077a8889f0ea0d331";
    /// The hash of `café ﬁne` with the ligature.
    const SCRYPT_LIGATURE: &str = "3f2a9d0c77b1e4c85566aa0102030405:c6daa232df2752b8f5e7e7d10004462b1bb11e0d04a91d8ace32568\
                                   e1682cb2273c991b3b8c728c295466ce24d9483ea6287b539e7bd3010f145e8cc8f407614";

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    #[test]
    fn scrypt_hashes_of_better_auth_are_verified() {
        let ligature = password("caf\u{e9} \u{fb01}ne");
        for (password, hash, expected) in [
            (&password("correct horse battery"), SCRYPT, Some(true)),
            (&password("correct horse batterie"), SCRYPT, Some(false)),
            (&ligature, SCRYPT_LIGATURE, Some(true)),
            (&password("caf\u{e9} fine"), SCRYPT_LIGATURE, Some(true)),
            (&ligature, "3f2a:9d0c", None),
            (&ligature, ":", None),
            (&ligature, "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", None),
        ] {
            assert_eq!(ScryptImporter.verify(password, hash), expected, "{hash}");
        }
    }

    #[test]
    fn bcrypt_hashes_are_verified() {
        const HASH: &str = "abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS";
        let plain = BcryptImporter::default();
        for prefix in ["$2a$04$", "$2b$04$", "$2y$04$"] {
            let hash = format!("{prefix}{HASH}");
            assert_eq!(plain.verify(&password("correct horse battery"), &hash), Some(true), "{hash}");
            assert_eq!(plain.verify(&password("correct horse"), &hash), Some(false), "{hash}");
        }
        let peppered = "$2a$04$abcdefghijklmnopqrstuukgtoiuQ8LN721.68970rKNjI12gQRA.";
        assert_eq!(plain.clone().pepper("pepper").verify(&password("correct horse battery"), peppered), Some(true));
        assert_eq!(plain.verify(&password("correct horse battery"), peppered), Some(false));
        // Only 72 bytes count.
        let long = "$2a$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe";
        for length in [72, 73, 80] {
            assert_eq!(plain.verify(&password(&"a".repeat(length)), long), Some(true), "{length}");
        }
        assert_eq!(plain.verify(&password(&"a".repeat(71)), long), Some(false));
        let costly = format!("$2b$31${HASH}");
        for broken in ["$2a$", "$2a$99$x", "$2b$04$tooshort", costly.as_str()] {
            assert_eq!(plain.verify(&password("x"), broken), Some(false), "{broken}");
        }
    }
}
