//! Sign-in by password or magic link, and its completion with a second factor.

use std::time::Duration;

use ::http::StatusCode;
use omnistack_core::{db::Tx, http, identity::UserId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Accounts, ClientInfo};
use crate::{
    Error,
    lockout::{Attempt, KnownSource},
    mail::AccountMail,
    one_time_tokens::{self, TokenPurpose},
    password::Password,
    session::{NewSession, TokenPair},
    users::{
        normalize_email, parse_email,
        store::accounts::{self as store, Account},
    },
};

/// The outcome of a sign-in.
///
/// ```
/// use omnistack_auth::{Error, account::{Accounts, SignInOutcome, ClientInfo}, password::Password};
/// use omnistack_core::ExposeSecret as _;
/// use serde_json::{Value, json};
///
/// async fn sign_in(accounts: &Accounts, email: &str, password: &Password, from: &ClientInfo) -> Result<Value, Error> {
///     Ok(match accounts.sign_in(email, password, from).await? {
///         SignInOutcome::Authenticated(tokens) => json!({ "token": tokens.access.expose_secret() }),
///         SignInOutcome::MfaRequired(challenge) => {
///             json!({ "challenge": challenge.token.expose_secret(), "show_one_of": challenge.methods })
///         }
///     })
/// }
/// ```
#[derive(Clone, Debug)]
pub enum SignInOutcome {
    /// The session, if no second factor is needed.
    Authenticated(TokenPair),
    /// The challenge, if a second factor is required first.
    MfaRequired(MfaChallenge),
}

/// A sign-in that waits for its second factor; the first factor was right.
///
/// ```
/// use omnistack_auth::{Error, account::{Accounts, MfaChallenge, ClientInfo}, session::TokenPair};
/// use omnistack_core::ExposeSecret as _;
/// # use omnistack_core::identity::UserId;
/// # fn number_of_card(_: UserId) -> String { String::new() }
///
/// async fn go_on(accounts: &Accounts, half: &MfaChallenge, shown: &str, from: &ClientInfo) -> Result<TokenPair, Error> {
///     let token = half.token.expose_secret();
///     if half.methods.iter().any(|way| way == "card") {
///         // A second factor that the app provides.
///         return accounts.complete_mfa(token, from, async |user| Ok(number_of_card(user) == shown)).await;
///     }
///     accounts.complete_mfa_with_code(token, shown, from).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MfaChallenge {
    /// The one-time token of the challenge, for [`complete_mfa`](Accounts::complete_mfa).
    pub token: SecretString,
    /// The second factors that the user can present, such as `totp`.
    pub methods: Vec<String>,
    /// The time until the challenge expires.
    pub expires_in: Duration,
}

/// The sign-in method that a user has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SignInMethod {
    Password,
    MagicLink,
    /// An identity provider.
    Social,
    /// The registration of a new account by an invitation.
    Invitation,
    #[cfg(feature = "passkeys")]
    Passkey,
}

impl SignInMethod {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::MagicLink => "magic_link",
            Self::Social => "social",
            Self::Invitation => "invitation",
            #[cfg(feature = "passkeys")]
            Self::Passkey => "passkey",
        }
    }
}

impl Accounts {
    /// Signs a user in with an email address and a password.
    ///
    /// # Errors
    /// 401 `CREDENTIALS_INVALID`, the same for a wrong password and an unknown account; 429 `TOO_MANY_ATTEMPTS`; 503
    /// `PASSWORD_HASH_BUSY`; and, only with the right password, 403 `EMAIL_NOT_VERIFIED` and `ACCOUNT_DISABLED`.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &Password,
        visitor: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        // Malformed addresses are counted, and get the same response, as addresses without an account.
        let email = normalize_email(email).unwrap_or_else(|| email.trim().to_lowercase());
        let device = visitor.known_device.as_deref().and_then(|device| self.open_known_device(device, &email));
        let attempt = match &device {
            Some(device) => self.0.lockout.attempt_known(KnownSource::Device(device)).await?,
            None => self.0.lockout.attempt(&email, visitor.address).await?,
        };
        match self.try_password(&email, password, visitor, &attempt).await {
            // The password was not checked, so the attempt does not count.
            Err(error)
                if !error.is_response_with_status(StatusCode::UNAUTHORIZED)
                    && !error.is_response_with_status(StatusCode::FORBIDDEN) =>
            {
                self.0.lockout.undo(&attempt).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn try_password(
        &self,
        email: &str,
        password: &Password,
        visitor: &ClientInfo,
        attempt: &Attempt,
    ) -> Result<SignInOutcome, Error> {
        let account = store::by_email(&self.0.db, email).await?;
        let kept = account.as_ref().and_then(|account| account.password_hash.clone());
        let verified = self.0.passwords.verify(password, kept.as_deref()).await?;
        let (Some(account), Some(kept), true) = (&account, &kept, verified.valid) else {
            self.record_failure(account.as_ref(), visitor, attempt).await?;
            return Err(credentials_invalid().into());
        };
        let own = self.0.app_factors.of(account.id).await?;
        let again = if verified.outdated { Some(self.0.passwords.hash(password).await?) } else { None };
        let mut tx = self.0.db.all_tenants().begin().await?;
        // Another transaction may have changed the password during verification.
        let now = store::lock(&mut tx, account.id).await?.filter(|now| now.password_hash.as_deref() == Some(kept));
        let Some(account) = now else { return Err(credentials_invalid().into()) };
        self.0.lockout.resolve_in(&mut tx, attempt, true).await?;
        if let Some(hash) = &again {
            store::set_password(&mut tx, account.id, Some(hash), self.0.clock.now()).await?;
        }
        if account.email_verified_at.is_none() && self.0.settings.verified_email {
            if self.0.lockout.may_mail_link_in(&mut tx, TokenPurpose::VerifyEmail, email).await? {
                self.mail_in(&mut tx, AccountMail::Verify { user: account.id }).await?;
            }
            tx.commit().await?;
            let message = "your email address is not verified; open the link in the verification email, and ask for help if none \
                           arrives";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "EMAIL_NOT_VERIFIED", message).into());
        }
        self.continue_sign_in(tx, account, own, SignInMethod::Password, visitor).await
    }

