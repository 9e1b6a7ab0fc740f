//! Second factors with codes: adding, removing and presenting them.

pub(crate) mod reset;
#[cfg(feature = "sms")]
pub(crate) mod sms_codes;
pub(crate) mod sources;

use std::fmt;

use ::http::StatusCode;
use omnistack_core::{
    db::Tx,
    http::{self, FieldError},
    identity::{AuthenticationContext, Identity, Require, UserId},
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Accounts, ClientInfo, MAX_FRESH_SIGN_IN_AGE};
use crate::{
    Error,
    lockout::Attempt,
    mail::{AccountMail, SecondFactorChange},
    mfa::{CodeCheck, PresentedFactor, SecondFactorState},
    session::TokenPair,
    users::store::accounts::{self as store, Account},
};

/// The kinds of second factors that produce codes.
#[derive(Clone, Copy)]
pub(crate) enum CodeKind {
    /// An authenticator app.
    Totp,
    #[cfg(feature = "sms")]
    /// A phone number that receives codes by SMS.
    Sms,
}

impl fmt::Display for CodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Totp => "authenticator app",
            #[cfg(feature = "sms")]
            Self::Sms => "phone number",
        })
    }
}

/// The secret of a new TOTP factor, shown once.
pub(crate) struct NewTotp {
    /// The secret in base32, for typing.
    pub(crate) secret: SecretString,
    /// The `otpauth://` URL, for a QR code.
    pub(crate) url: SecretString,
}

impl Accounts {
    /// Returns the caller's second factors.
    pub(crate) async fn second_factors(&self, caller: &Identity) -> Result<SecondFactorState, Error> {
        self.second_factor_state(self.own_account(caller).await?.id).await
    }

    /// Returns a user's second factors as the API shows them.
    pub(crate) async fn second_factor_state(&self, user: UserId) -> Result<SecondFactorState, Error> {
        let state = self.0.totp.state(user).await?;
        #[cfg(feature = "sms")]
        if let Some(texts) = &self.0.sms_codes {
            return Ok(SecondFactorState { sms: texts.state(user).await?, ..state });
        }
        Ok(state)
    }

