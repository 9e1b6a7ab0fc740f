//! Second factors: codes of an app on the user's phone, and the recovery codes that stand in for them.
//!
//! The secret of an app is sealed, and is no factor until its first code was shown. A code is good in its 30 seconds and
//! the 30 before and after, for clocks that are off; once, for the step it belongs to is used up with all before it, in
//! one statement, so that of two who come with it at once, one gets it. A recovery code is a row that is deleted by its
//! use.

pub(crate) mod recovery;
pub(crate) mod totp;

use std::{fmt, time::Duration};

use omnistack_core::{
    clock::Clock,
    crypto::{Context, KeyRing},
    db::{Db, Tx},
    identity::UserId,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, store::factor as store};
use totp::Totp;

pub(crate) use store::SecondFactorState;

/// How long a secret waits for its first code.
pub(crate) const TO_CONFIRM: Duration = Duration::from_secs(15 * 60);

/// The second factors of users. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Factors {
    db: Db,
    clock: Clock,
    ring: KeyRing,
}

/// What came of the first code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// No secret waits for one.
    Nothing,
    Wrong,
    Right,
}

/// What was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Totp,
    /// And how many are left.
    RecoveryCode(i64),
    /// A code that was sent.
    #[cfg(feature = "sms")]
    TextMessage,
}

impl Factors {
    pub(crate) fn new(db: Db, clock: Clock, ring: KeyRing) -> Self {
        Self { db, clock, ring }
    }

    pub(crate) async fn state(&self, user: UserId) -> Result<SecondFactorState, Error> {
        Ok(store::state(&self.db, user).await?)
    }

    /// By which ways the user can show one. With the user's row held, it stays so.
    pub(crate) async fn of_in(&self, tx: &mut Tx, user: UserId) -> Result<Vec<String>, Error> {
        Ok(ways(&store::state_in(tx, user).await?))
    }

    /// A new secret, which is no factor yet; nothing for who has one that is.
    pub(crate) async fn begin_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<Totp>, Error> {
        let totp = Totp::random();
        let sealed = self.ring.seal(totp.secret(), &place(user))?;
        Ok(store::begin(tx, user, sealed, self.clock.now()).await?.then_some(totp))
    }

    /// Makes the secret that waits a factor, if this is its code. That code is used up.
    pub(crate) async fn confirm_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<Confirmed, Error> {
        let now = self.clock.now();
        let waiting = store::totp(tx, user).await?.filter(|row| row.confirmed_at.is_none());
        let Some(row) = waiting.filter(|row| now.since(row.created_at) <= TO_CONFIRM) else {
            return Ok(Confirmed::Nothing);
        };
        let Some(step) = self.open(user, &row.secret)?.steps(&plain(code), now).pop() else {
            return Ok(Confirmed::Wrong);
        };
        let right = store::confirm(tx, user, &row.secret, step, now).await?;
        Ok(if right { Confirmed::Right } else { Confirmed::Nothing })
    }

    /// Uses up a code of the app or a recovery code; nothing for one that is not good.
    pub(crate) async fn use_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<Option<Shown>, Error> {
        let Some(row) = store::totp(tx, user).await?.filter(|row| row.confirmed_at.is_some()) else {
            return Ok(None);
        };
        if let Some(hash) = recovery::hash(code) {
            return Ok(store::use_recovery_code(tx, user, hash).await?.map(Shown::RecoveryCode));
        }
        for step in self.open(user, &row.secret)?.steps(&plain(code), self.clock.now()) {
            if store::use_step(tx, user, &row.secret, step).await? {
                return Ok(Some(Shown::Totp));
            }
        }
        Ok(None)
    }

    /// New recovery codes in place of those before; nothing for who has no factor they could stand in for.
    pub(crate) async fn renew_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<Vec<SecretString>>, Error> {
        if store::totp(tx, user).await?.is_none_or(|row| row.confirmed_at.is_none()) {
            return Ok(None);
        }
        let codes: Vec<SecretString> = (0..recovery::MANY).map(|_| recovery::random()).collect();
        let hashes = codes.iter().filter_map(|code| recovery::hash(code.expose_secret())).collect();
        store::replace_recovery_codes(tx, user, hashes, self.clock.now()).await?;
        Ok(Some(codes))
    }

    /// Removes the app's secret and the recovery codes; whether there was one.
    pub(crate) async fn remove_in(&self, tx: &mut Tx, user: UserId) -> Result<bool, Error> {
        Ok(store::remove(tx, user).await?)
    }

    fn open(&self, user: UserId, sealed: &str) -> Result<Totp, Error> {
        Totp::from_secret(self.ring.open(sealed, &place(user))?.expose_secret()).ok_or_else(Error::key)
    }
}

fn ways(state: &SecondFactorState) -> Vec<String> {
    let mut ways = Vec::new();
    if state.totp_since.is_some() {
        ways.push("totp".to_owned());
        if state.recovery_codes > 0 {
            ways.push("recovery_code".to_owned());
        }
    }
    ways
}

fn place(user: UserId) -> Context {
    Context::row("totp_secrets", "secret", user)
}

/// Apps show a code in two groups, and people type it so.
pub(crate) fn plain(code: &str) -> String {
    code.chars().filter(|letter| !letter.is_whitespace()).collect()
}

impl fmt::Debug for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factors")
    }
}