    /// Signs a user in with the token of a magic link.
    ///
    /// The link also verifies an address that was not verified; the credentials that its registration had set are
    /// deleted then, because the registration did not prove who reads the address's mail.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 403 `ACCOUNT_DISABLED`.
    pub async fn sign_in_with_magic_link(&self, token: &str, visitor: &ClientInfo) -> Result<SignInOutcome, Error> {
        let own = self.0.app_factors.of(self.0.one_time.peek(TokenPurpose::MagicLink, token).await?.user_id).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let row = self
            .0
            .one_time
            .consume_in(&mut tx, TokenPurpose::MagicLink, token)
            .await?
            .ok_or_else(one_time_tokens::token_invalid)?;
        let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(one_time_tokens::token_invalid)?;
        if account.email_verified_at.is_none() {
            self.delete_registration_credentials_in(&mut tx, account.id).await?;
            store::confirm_email(&mut tx, account.id, self.0.clock.now()).await?;
        }
        if let Some(email) = &account.email {
            self.0.lockout.reset_in(&mut tx, email).await?;
        }
        self.continue_sign_in(tx, account, own, SignInMethod::MagicLink, visitor).await
    }

    /// Requests a magic link by email. Succeeds alike whether or not the address has an account. Fails with 422 for a
    /// malformed address, and with 429 if the client's address has requested too many emails.
    pub(crate) async fn request_magic_link(&self, email: &str, visitor: &ClientInfo) -> Result<(), Error> {
        let email = parse_email(email)?;
        self.request_mail_in(TokenPurpose::MagicLink, AccountMail::MagicLink { email: email.clone() }, &email, visitor)
            .await
    }

