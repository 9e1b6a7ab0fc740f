//! Tokens that are sent by mail, or handed over between two steps, and are good once.
//!
//! A token has 256 random bits; only its hash is kept, with what it is for and until when. A new one takes the place of
//! the user's others of the same purpose. Using it up is one statement with every condition in it, so of two who come with
//! it at once, one gets it.

use std::time::Duration;

use omnistack_core::{
    clock::Clock,
    crypto::{Sha256, Token},
    db::{Db, Tx},
    http,
    identity::UserId,
};

use crate::{Error, store::one_time as store};

pub(crate) use store::Row;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "passkeys"), expect(dead_code, reason = "three are of passkeys"))]
pub(crate) enum Purpose {
    /// Shows that the address is the user's.
    VerifyEmail,
    /// Shows that the new address is the user's; carries it.
    ChangeEmail,
    ResetPassword,
    MagicLink,
    /// The password was right; a second factor is to be shown.
    SecondFactor,
    /// The way to a provider and back; kept once it is used.
    Social,
    /// A device is to make a passkey; carries what belongs to it.
    AddPasskey,
    /// A device is to show a passkey of the user's.
    ShowPasskey,
    /// A device is to show a passkey of anybody's.
    Passkey,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Purpose {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ChangeEmail => "change_email",
            Self::ResetPassword => "reset_password",
            Self::MagicLink => "magic_link",
            Self::SecondFactor => "second_factor",
            Self::Social => "social",
            Self::AddPasskey => "add_passkey",
            Self::ShowPasskey => "show_passkey",
            Self::Passkey => "passkey",
        }
    }

    /// How long it is good.
    pub(crate) const fn lifetime(self) -> Duration {
        match self {
            Self::VerifyEmail | Self::ChangeEmail => Duration::from_secs(24 * HOUR.as_secs()),
            Self::ResetPassword => HOUR,
            // No longer than OWASP asks of what signs in (ASVS 5.0.0, 6.5.5).
            Self::MagicLink | Self::Social => Duration::from_secs(10 * 60),
            Self::SecondFactor | Self::AddPasskey | Self::ShowPasskey | Self::Passkey => Duration::from_secs(5 * 60),
        }
    }
}

/// What a token begins with.
const PREFIX: &str = "omo_";

/// Makes and takes one-time tokens.
#[derive(Clone, Debug)]
pub(crate) struct OneTime {
    db: Db,
    clock: Clock,
}

impl OneTime {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// A new token of a user, in place of those before it.
    pub(crate) async fn issue_in(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        user: UserId,
        data: Option<String>,
    ) -> Result<Token, Error> {
        let (token, now) = (Token::with_prefix(PREFIX), self.clock.now());
        let row = Row { user_id: user, data };
        store::replace(tx, token.hash(), purpose.as_str(), row, now, now + purpose.lifetime()).await?;
        Ok(token)
    }

    /// A new token of nobody known yet.
    #[cfg(feature = "passkeys")]
    pub(crate) async fn issue_for_anybody_in(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        data: String,
    ) -> Result<Token, Error> {
        let (token, now) = (Token::with_prefix(PREFIX), self.clock.now());
        store::insert_for_anybody(tx, token.hash(), purpose.as_str(), data, (now, now + purpose.lifetime())).await?;
        Ok(token)
    }

    /// Uses up a token of nobody known yet; what it carries, or nothing for one that is not good.
    #[cfg(feature = "passkeys")]
    pub(crate) async fn take_from_anybody_in(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        token: &str,
    ) -> Result<Option<String>, Error> {
        Ok(store::take_from_anybody(tx, Sha256::of(token), purpose.as_str(), self.clock.now()).await?)
    }

    /// What a token carries, while it is good. It stays so.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`.
    pub(crate) async fn look(&self, purpose: Purpose, token: &str) -> Result<Row, Error> {
        let row = store::look(&self.db, Sha256::of(token), purpose.as_str(), self.clock.now()).await?;
        Ok(row.ok_or_else(invalid)?)
    }

    /// Uses a token up; nothing for one that is not good.
    pub(crate) async fn take_in(&self, tx: &mut Tx, purpose: Purpose, token: &str) -> Result<Option<Row>, Error> {
        Ok(store::take(tx, Sha256::of(token), purpose.as_str(), self.clock.now()).await?)
    }

    /// Whether a token the app has sealed and not kept comes for the first time. It is remembered until nobody could use
    /// it any more.
    pub(crate) async fn first(&self, purpose: Purpose, token: &str) -> Result<bool, Error> {
        let now = self.clock.now();
        let until = now + purpose.lifetime() + HOUR;
        Ok(store::first(&self.db, Sha256::of(token), purpose.as_str(), now, until).await?)
    }

    /// Uses up all of a user.
    pub(crate) async fn revoke_all_in(&self, tx: &mut Tx, user: UserId) -> Result<(), Error> {
        Ok(store::revoke_all(tx, user).await?)
    }

    /// Deletes expired ones, at most so many.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::sweep(&self.db, self.clock.now(), limit).await?)
    }
}

pub(crate) fn invalid() -> http::Error {
    http::Error::bad_request("TOKEN_INVALID", "the link is not valid, was used or has expired; ask for a new one")
}
