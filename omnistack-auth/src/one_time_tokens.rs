//! One-time tokens: secrets that are sent by email, or passed between two steps of a flow, and are used once.
//!
//! A token has 256 random bits; only its hash is stored, with its purpose and its expiry. A new token replaces the
//! user's other tokens for the same purpose. One statement checks all conditions and uses the token up, so of two
//! simultaneous requests only one succeeds.

pub(crate) mod store;

use std::time::Duration;

use omnistack_core::{
    clock::Clock,
    crypto::{Sha256, Token},
    db::{Db, Tx},
    http,
    identity::UserId,
};

use crate::Error;

pub(crate) use store::OneTimeTokenRow;

/// The purpose of a one-time token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "passkeys"), expect(dead_code, reason = "three are of passkeys"))]
pub(crate) enum TokenPurpose {
    /// Verifies the user's address.
    VerifyEmail,
    /// Verifies the user's new address, which the token carries.
    ChangeEmail,
    /// Resets the password.
    ResetPassword,
    /// Signs in.
    MagicLink,
    /// Continues a sign-in that waits for its second factor.
    SecondFactor,
    /// An authorization request to an identity provider. Kept after use, so that it is not used twice.
    Social,
    /// The creation of a passkey; carries the state of the ceremony.
    AddPasskey,
    /// The presentation of a passkey of a known user.
    VerifyPasskey,
    /// The sign-in with a passkey of any user.
    PasskeySignIn,
}

const HOUR: Duration = Duration::from_secs(3600);

impl TokenPurpose {
    /// Returns the purpose as stored in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ChangeEmail => "change_email",
            Self::ResetPassword => "reset_password",
            Self::MagicLink => "magic_link",
            Self::SecondFactor => "second_factor",
            Self::Social => "social",
            Self::AddPasskey => "add_passkey",
            Self::VerifyPasskey => "show_passkey",
            Self::PasskeySignIn => "passkey",
        }
    }

    /// Returns the lifetime of a token.
    pub(crate) const fn lifetime(self) -> Duration {
        match self {
            Self::VerifyEmail | Self::ChangeEmail => Duration::from_secs(24 * HOUR.as_secs()),
            Self::ResetPassword => HOUR,
            // The maximum that OWASP allows for a sign-in link (ASVS 5.0.0, 6.5.5).
            Self::MagicLink | Self::Social => Duration::from_secs(10 * 60),
            Self::SecondFactor | Self::AddPasskey | Self::VerifyPasskey | Self::PasskeySignIn => {
                Duration::from_secs(5 * 60)
            }
        }
    }
}

/// The prefix of a one-time token.
const PREFIX: &str = "omo_";

/// The one-time tokens: creates them and uses them up.
#[derive(Clone, Debug)]
pub(crate) struct OneTimeTokens {
    db: Db,
    clock: Clock,
}

impl OneTimeTokens {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Creates a token of a user, which replaces the user's tokens for the same purpose.
    pub(crate) async fn issue_in(
        &self,
        tx: &mut Tx,
        purpose: TokenPurpose,
        user: UserId,
        data: Option<String>,
    ) -> Result<Token, Error> {
        let (token, now) = (Token::with_prefix(PREFIX), self.clock.now());
        let row = OneTimeTokenRow { user_id: user, data };
        store::replace(tx, token.hash(), purpose.as_str(), row, now, now + purpose.lifetime()).await?;
        Ok(token)
    }

    /// Creates a token that belongs to no user yet.
    #[cfg(feature = "passkeys")]
    pub(crate) async fn issue_anonymous_in(
        &self,
        tx: &mut Tx,
        purpose: TokenPurpose,
        data: String,
    ) -> Result<Token, Error> {
        let (token, now) = (Token::with_prefix(PREFIX), self.clock.now());
        store::insert_anonymous(tx, token.hash(), purpose.as_str(), data, (now, now + purpose.lifetime())).await?;
        Ok(token)
    }

    /// Uses up a token that belongs to no user. Returns its data, or `None` if the token is not valid.
    #[cfg(feature = "passkeys")]
    pub(crate) async fn consume_anonymous_in(
        &self,
        tx: &mut Tx,
        purpose: TokenPurpose,
        token: &str,
    ) -> Result<Option<String>, Error> {
        Ok(store::consume_anonymous(tx, Sha256::digest(token), purpose.as_str(), self.clock.now()).await?)
    }

    /// Returns a valid token's user and data, without using it up.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`.
    pub(crate) async fn peek(&self, purpose: TokenPurpose, token: &str) -> Result<OneTimeTokenRow, Error> {
        let row = store::peek(&self.db, Sha256::digest(token), purpose.as_str(), self.clock.now()).await?;
        Ok(row.ok_or_else(token_invalid)?)
    }

    /// Uses up a token. Returns its user and data, or `None` if the token is not valid.
    pub(crate) async fn consume_in(
        &self,
        tx: &mut Tx,
        purpose: TokenPurpose,
        token: &str,
    ) -> Result<Option<OneTimeTokenRow>, Error> {
        Ok(store::consume(tx, Sha256::digest(token), purpose.as_str(), self.clock.now()).await?)
    }

    /// Returns whether a sealed token that is not stored is used for the first time, and stores its hash until an
    /// hour after its expiry.
    pub(crate) async fn mark_used(&self, purpose: TokenPurpose, token: &str) -> Result<bool, Error> {
        let now = self.clock.now();
        let until = now + purpose.lifetime() + HOUR;
        Ok(store::mark_used(&self.db, Sha256::digest(token), purpose.as_str(), now, until).await?)
    }

    /// Deletes all one-time tokens of a user.
    pub(crate) async fn revoke_all_in(&self, tx: &mut Tx, user: UserId) -> Result<(), Error> {
        Ok(store::revoke_all(tx, user).await?)
    }

    /// Deletes expired tokens, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::delete_expired(&self.db, self.clock.now(), limit).await?)
    }
}

pub(crate) fn token_invalid() -> http::Error {
    http::Error::bad_request("TOKEN_INVALID", "the link is not valid, was used or has expired; ask for a new one")
}
