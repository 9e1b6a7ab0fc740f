//! The mails of accounts. Each is a job, enqueued with what it tells about: the job makes the token the mail carries, so
//! that no token is ever kept but by its hash, and so that asking for a mail takes as long whether there is an account or
//! not.
//!
//! With the module [`Mail`](omnistack_core::email::Mail) a mail goes into its outbox in the transaction that makes the
//! token; without it, for development, it is handed to the app's mailer at once.
//!
//! An invitation is one of them: it may be in the team's own words.
//!
//! Links begin with `PUBLIC_URL`, whatever the request said its host was. The token is behind the `#`, which browsers
//! send to nobody.

mod invitation;

use async_trait::async_trait;
use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::KeyRing,
    db::{Db, Tx},
    email::{
        Email, Mailer, Outbox, RecipientLimit,
        template::{MagicLink, NewApiKey, NewSignIn, Notification, ResetPassword, Template, Templates, VerifyEmail},
    },
    http,
    id::Id,
    identity::UserId,
    jobs::{Job, JobCtx, JobError},
    name::defused,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    model::Invited,
    one_time::{OneTime, Purpose},
    store::account::{self as store, Account},
};

/// A mail to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountMail {
    /// Is this your address?
    Verify { user: UserId },
    /// Somebody, perhaps you, wanted to register this address once more.
    AlreadyRegistered { email: String },
    /// A link to choose a new password, if there is such a user.
    Reset { email: String },
    /// A link that signs in, if there is such a user.
    MagicLink { email: String },
    /// Is this your new address?
    ConfirmEmail { user: UserId, email: String },
    /// To the old address: it is another now.
    EmailChanged { old: String, new: String },
    /// It is another now.
    PasswordChanged { user: UserId },
    /// Whoever this is there can sign in now, or can no more.
    IdentityChanged { user: UserId, issuer: String, linked: bool },
    /// A new secret of an API key, which calls in the user's name.
    NewApiKey { user: UserId, name: String, tenant: String, rotated: bool, at: Timestamp },
    /// Somebody, perhaps you, has signed in from elsewhere.
    NewSignIn { user: UserId, user_agent: Option<String>, address: Option<String>, at: Timestamp },
    /// A second factor was added, taken away or used up.
    SecondFactor { user: UserId, change: FactorChange },
    /// When the account is deleted, and how to keep it.
    DeletionScheduled { user: UserId, at: Timestamp },
    /// Somebody is asked to join a team, if the invitation still stands. It names the row and not the token, which no queue
    /// holds.
    Invitation { invitation: Id<Invited> },
}

impl AccountMail {
    /// Whether a stranger can cause this mail who neither has the account nor reads the mailbox, and its reader has not asked
    /// for it. Links that sign in or reset a password are the way in, and have counters of their own; invitations are counted
    /// when they are made.
    const fn is_unasked(&self) -> bool {
        matches!(self, Self::Verify { .. } | Self::AlreadyRegistered { .. } | Self::ConfirmEmail { .. })
    }
}

/// What has happened to second factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FactorChange {
    TotpAdded,
    TotpRemoved,
    RecoveryCodesRenewed,
    /// And how many are left.
    RecoveryCodeUsed {
        left: i64,
    },
    PasskeyAdded,
    PasskeyRemoved,
    PhoneAdded,
    PhoneRemoved,
    /// By an operator.
    Reset,
}

