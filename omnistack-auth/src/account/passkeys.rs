//! Passkeys of an account: adding, renaming and removing them, and sign-in with them.

use ::http::StatusCode;
use omnistack_core::{
    db::Tx,
    http::{self, FieldError},
    identity::{AuthenticationContext, Identity, UserId},
};
use serde_json::json;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{Accounts, ClientInfo, sign_in};
use crate::{
    Error,
    mail::SecondFactorChange,
    one_time_tokens::TokenPurpose,
    passkey::{
        Ceremony, MAX_CREDENTIAL_ID_BYTES, MAX_PASSKEYS_PER_USER, Passkey, PasskeyId, PasskeyRefusal, RelyingParty,
        store as passkey,
    },
    session::TokenPair,
    users::store::accounts::{self as store, Account},
};

/// The page's token of a ceremony and the credential that the device has signed.
pub(crate) struct SignedCredential {
    pub(crate) ceremony: String,
    pub(crate) credential: PublicKeyCredential,
}

impl Accounts {
    /// Returns the relying party. Fails with 404 if passkeys are disabled.
    fn relying_party(&self) -> Result<&RelyingParty, Error> {
        Ok(self.0.passkeys.as_ref().ok_or_else(|| http::Error::not_found("the passkey"))?)
    }

    /// Returns the caller's passkeys, the oldest first.
    pub(crate) async fn passkeys(&self, caller: &Identity) -> Result<Vec<Passkey>, Error> {
        Ok(passkey::list_for_user(&self.0.db, self.own_account(caller).await?.id).await?)
    }

    /// Starts the creation of a passkey for the caller. Returns the options for the browser.
    ///
    /// # Errors
    /// 403 `EMAIL_NOT_VERIFIED` and 401 `SECOND_FACTOR_REQUIRED`, as for all second factors.
    pub(crate) async fn begin_passkey(&self, caller: &Identity) -> Result<Ceremony, Error> {
        let account = self.own_account(caller).await?;
        self.may_add_factor(caller, &account).await?;
        let known = self.credentials(account.id).await?;
        let (options, state) = self.relying_party()?.start_registration(&account, &known)?;
        let mut tx = self.0.db.begin().await?;
        let token = self.0.one_time.issue_in(&mut tx, TokenPurpose::AddPasskey, account.id, Some(state)).await?;
        tx.commit().await?;
        Ok(Ceremony { token: token.into_secret(), options })
    }

    /// Adds the passkey that a device has created.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 422 for a credential that was not created for this site in this ceremony with user
    /// verification; 409 `PASSKEY_EXISTS` and `TOO_MANY_PASSKEYS`.
    pub(crate) async fn add_passkey(
        &self,
        caller: &Identity,
        ceremony: &str,
        made: &RegisterPublicKeyCredential,
        name: String,
        visitor: &ClientInfo,
    ) -> Result<Passkey, Error> {
        let account = self.own_account(caller).await?;
        self.may_add_factor(caller, &account).await?;
        let state = self.consume_ceremony(TokenPurpose::AddPasskey, ceremony, account.id).await?;
        let created = self
            .relying_party()?
            .finish_registration(&state, made)?
            .ok()
            .filter(|(id, _)| id.len() <= MAX_CREDENTIAL_ID_BYTES);
        let Some(created) = created else {
            let message = "is not a passkey created for this site, now and with user verification; try again";
            return Err(http::Error::invalid([FieldError::new("credential", message)]).into());
        };
        let now = self.0.clock.now();
        let passkey = Passkey { id: PasskeyId::new(now), name, created_at: now, last_used_at: None };
        let mut tx = self.0.db.all_tenants().begin().await?;
        store::lock(&mut tx, account.id).await?;
        if passkey::count(&mut tx, account.id).await? >= MAX_PASSKEYS_PER_USER {
            let message = "you have the maximum number of passkeys; remove one first";
            return Err(http::Error::conflict("TOO_MANY_PASSKEYS", message).into());
        }
        if !passkey::insert(&mut tx, account.id, &passkey, created).await? {
            return Err(http::Error::conflict("PASSKEY_EXISTS", "this passkey is already registered").into());
        }
        self.passkey_changed_in(&mut tx, &account, SecondFactorChange::PasskeyAdded, &passkey, visitor).await?;
        tx.commit().await?;
        Ok(passkey)
    }

