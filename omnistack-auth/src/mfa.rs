//! Second factors: TOTP codes of an authenticator app, and the recovery codes that replace them.
//!
//! The secret of an authenticator app is stored sealed, and is no second factor until its first code was verified. A
//! code is valid in its 30-second step and in the steps before and after, to allow for clock drift. Each code is used
//! once: using it marks its step and all earlier ones as used, in one statement, so that of two simultaneous requests
//! only one succeeds. A recovery code is a row that is deleted when it is used.

pub(crate) mod recovery_codes;
#[cfg(feature = "sms")]
pub(crate) mod sms_codes;
pub(crate) mod store;
pub(crate) mod totp;

use std::{fmt, time::Duration};

use omnistack_core::{
    clock::Clock,
    crypto::{KeyRing, SealContext},
    db::{Db, Tx},
    identity::UserId,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, mfa::totp::Totp};

pub(crate) use store::SecondFactorState;

/// The time in which a new secret must be confirmed by its first code.
pub(crate) const TOTP_CONFIRMATION_TTL: Duration = Duration::from_secs(15 * 60);

/// The service for TOTP and recovery codes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TotpService {
    db: Db,
    clock: Clock,
    ring: KeyRing,
}

/// The result of a first code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeCheck {
    /// No secret waits for its first code.
    NotPending,
    /// The code is wrong.
    Wrong,
    /// The code is right, and the secret is a second factor now.
    Right,
}

/// The second factor that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PresentedFactor {
    /// A TOTP code.
    Totp,
    /// A recovery code, and the number of codes left.
    RecoveryCode(i64),
    /// An SMS code.
    #[cfg(feature = "sms")]
    SmsCode,
}

impl TotpService {
    pub(crate) fn new(db: Db, clock: Clock, ring: KeyRing) -> Self {
        Self { db, clock, ring }
    }

    /// Returns the user's second factors as the API shows them.
    pub(crate) async fn state(&self, user: UserId) -> Result<SecondFactorState, Error> {
        Ok(store::state(&self.db, user).await?)
    }

    /// Returns the names of the user's second factors. With the user's row locked, they cannot change until the
    /// transaction ends.
    pub(crate) async fn names_in(&self, tx: &mut Tx, user: UserId) -> Result<Vec<String>, Error> {
        Ok(names(&store::state_in(tx, user).await?))
    }

    /// Creates a secret that must be confirmed. Returns `None` if the user already has a confirmed one.
    pub(crate) async fn begin_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<Totp>, Error> {
        let totp = Totp::random();
        let sealed = self.ring.seal(totp.secret(), &encryption_context(user))?;
        Ok(store::insert_unconfirmed(tx, user, sealed, self.clock.now()).await?.then_some(totp))
    }

    /// Makes the unconfirmed secret a second factor if this is its code, and uses the code up.
    pub(crate) async fn confirm_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<CodeCheck, Error> {
        let now = self.clock.now();
        let waiting = store::totp(tx, user).await?.filter(|row| row.confirmed_at.is_none());
        let Some(row) = waiting.filter(|row| now.duration_since(row.created_at) <= TOTP_CONFIRMATION_TTL) else {
            return Ok(CodeCheck::NotPending);
        };
        let Some(step) = self.open(user, &row.secret)?.steps(&without_white_space(code), now).pop() else {
            return Ok(CodeCheck::Wrong);
        };
        let right = store::confirm(tx, user, &row.secret, step, now).await?;
        Ok(if right { CodeCheck::Right } else { CodeCheck::NotPending })
    }

    /// Uses up a TOTP code or a recovery code. Returns `None` if the code is not valid.
    pub(crate) async fn use_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<Option<PresentedFactor>, Error> {
        let Some(row) = store::totp(tx, user).await?.filter(|row| row.confirmed_at.is_some()) else {
            return Ok(None);
        };
        if let Some(hash) = recovery_codes::hash(code) {
            return Ok(store::consume_recovery_code(tx, user, hash).await?.map(PresentedFactor::RecoveryCode));
        }
        for step in self.open(user, &row.secret)?.steps(&without_white_space(code), self.clock.now()) {
            if store::consume_step(tx, user, &row.secret, step).await? {
                return Ok(Some(PresentedFactor::Totp));
            }
        }
        Ok(None)
    }

    /// Replaces the recovery codes and returns the new ones. Returns `None` if the user has no confirmed
    /// authenticator app.
    pub(crate) async fn renew_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<Vec<SecretString>>, Error> {
        if store::totp(tx, user).await?.is_none_or(|row| row.confirmed_at.is_none()) {
            return Ok(None);
        }
        let codes: Vec<SecretString> = (0..recovery_codes::CODES_PER_USER).map(|_| recovery_codes::random()).collect();
        let hashes = codes.iter().filter_map(|code| recovery_codes::hash(code.expose_secret())).collect();
        store::replace_recovery_codes(tx, user, hashes, self.clock.now()).await?;
        Ok(Some(codes))
    }

    /// Deletes the secret and the recovery codes. Returns whether there was a secret.
    pub(crate) async fn remove_in(&self, tx: &mut Tx, user: UserId) -> Result<bool, Error> {
        Ok(store::remove(tx, user).await?)
    }

    /// Opens the sealed secret of a user. Fails if it was sealed with an unknown key or has a wrong length.
    fn open(&self, user: UserId, sealed: &str) -> Result<Totp, Error> {
        Totp::from_secret(self.ring.open(sealed, &encryption_context(user))?.expose_secret())
            .ok_or_else(Error::invalid_key)
    }
}

/// Returns the names of the second factors in a state.
fn names(state: &SecondFactorState) -> Vec<String> {
    let mut ways = Vec::new();
    if state.totp_since.is_some() {
        ways.push("totp".to_owned());
        if state.recovery_codes > 0 {
            ways.push("recovery_code".to_owned());
        }
    }
    ways
}

fn encryption_context(user: UserId) -> SealContext {
    SealContext::row("omni_totp_secrets", "secret", user)
}

/// Removes white space from a code: authenticator apps show a code in two groups, and users type it so.
pub(crate) fn without_white_space(code: &str) -> String {
    code.chars().filter(|letter| !letter.is_whitespace()).collect()
}

impl fmt::Debug for TotpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factors")
    }
}