    /// Requests an email with a link. The work is the same whether or not the address has an account.
    pub(crate) async fn request_mail_in(
        &self,
        link: TokenPurpose,
        mail: AccountMail,
        email: &str,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        self.0.lockout.count_mail_request_in(&mut tx, visitor.address).await?;
        if self.0.lockout.may_mail_link_in(&mut tx, link, email).await? {
            self.mail_in(&mut tx, mail).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Completes a sign-in for which the user has presented a second factor. The challenge is used up first, also if
    /// the factor turns out to be wrong: a client that guesses codes starts with the password each time.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID` for an invalid challenge; 401 `SECOND_FACTOR_INVALID` if `shown` returns `false`; 403
    /// `ACCOUNT_DISABLED`; any error that `shown` returns.
    pub async fn complete_mfa<F: Future<Output = Result<bool, Error>>>(
        &self,
        challenge: &str,
        visitor: &ClientInfo,
        shown: impl FnOnce(UserId) -> F,
    ) -> Result<TokenPair, Error> {
        let mut tx = self.0.db.begin().await?;
        let row = self.0.one_time.consume_in(&mut tx, TokenPurpose::SecondFactor, challenge).await?;
        tx.commit().await?;
        let row = row.ok_or_else(challenge_invalid)?;
        let how: SignInMethod =
            row.data.and_then(|how| serde_json::from_str(&how).ok()).ok_or_else(challenge_invalid)?;
        if !shown(row.user_id).await? {
            let account = store::by_id(&self.0.db, row.user_id).await?;
            let mut tx = self.0.db.all_tenants().begin().await?;
            if let Some(account) = &account {
                let details = super::with_client_info(visitor, json!({ "how": "second_factor" }));
                self.record_in(&mut tx, "account.sign_in_failed", account, None, Some(details)).await?;
            }
            tx.commit().await?;
            let message = "the second factor is wrong or was used before; sign in again";
            return Err(http::Error::new(StatusCode::UNAUTHORIZED, "SECOND_FACTOR_INVALID", message).into());
        }
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(challenge_invalid)?;
        self.start_session(tx, account, how, true, visitor).await
    }

    /// Continues a sign-in whose first factor was right: starts a session, or returns a challenge if the user has a
    /// second factor. The account's row is locked, so a second factor that is added at the same time is either
    /// required here or revokes the session that starts here. `own` are the second factors that the app's modules
    /// provide.
    pub(crate) async fn continue_sign_in(
        &self,
        mut tx: Tx,
        account: Account,
        own: Vec<String>,
        how: SignInMethod,
        visitor: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        let methods = self.second_factors_in(&mut tx, account.id, own).await?;
        if methods.is_empty() {
            return self.start_session(tx, account, how, false, visitor).await.map(SignInOutcome::Authenticated);
        }
        require_enabled(&account)?;
        let data = serde_json::to_string(&how).map_err(http::Error::internal)?;
        let token = self.0.one_time.issue_in(&mut tx, TokenPurpose::SecondFactor, account.id, Some(data)).await?;
        tx.commit().await?;
        let expires_in = TokenPurpose::SecondFactor.lifetime();
        Ok(SignInOutcome::MfaRequired(MfaChallenge { token: token.into_secret(), methods, expires_in }))
    }

    /// Starts a session for an account whose row is locked, and commits. Signing in cancels a scheduled deletion.
    /// Fails with 403 `ACCOUNT_DISABLED`.
    pub(crate) async fn start_session(
        &self,
        mut tx: Tx,
        account: Account,
        how: SignInMethod,
        second_factor: bool,
        visitor: &ClientInfo,
    ) -> Result<TokenPair, Error> {
        require_enabled(&account)?;
        let (now, user) = (self.0.clock.now(), account.id);
        if account.delete_at.is_some() {
            store::set_deletion(&mut tx, user, None, now).await?;
            let details = Some(super::with_client_info(visitor, Value::Null));
            self.record_in(&mut tx, "account.deletion_cancelled", &account, Some(user), details).await?;
        }
        let (before, from_there) = store::has_signed_in(&mut tx, user, &visitor.device).await?;
        if before && !from_there {
            let crate::model::Device { user_agent, address } = visitor.device.clone();
            self.mail_in(&mut tx, AccountMail::NewSignIn { user, user_agent, address, at: now }).await?;
        }
        let mut sign_in = NewSession::new(user, visitor.device.clone()).with_second_factor(second_factor);
        sign_in.tenant = account.tenant_id;
        let mut tokens = self.0.sessions.create_in(&mut tx, sign_in).await?;
        tokens.known_device = account.email.as_deref().map(|email| self.seal_known_device(email)).transpose()?;
        let details = json!({ "how": how.as_str(), "second_factor": second_factor, "session": tokens.session });
        let details = super::with_client_info(visitor, details);
        self.record_in(&mut tx, "account.signed_in", &account, Some(user), Some(details)).await?;
        tx.commit().await?;
        if how == SignInMethod::MagicLink {
            self.0.sessions.invalidate_user(user).await;
        }
        Ok(tokens)
    }

    /// Records a wrong password, the same for known and unknown accounts, up to this process's rate limit for such
    /// entries.
    async fn record_failure(
        &self,
        account: Option<&Account>,
        visitor: &ClientInfo,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        if !self.0.failure_log_limit.check(&(), 1).allowed {
            tracing::warn!(target: "omnistack::auth", address = visitor.device.address,
                "a sign-in failed; it is not in the audit log, because there were too many");
            return Ok(());
        }
        let details = super::with_client_info(visitor, json!({ "tries": attempt.counted }));
        let mut tx = self.0.db.all_tenants().begin().await?;
        match account {
            Some(account) => {
                self.record_in(&mut tx, "account.sign_in_failed", account, None, Some(details)).await?;
            }
            // The typed address is not recorded, because users mistype passwords into that field.
            None => {
                let entry = omnistack_core::audit::AuditEntry::new("account.sign_in_failed").details(details);
                self.0.audit.record_in(&mut tx, entry).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Fails with 403 `ACCOUNT_DISABLED` if an operator has disabled the account.
pub(crate) fn require_enabled(account: &Account) -> Result<(), Error> {
    if account.disabled_at.is_none() {
        return Ok(());
    }
    let message = "this account is disabled; contact the operators of the app";
    Err(http::Error::new(StatusCode::FORBIDDEN, "ACCOUNT_DISABLED", message).into())
}

pub(crate) fn challenge_invalid() -> http::Error {
    let message = "the challenge is not valid, was used or has expired; sign in again";
    http::Error::bad_request("TOKEN_INVALID", message)
}

fn credentials_invalid() -> http::Error {
    let message = "the email address or the password is wrong; try again or reset the password";
    http::Error::new(StatusCode::UNAUTHORIZED, "CREDENTIALS_INVALID", message)
}