    async fn passkey_changed_in(
        &self,
        tx: &mut Tx,
        account: &Account,
        change: SecondFactorChange,
        passkey: &Passkey,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let details = super::with_client_info(visitor, json!({ "passkey": passkey.id, "name": passkey.name }));
        self.record_in(tx, change.action(), account, Some(account.id), Some(details)).await?;
        self.mail_in(tx, crate::mail::AccountMail::SecondFactor { user: account.id, change }).await
    }

    /// Renames a passkey of the caller. Fails with 404 if the caller has no such passkey.
    pub(crate) async fn rename_passkey(
        &self,
        caller: &Identity,
        id: PasskeyId,
        name: &str,
        visitor: &ClientInfo,
    ) -> Result<Passkey, Error> {
        let account = self.own_account(caller).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let renamed = passkey::rename(&mut tx, account.id, id, name).await?;
        let renamed = renamed.ok_or_else(|| http::Error::not_found("the passkey"))?;
        let details = super::with_client_info(visitor, json!({ "passkey": id, "name": name }));
        self.record_in(&mut tx, "account.passkey_renamed", &account, Some(account.id), Some(details)).await?;
        tx.commit().await?;
        Ok(renamed)
    }

    /// Removes a passkey of the caller and revokes every other session. `offered` returns whether an issuer belongs
    /// to a provider of the app.
    ///
    /// # Errors
    /// 404 for an unknown passkey; 409 `LAST_SIGN_IN_METHOD` if no sign-in method would be left.
    pub(crate) async fn remove_passkey(
        &self,
        caller: &Identity,
        id: PasskeyId,
        offered: impl Fn(&str) -> bool,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let user = self.own_account(caller).await?.id;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        let name = passkey::remove(&mut tx, user, id).await?.ok_or_else(|| http::Error::not_found("the passkey"))?;
        // An account with a verified address can always get a magic link, with or without a password.
        let by_mail = account.email.is_some() && account.email_verified_at.is_some();
        let elsewhere = store::linked_identities(&mut tx, user).await?;
        if !by_mail && !elsewhere.iter().any(|one| offered(&one.issuer)) && passkey::count(&mut tx, user).await? == 0 {
            let message = "this is the last sign-in method; verify an email address or add another passkey first";
            return Err(http::Error::conflict("LAST_SIGN_IN_METHOD", message).into());
        }
        let change = SecondFactorChange::PasskeyRemoved;
        let details = super::with_client_info(visitor, json!({ "passkey": id, "name": name }));
        self.0.one_time.revoke_all_in(&mut tx, user).await?;
        self.0.sessions.revoke_all_in(&mut tx, user, caller.session).await?;
        self.record_in(&mut tx, change.action(), &account, Some(user), Some(details)).await?;
        self.mail_in(&mut tx, crate::mail::AccountMail::SecondFactor { user, change }).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(user).await;
        Ok(())
    }

    /// Starts a sign-in with a passkey. Returns options for the browser that are the same for every user.
    pub(crate) async fn start_passkey_sign_in(&self) -> Result<Ceremony, Error> {
        let (options, state) = self.relying_party()?.start_authentication(&[])?;
        let mut tx = self.0.db.begin().await?;
        let token = self.0.one_time.issue_anonymous_in(&mut tx, TokenPurpose::PasskeySignIn, state).await?;
        tx.commit().await?;
        Ok(Ceremony { token: token.into_secret(), options })
    }