impl FactorChange {
    /// As it is recorded.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::TotpAdded => "account.totp_added",
            Self::TotpRemoved => "account.totp_removed",
            Self::RecoveryCodesRenewed => "account.recovery_codes_renewed",
            Self::RecoveryCodeUsed { .. } => "account.recovery_code_used",
            Self::PasskeyAdded => "account.passkey_added",
            Self::PasskeyRemoved => "account.passkey_removed",
            Self::PhoneAdded => "account.phone_added",
            Self::PhoneRemoved => "account.phone_removed",
            Self::Reset => "user.factors_reset",
        }
    }

    fn told(self, product: &str) -> (String, String) {
        let devices = "Other devices were signed out.";
        match self {
            Self::TotpAdded => (
                format!("Signing in to {product} takes a code now"),
                format!("An app for codes was added to your account. {devices}"),
            ),
            Self::TotpRemoved => (
                format!("Signing in to {product} takes no code any more"),
                format!("The app for codes was removed from your account, with the recovery codes. {devices}"),
            ),
            Self::RecoveryCodesRenewed => (
                format!("You have new recovery codes for {product}"),
                format!("Those before are not good any more. {devices}"),
            ),
            Self::RecoveryCodeUsed { left } => (
                format!("A recovery code for {product} was used"),
                format!("It is not good any more. You have {left} left."),
            ),
            Self::PasskeyAdded => (
                format!("You have a new passkey for {product}"),
                "From now on the device that keeps it can sign in to your account.".to_owned(),
            ),
            Self::PasskeyRemoved => (
                format!("A passkey for {product} was removed"),
                format!("It does not sign in to your account any more. {devices}"),
            ),
            Self::PhoneAdded => (
                format!("Signing in to {product} takes a code now"),
                format!("A telephone number that gets codes was added to your account. {devices}"),
            ),
            Self::PhoneRemoved => (
                format!("Codes for {product} are not sent to your phone any more"),
                format!("The telephone number was removed from your account. {devices}"),
            ),
            Self::Reset => (
                format!("Your second factors for {product} were removed"),
                "An operator has removed your app for codes, your recovery codes, your telephone number for codes and your \
                 passkeys, and signed you out everywhere. Sign in with your password or by a link, and add new ones."
                    .to_owned(),
            ),
        }
    }

    /// What to do if it was somebody else, and the page where.
    const fn advice(self) -> (&'static str, (&'static str, &'static str)) {
        match self {
            Self::PasskeyAdded | Self::PasskeyRemoved => (
                "If that was not you, sign in, remove the passkeys you don't know, and choose a new password.",
                ("Have a look", "security"),
            ),
            Self::Reset => ("If you have not asked for this, write to us at once.", ("Sign in", "sign-in")),
            _ => ("If that was not you, choose a new password at once.", ("Choose a new password", "forgot-password")),
        }
    }
}

#[async_trait]
impl Job for AccountMail {
    const NAME: &'static str = "auth.mail";
    type State = Mails;

    async fn run(self, mails: &Mails, _: &JobCtx) -> Result<(), JobError> {
        // Dropped without a commit when there is nobody to write to, or no reason any more.
        let mut tx = match &self {
            // The job knows the invitation, and not of which tenant it is.
            Self::Invitation { .. } => mails.db.all_tenants().begin().await?,
            _ => mails.db.begin().await?,
        };
        let is_unasked = self.is_unasked();
        let Some(email) = mails.write(&mut tx, self).await? else { return Ok(()) };
        if is_unasked && mails.is_flooded(&mut tx, &email).await? {
            return Ok(());
        }
        match &mails.outbox {
            Some(outbox) => {
                outbox.send_in(&mut tx, &email).await?;
                tx.commit().await?;
            }
            None => {
                tx.commit().await?;
                mails.mailer.send(&email).await.map_err(|error| {
                    if error.is_retryable() { JobError::retry(error) } else { JobError::fatal(error) }
                })?;
            }
        }
        Ok(())
    }
}

/// Writes the mails.
#[derive(Clone, Debug)]
pub(crate) struct Mails {
    pub(crate) mailer: Mailer,
    /// Known once every module is wired.
    pub(crate) outbox: Option<Outbox>,
    /// Whether the app has accounts of its own, with a page to end sessions at; known once every module is wired.
    pub(crate) signs_in_here: bool,
    /// Where there is no outbox.
    pub(crate) templates: Templates,
    pub(crate) db: Db,
    pub(crate) one_time: OneTime,
    /// Opens the tokens of invitations.
    pub(crate) ring: KeyRing,
    pub(crate) clock: Clock,
    /// Without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) product: String,
}