    /// Checks that the caller may add a second factor or a passkey.
    ///
    /// # Errors
    /// 403 `EMAIL_NOT_VERIFIED` for an unverified address: a person who registers another person's address must not
    /// be able to lock its owner out with a second factor. 401 `SECOND_FACTOR_REQUIRED` for a caller with a second
    /// factor whose session has not presented it within the last ten minutes, because the new factor is worth as much
    /// as the existing one.
    pub(crate) async fn may_add_factor(&self, caller: &Identity, account: &Account) -> Result<(), Error> {
        if account.email.is_some() && account.email_verified_at.is_none() {
            let message = "verify your email address first";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "EMAIL_NOT_VERIFIED", message).into());
        }
        if !self.second_factors_of(account.id).await?.is_empty() {
            Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).second_factor().check(caller, &self.0.clock)?;
        }
        Ok(())
    }

    /// Creates a secret for an authenticator app. It replaces a secret that was never confirmed, and becomes a second
    /// factor when it is [confirmed](Self::confirm_factor).
    ///
    /// # Errors
    /// Those of [`may_add_factor`](Self::may_add_factor), and 409 `TOTP_EXISTS`.
    pub(crate) async fn begin_totp(&self, caller: &Identity) -> Result<NewTotp, Error> {
        let account = self.own_account(caller).await?;
        self.may_add_factor(caller, &account).await?;
        let mut tx = self.0.db.begin().await?;
        let totp = self.0.totp.begin_in(&mut tx, account.id).await?;
        tx.commit().await?;
        let Some(totp) = totp else {
            let message = "you already have an authenticator app; remove it first";
            return Err(http::Error::new(StatusCode::CONFLICT, "TOTP_EXISTS", message).into());
        };
        let name = account.email.as_deref().unwrap_or(&account.name);
        Ok(NewTotp { secret: totp.base32(), url: totp.url(&self.0.product, name) })
    }

    /// Confirms a second factor with its first code and revokes every other session. The caller's session counts as
    /// one with a second factor from then on.
    ///
    /// # Errors
    /// 422 for a wrong code, which counts towards the lockout as at sign-in; 409 `NOTHING_TO_CONFIRM`; 429
    /// `TOO_MANY_ATTEMPTS`.
    pub(crate) async fn confirm_factor(
        &self,
        caller: &Identity,
        factor: CodeKind,
        code: &str,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let account = self.own_account(caller).await?;
        let attempt = self.0.lockout.attempt_code(account.id, visitor.address).await?;
        let done = self.try_to_confirm(caller, &account, factor, code, &attempt, visitor).await;
        match self.undo_attempt_on_error(&attempt, done).await? {
            CodeCheck::Right => {}
            CodeCheck::Wrong => return self.refuse_code(&account, visitor).await,
            CodeCheck::NotPending => {
                let message =
                    format!("no {factor} is waiting for its first code, or its time has passed; add it again");
                return Err(http::Error::conflict("NOTHING_TO_CONFIRM", message).into());
            }
        }
        self.0.sessions.invalidate_user(account.id).await;
        if let Some(session) = caller.session {
            self.0.sessions.record_reauthentication(session, true).await?;
        }
        Ok(())
    }

    async fn try_to_confirm(
        &self,
        caller: &Identity,
        account: &Account,
        factor: CodeKind,
        code: &str,
        attempt: &Attempt,
        visitor: &ClientInfo,
    ) -> Result<CodeCheck, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        store::lock(&mut tx, account.id).await?;
        let (done, added) = match factor {
            CodeKind::Totp => (self.0.totp.confirm_in(&mut tx, account.id, code).await?, SecondFactorChange::TotpAdded),
            #[cfg(feature = "sms")]
            CodeKind::Sms => {
                (self.sms_codes()?.confirm_in(&mut tx, account.id, code).await?, SecondFactorChange::PhoneAdded)
            }
        };
        match done {
            CodeCheck::Right => {
                self.0.lockout.resolve_in(&mut tx, attempt, true).await?;
                self.factor_changed_in(&mut tx, caller, account, added, visitor).await?;
            }
            CodeCheck::NotPending => self.0.lockout.resolve_in(&mut tx, attempt, false).await?,
            // The attempt was counted when it began.
            CodeCheck::Wrong => {}
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Removes a second factor, an authenticator app with its recovery codes, and revokes every other session. The
    /// caller has presented a second factor. Fails with 404 if the user has no such factor.
    pub(crate) async fn remove_factor(
        &self,
        caller: &Identity,
        factor: CodeKind,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let account = self.own_account(caller).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        store::lock(&mut tx, account.id).await?;
        let (was_there, removed) = match factor {
            CodeKind::Totp => (self.0.totp.remove_in(&mut tx, account.id).await?, SecondFactorChange::TotpRemoved),
            #[cfg(feature = "sms")]
            CodeKind::Sms => {
                (crate::mfa::store::sms_codes::remove(&mut tx, account.id).await?, SecondFactorChange::PhoneRemoved)
            }
        };
        if !was_there {
            return Err(http::Error::not_found(format!("{factor} for codes")).into());
        }
        self.factor_changed_in(&mut tx, caller, &account, removed, visitor).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(())
    }

    /// Replaces the recovery codes and returns the new ones. The caller has presented a second factor. Fails with 409
    /// `NO_SECOND_FACTOR` if the user has no authenticator app.
    pub(crate) async fn renew_recovery_codes(
        &self,
        caller: &Identity,
        visitor: &ClientInfo,
    ) -> Result<Vec<SecretString>, Error> {
        let account = self.own_account(caller).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        store::lock(&mut tx, account.id).await?;
        let Some(codes) = self.0.totp.renew_in(&mut tx, account.id).await? else {
            let message = "recovery codes need an authenticator app; add one first";
            return Err(http::Error::new(StatusCode::CONFLICT, "NO_SECOND_FACTOR", message).into());
        };
        self.factor_changed_in(&mut tx, caller, &account, SecondFactorChange::RecoveryCodesRenewed, visitor).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(codes)
    }

    /// Completes a sign-in with a code: a TOTP code, a recovery code or an SMS code.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID` for an invalid challenge; 401 `SECOND_FACTOR_INVALID` for a wrong code; 429
    /// `TOO_MANY_ATTEMPTS`; 403 `ACCOUNT_DISABLED`.
    pub async fn complete_mfa_with_code(
        &self,
        challenge: &str,
        code: &str,
        visitor: &ClientInfo,
    ) -> Result<TokenPair, Error> {
        self.complete_mfa(challenge, visitor, |user| self.verify_code(user, code, visitor)).await
    }

    /// Verifies a code and records that the caller's session has presented a second factor now (step-up
    /// authentication). The code is a TOTP code, a recovery code or an SMS code.
    ///
    /// # Errors
    /// 422 for a wrong code; 429 `TOO_MANY_ATTEMPTS`; 403 for API keys, during impersonation and for a caller without
    /// a session of this app.
    pub async fn step_up(
        &self,
        caller: &Identity,
        code: &str,
        visitor: &ClientInfo,
    ) -> Result<AuthenticationContext, Error> {
        let account = self.own_account(caller).await?;
        let session = caller
            .session
            .ok_or_else(|| http::Error::forbidden("a code needs a session of this app; sign in first"))?;
        if !self.verify_code(account.id, code, visitor).await? {
            return self.refuse_code(&account, visitor).await;
        }
        self.0.sessions.record_reauthentication(session, true).await
    }

    /// Returns whether the code is valid for the user, and uses it up.
    async fn verify_code(&self, user: UserId, code: &str, visitor: &ClientInfo) -> Result<bool, Error> {
        let attempt = self.0.lockout.attempt_code(user, visitor.address).await?;
        let shown = self.try_code(user, code, &attempt, visitor).await;
        self.undo_attempt_on_error(&attempt, shown).await
    }

    async fn try_code(&self, user: UserId, code: &str, attempt: &Attempt, visitor: &ClientInfo) -> Result<bool, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let Some(account) = store::lock(&mut tx, user).await? else { return Ok(false) };
        let Some(shown) = self.use_code_in(&mut tx, user, code).await? else {
            // The commit keeps the count of wrong guesses of a code that was sent.
            tx.commit().await?;
            return Ok(false);
        };
        self.0.lockout.resolve_in(&mut tx, attempt, true).await?;
        if let PresentedFactor::RecoveryCode(left) = shown {
            let change = SecondFactorChange::RecoveryCodeUsed { left };
            let details = super::with_client_info(visitor, json!({ "left": left }));
            self.record_in(&mut tx, change.action(), &account, Some(user), Some(details)).await?;
            self.mail_in(&mut tx, AccountMail::SecondFactor { user, change }).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Uses up a TOTP code, a recovery code or an SMS code. Returns `None` if the code is none of them.
    async fn use_code_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<Option<PresentedFactor>, Error> {
        let shown = self.0.totp.use_in(tx, user, code).await?;
        #[cfg(feature = "sms")]
        if shown.is_none()
            && let Some(texts) = &self.0.sms_codes
            && texts.use_in(tx, user, code).await?
        {
            return Ok(Some(PresentedFactor::SmsCode));
        }
        Ok(shown)
    }

    /// Passes a result on. If it is an error, the attempt could not be judged and does not count towards the lockout.
    pub(crate) async fn undo_attempt_on_error<T>(&self, attempt: &Attempt, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            self.0.lockout.undo(attempt).await?;
        }
        done
    }

    /// Records a wrong code and fails with 422.
    pub(crate) async fn refuse_code<T>(&self, account: &Account, visitor: &ClientInfo) -> Result<T, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(&mut tx, "account.code_refused", account, Some(account.id), details).await?;
        tx.commit().await?;
        let message = "is wrong or was used before; enter the next code";
        Err(http::Error::invalid([FieldError::new("code", message)]).into())
    }

    /// Applies the consequences of every change to second factors: revokes the other sessions, records the change and
    /// notifies the user by email. The caller invalidates the user's cached sessions once the transaction is
    /// committed.
    pub(crate) async fn factor_changed_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        account: &Account,
        change: SecondFactorChange,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        self.0.sessions.revoke_all_in(tx, account.id, caller.session).await?;
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(tx, change.action(), account, Some(account.id), details).await?;
        self.mail_in(tx, AccountMail::SecondFactor { user: account.id, change }).await
    }
}