    /// Signs in the user who has presented a passkey. It counts as two factors.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 401 `PASSKEY_REFUSED`, whatever the reason; and, only with a valid passkey, 403
    /// `ACCOUNT_DISABLED`.
    pub(crate) async fn sign_in_with_passkey(
        &self,
        shown: &SignedCredential,
        visitor: &ClientInfo,
    ) -> Result<TokenPair, Error> {
        let mut tx = self.0.db.begin().await?;
        let state = self.0.one_time.consume_anonymous_in(&mut tx, TokenPurpose::PasskeySignIn, &shown.ceremony).await?;
        // The ceremony is used up, also if the passkey is refused.
        tx.commit().await?;
        let state = state.ok_or_else(ceremony_invalid)?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        match self.verify_passkey_in(&mut tx, &state, &shown.credential, None).await? {
            Ok(account) => self.start_session(tx, account, sign_in::SignInMethod::Passkey, true, visitor).await,
            Err((account, refusal)) => {
                self.record_refusal_in(&mut tx, account.as_ref(), refusal, visitor).await?;
                tx.commit().await?;
                Err(passkey_refused().into())
            }
        }
    }

    /// Verifies a passkey. Returns the account it belongs to, with its row locked, or the reason for the refusal. If
    /// `expected` is set, the passkey must belong to that user.
    async fn verify_passkey_in(
        &self,
        tx: &mut Tx,
        state: &str,
        shown: &PublicKeyCredential,
        expected: Option<UserId>,
    ) -> Result<Result<Account, (Option<Account>, PasskeyRefusal)>, Error> {
        let party = self.relying_party()?;
        let unknown = || Ok(Err((None, PasskeyRefusal::Unknown)));
        let user = match (party.claimed_user(shown), expected) {
            (Some((user, _)), None) => UserId::from_uuid(user),
            // A device may leave out the user handle if it was asked for the credentials of one user.
            (whose, Some(user)) if whose.is_none_or(|(whose, _)| whose == user.uuid()) => user,
            _ => return unknown(),
        };
        let id = shown.get_credential_id();
        let Some(account) = store::lock(tx, user).await? else { return unknown() };
        let Some(row) = passkey::find(tx, user, id).await? else {
            return Ok(Err((Some(account), PasskeyRefusal::Unknown)));
        };
        match party.finish_authentication(state, shown, &row.credential)? {
            Ok(credential) => {
                passkey::record_use(tx, row.id, credential, self.0.clock.now()).await?;
                Ok(Ok(account))
            }
            Err(refusal) => Ok(Err((Some(account), refusal))),
        }
    }

    /// Records a refused passkey, up to this process's rate limit for such entries.
    async fn record_refusal_in(
        &self,
        tx: &mut Tx,
        account: Option<&Account>,
        refusal: PasskeyRefusal,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let reason = refusal.as_str();
        if refusal != PasskeyRefusal::Counter && !self.0.failure_log_limit.check(&(), 1).allowed {
            tracing::warn!(target: "omnistack::auth", address = visitor.device.address, reason,
                "a passkey was refused; it is not in the audit log, because there were too many");
            return Ok(());
        }
        let details = super::with_client_info(visitor, json!({ "how": "passkey", "reason": reason }));
        match account {
            Some(account) => self.record_in(tx, "account.passkey_refused", account, None, Some(details)).await,
            None => {
                let entry = omnistack_core::audit::AuditEntry::new("account.passkey_refused").details(details);
                Ok(self.0.audit.record_in(tx, entry).await?)
            }
        }
    }

    /// Starts a ceremony in which a user presents one of their passkeys. Fails with 409 `NO_PASSKEY` if the user has
    /// none.
    async fn start_passkey_verification(&self, user: UserId) -> Result<Ceremony, Error> {
        let known = self.credentials(user).await?;
        if known.is_empty() {
            return Err(http::Error::conflict("NO_PASSKEY", "there is no passkey; use another second factor").into());
        }
        let (options, state) = self.relying_party()?.start_authentication(&known)?;
        let mut tx = self.0.db.begin().await?;
        let token = self.0.one_time.issue_in(&mut tx, TokenPurpose::VerifyPasskey, user, Some(state)).await?;
        tx.commit().await?;
        Ok(Ceremony { token: token.into_secret(), options })
    }