impl Mails {
    /// Counts a mail that its reader has not asked for; whether there were too many.
    async fn is_flooded(&self, tx: &mut Tx, email: &Email) -> Result<bool, Error> {
        let Some(to) = email.to.first() else { return Ok(false) };
        let wait = RecipientLimit::new(self.clock.clone()).wait_in(tx, to.mailbox()).await?;
        if let Some(wait) = wait {
            tracing::info!(target: "omnistack::auth", seconds = wait.as_secs(), "a mail was left out: its address had too many");
        }
        Ok(wait.is_some())
    }

    /// The mail; none when there is nobody to send it to, or no reason any more.
    async fn write(&self, tx: &mut Tx, mail: AccountMail) -> Result<Option<Email>, Error> {
        let product = &self.product;
        let mail = match mail {
            AccountMail::Verify { user } => {
                let Some(account) = self.account(tx, user).await?.filter(|account| account.email_verified_at.is_none())
                else {
                    return Ok(None);
                };
                let link = self.link(tx, Purpose::VerifyEmail, &account, None, "verify-email").await?;
                let expires = Purpose::VerifyEmail.lifetime();
                self.to(&account, &VerifyEmail { name: None, link, expires })?
            }
            AccountMail::AlreadyRegistered { email } => {
                let title = format!("You have an account at {product}");
                let wanted = format!(
                    "Somebody wanted to use this address for an account at {product}. There is one already: if it was you, \
                     sign in, or choose a new password."
                );
                let nothing = "If it was not you, do nothing: nothing has changed.".to_owned();
                let action = ("Choose a new password", "forgot-password");
                let locale = store::lock_by_email(tx, &email).await?.and_then(|account| account.locale);
                Some(self.compose(
                    &email,
                    locale.as_deref(),
                    &self.notification(title, [wanted, nothing], Some(action)),
                )?)
            }
            AccountMail::Reset { email } => {
                let Some(account) = self.reader(tx, &email).await? else { return Ok(None) };
                let link = self.link(tx, Purpose::ResetPassword, &account, None, "reset-password").await?;
                let expires = Purpose::ResetPassword.lifetime();
                self.to(&account, &ResetPassword { name: name(&account), link, expires })?
            }
            AccountMail::MagicLink { email } => {
                let Some(account) = self.reader(tx, &email).await? else { return Ok(None) };
                let link = self.link(tx, Purpose::MagicLink, &account, None, "magic-link").await?;
                self.to(&account, &MagicLink { link, passcode: None, expires: Purpose::MagicLink.lifetime() })?
            }
            AccountMail::ConfirmEmail { user, email } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let taken = store::lock_by_email(tx, &email).await?;
                if taken.is_some_and(|other| other.id != user) {
                    return Box::pin(self.write(tx, AccountMail::AlreadyRegistered { email })).await;
                }
                let link = self.link(tx, Purpose::ChangeEmail, &account, Some(email.clone()), "change-email").await?;
                let expires = Purpose::ChangeEmail.lifetime();
                let verify = VerifyEmail { name: None, link, expires };
                Some(self.compose(&email, account.locale.as_deref(), &verify)?)
            }
            AccountMail::EmailChanged { old, new } => {
                let title = format!("Your address at {product} has changed");
                let changed = format!("The address of your account at {product} is now {new}.");
                let warning = "If that was not you, somebody else has your account: write to us at once.".to_owned();
                Some(self.compose(&old, None, &self.notification(title, [changed, warning], None))?)
            }
            AccountMail::PasswordChanged { user } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let title = format!("Your password at {product} was changed");
                let changed = "Other devices were signed out.".to_owned();
                let warning = "If that was not you, choose a new password at once.".to_owned();
                let action = ("Choose a new password", "forgot-password");
                self.to(&account, &self.notification(title, [changed, warning], Some(action)))?
            }
            AccountMail::IdentityChanged { user, issuer, linked } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let host = issuer.split_once("://").map_or(issuer.as_str(), |(_, rest)| rest);
                let host = host.split('/').next().unwrap_or_default();
                let (title, changed) = if linked {
                    let changed = format!("From now on you can sign in with your account at {host}.");
                    (format!("Your account at {product} was linked with {host}"), changed)
                } else {
                    let changed = format!("You can't sign in with your account at {host} any more.");
                    (format!("Your account at {product} was unlinked from {host}"), changed)
                };
                let warning = "If that was not you, sign in and look at what your account is linked with.".to_owned();
                self.to(&account, &self.notification(title, [changed, warning], Some(("Have a look", "security"))))?
            }
            AccountMail::SecondFactor { user, change } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let ((title, happened), (warning, action)) = (change.told(product), change.advice());
                self.to(&account, &self.notification(title, [happened, warning.to_owned()], Some(action)))?
            }
            AccountMail::NewSignIn { user, user_agent, address, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let device = user_agent.as_deref().map(printable);
                self.to(
                    &account,
                    &NewSignIn { name: name(&account), at, device, address, link: self.page("security") },
                )?
            }
            AccountMail::NewApiKey { user, name: key, tenant, rotated, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let name = Some(account.name.clone());
                let (key, tenant) = (printable(&key), printable(&tenant));
                let link = self.signs_in_here.then(|| self.page("security"));
                self.to(&account, &NewApiKey { name, key, tenant, rotated, at, link })?
            }
            AccountMail::DeletionScheduled { user, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let title = format!("Your account at {product} will be deleted");
                let when = format!("It is deleted for good on {}.", at.to_readable());
                let stay = "To keep it, sign in before that.".to_owned();
                self.to(&account, &self.notification(title, [when, stay], Some(("Sign in", "sign-in"))))?
            }
            AccountMail::Invitation { invitation } => self.invitation(tx, invitation).await?,
        };
        Ok(mail)
    }

    async fn account(&self, tx: &mut Tx, user: UserId) -> Result<Option<Account>, Error> {
        Ok(store::lock(tx, user).await?.filter(|account| account.disabled_at.is_none()))
    }

    async fn reader(&self, tx: &mut Tx, email: &str) -> Result<Option<Account>, Error> {
        Ok(store::lock_by_email(tx, email).await?.filter(|account| account.disabled_at.is_none()))
    }

    /// To the address as it is kept: never to the one somebody typed.
    fn to<T: Template>(&self, account: &Account, template: &T) -> Result<Option<Email>, Error> {
        let email = account.email.as_deref();
        email.map(|email| self.compose(email, account.locale.as_deref(), template)).transpose()
    }

    fn compose<T: Template>(&self, to: &str, locale: Option<&str>, template: &T) -> Result<Email, Error> {
        let locale = locale.unwrap_or("en");
        if let Some(outbox) = &self.outbox {
            return Ok(outbox.compose(to, template, locale).map_err(http::Error::from)?);
        }
        let written = self.templates.render(template, locale).map_err(http::Error::internal)?;
        Ok(Email::to(to).subject(written.subject).html(written.html).text(written.text).tag("template", T::NAME))
    }

    fn notification<const N: usize>(
        &self,
        title: String,
        paragraphs: [String; N],
        action: Option<(&str, &str)>,
    ) -> Notification {
        let action = action.map(|(label, page)| (self.page(page), label.to_owned()));
        Notification { title, paragraphs: paragraphs.into(), action }
    }

    async fn link(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        account: &Account,
        data: Option<String>,
        page: &str,
    ) -> Result<String, Error> {
        let token = self.one_time.issue_in(tx, purpose, account.id, data).await?;
        Ok(format!("{}#token={}", self.page(page), token.expose()))
    }

    fn page(&self, name: &str) -> String {
        format!("{}/auth/{name}", self.public_url)
    }
}

/// What the reader is called; none as long as the address is not confirmed, since anybody could have chosen the name.
fn name(account: &Account) -> Option<String> {
    account.email_verified_at.map(|_| printable(&account.name))
}

/// What others wrote, on one line of at most 200 characters in which programs for mail find no link.
fn printable(text: &str) -> String {
    defused(text).chars().take(200).collect()
}