    /// Returns whether the credential is a valid passkey of the user. Fails with 400 `TOKEN_INVALID` for an invalid
    /// ceremony.
    async fn verify_passkey_of(
        &self,
        user: UserId,
        shown: &SignedCredential,
        visitor: &ClientInfo,
    ) -> Result<bool, Error> {
        let state = self.consume_ceremony(TokenPurpose::VerifyPasskey, &shown.ceremony, user).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let judged = self.verify_passkey_in(&mut tx, &state, &shown.credential, Some(user)).await?;
        if let Err((account, refusal)) = &judged {
            self.record_refusal_in(&mut tx, account.as_ref(), *refusal, visitor).await?;
        }
        tx.commit().await?;
        Ok(judged.is_ok())
    }

    /// Starts a ceremony for a passkey as the second factor of a sign-in. The challenge stays valid.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 409 `NO_PASSKEY`.
    pub(crate) async fn start_passkey_mfa(&self, challenge: &str) -> Result<Ceremony, Error> {
        let row = self
            .0
            .one_time
            .peek(TokenPurpose::SecondFactor, challenge)
            .await
            .map_err(|_| sign_in::challenge_invalid())?;
        self.start_passkey_verification(row.user_id).await
    }

    /// Completes a sign-in with a passkey as its second factor.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub(crate) async fn complete_mfa_with_passkey(
        &self,
        challenge: &str,
        shown: &SignedCredential,
        visitor: &ClientInfo,
    ) -> Result<TokenPair, Error> {
        self.complete_mfa(challenge, visitor, |user| self.verify_passkey_of(user, shown, visitor)).await
    }

    /// Starts a ceremony in which the caller presents a passkey. Fails with 409 `NO_PASSKEY` if the caller has none.
    pub(crate) async fn start_passkey_step_up(&self, caller: &Identity) -> Result<Ceremony, Error> {
        self.start_passkey_verification(self.own_account(caller).await?.id).await
    }

    /// Verifies a passkey of the caller and records that the caller's session has presented a second factor now
    /// (step-up authentication).
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 422 for a passkey that does not belong to the caller; 403 for a caller without a session
    /// of this app.
    pub(crate) async fn step_up_with_passkey(
        &self,
        caller: &Identity,
        shown: &SignedCredential,
        visitor: &ClientInfo,
    ) -> Result<AuthenticationContext, Error> {
        let account = self.own_account(caller).await?;
        let session = caller
            .session
            .ok_or_else(|| http::Error::forbidden("a passkey needs a session of this app; sign in first"))?;
        if !self.verify_passkey_of(account.id, shown, visitor).await? {
            return Err(http::Error::invalid([FieldError::new("credential", "is not one of your passkeys")]).into());
        }
        self.0.sessions.record_reauthentication(session, true).await
    }

    async fn credentials(&self, user: UserId) -> Result<Vec<String>, Error> {
        let rows = passkey::credentials(&self.0.db, user).await?;
        Ok(rows.into_iter().map(|row| row.credential).collect())
    }

    /// Uses up a ceremony of the user and returns its stored state. Fails with 400 `TOKEN_INVALID` if the ceremony is
    /// not valid.
    async fn consume_ceremony(&self, purpose: TokenPurpose, ceremony: &str, user: UserId) -> Result<String, Error> {
        let mut tx = self.0.db.begin().await?;
        let row = self.0.one_time.consume_in(&mut tx, purpose, ceremony).await?;
        tx.commit().await?;
        Ok(row.filter(|row| row.user_id == user).and_then(|row| row.data).ok_or_else(ceremony_invalid)?)
    }
}

fn ceremony_invalid() -> http::Error {
    let message = "the ceremony is not valid, was used or has expired; start again";
    http::Error::bad_request("TOKEN_INVALID", message)
}

fn passkey_refused() -> http::Error {
    let message = "the passkey was refused; use another sign-in method";
    http::Error::new(StatusCode::UNAUTHORIZED, "PASSKEY_REFUSED", message)
}
