//! The mails of accounts.
//!
//! Each mail is a job that is enqueued with the data of its occasion. The job creates the token in the mail, so that
//! tokens are only stored as hashes, and so that a request takes the same time whether or not the email address has an
//! account.
//!
//! With the module [`Mail`](omnistack_messaging::email::Mail), a mail is written to its outbox in the transaction that
//! creates the token. Without it, as in development, it is passed to the app's mailer directly.
//!
//! Tenants can override the template of the invitation.
//!
//! Links begin with `PUBLIC_URL`, whatever the `Host` header of the request was. The token is in the URL fragment
//! (after `#`), which browsers don't send to servers.

pub(crate) mod billing_notice;
pub(crate) mod invitation;
mod notification;
mod owners;
pub(crate) mod usage_threshold;
pub(crate) mod webhook_endpoint;

use async_trait::async_trait;
use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::KeyRing,
    db::{Db, Tx},
    email::{Email, Mailer},
    http,
    id::Id,
    identity::UserId,
    jobs::{Job, JobContext, JobError},
    name::without_links,
};
use omnistack_messaging::email::{
    Outbox, RecipientLimit,
    template::{MagicLink, NewApiKey, NewSignIn, Notification, ResetPassword, Template, Templates, VerifyEmail},
};
use serde::{Deserialize, Serialize};

use billing_notice::SubscriptionNotice;
use notification::AccountNotification;
use usage_threshold::UsageThresholdNotice;
use webhook_endpoint::DisabledWebhookNotice;

use crate::{
    Error,
    model::InvitationMarker,
    one_time_tokens::{OneTimeTokens, TokenPurpose},
    users::store::accounts::{self as store, Account},
};

/// A mail to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountMail {
    /// The verification of a new account's email address.
    Verify { user: UserId },
    /// The notice that a registration was attempted with an email address that has an account.
    AlreadyRegistered { email: String },
    /// A password reset link, if the email address has an account.
    Reset { email: String },
    /// A magic link, if the email address has an account.
    MagicLink { email: String },
    /// The confirmation of a new email address, sent to it.
    ConfirmEmail { user: UserId, email: String },
    /// The notice of a changed email address, sent to the previous one.
    EmailChanged { user: UserId, old: String, new: String },
    /// The notice of a changed password.
    PasswordChanged { user: UserId },
    /// The notice of an identity that was linked or unlinked.
    IdentityChanged { user: UserId, issuer: String, linked: bool },
    /// The notice of an API key that was created or rotated.
    NewApiKey { user: UserId, name: String, tenant: String, rotated: bool, at: Timestamp },
    /// The notice of a sign-in from a new device.
    NewSignIn { user: UserId, user_agent: Option<String>, address: Option<String>, at: Timestamp },
    /// The notice of a second factor that was added, removed or used up.
    SecondFactor { user: UserId, change: SecondFactorChange },
    /// The notice of a scheduled deletion, and how to cancel it.
    DeletionScheduled { user: UserId, at: Timestamp },
    /// An invitation to join a team, unless it was accepted, revoked or has expired. It contains the id and not the
    /// token, so that no queue stores tokens.
    Invitation { invitation: Id<InvitationMarker> },
    /// The notice to an owner of a tenant that the app has disabled a webhook endpoint.
    WebhookEndpointDisabled(DisabledWebhookNotice),
    /// The notice to an owner of a tenant that its usage has reached a threshold.
    UsageThreshold(UsageThresholdNotice),
    /// The notice to an owner of a tenant about its subscription.
    Subscription(SubscriptionNotice),
}

impl AccountMail {
    /// Returns whether a stranger can cause this mail without access to the account or the mailbox. Links that sign in
    /// or reset a password are not included, since they are needed to sign in and have counters of their own;
    /// invitations are counted when they are created.
    const fn is_unsolicited(&self) -> bool {
        matches!(self, Self::Verify { .. } | Self::AlreadyRegistered { .. } | Self::ConfirmEmail { .. })
    }
}

/// A change of a user's second factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecondFactorChange {
    TotpAdded,
    TotpRemoved,
    RecoveryCodesRenewed,
    /// A recovery code was used; `left` is the number of unused ones.
    RecoveryCodeUsed {
        left: i64,
    },
    PasskeyAdded,
    PasskeyRemoved,
    PhoneAdded,
    PhoneRemoved,
    /// An operator reset the second factors.
    Reset,
}

impl SecondFactorChange {
    /// Returns the audit action.
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

    /// Returns the title and the text of the mail.
    fn message(self, product: &str) -> (String, String) {
        let devices = "Other devices were signed out.";
        match self {
            Self::TotpAdded => (
                format!("Signing in to {product} now needs a code"),
                format!("An app for codes was added to your account. {devices}"),
            ),
            Self::TotpRemoved => (
                format!("Signing in to {product} no longer needs a code"),
                format!("The app for codes and the recovery codes were removed from your account. {devices}"),
            ),
            Self::RecoveryCodesRenewed => (
                format!("You have new recovery codes for {product}"),
                format!("The previous ones are no longer valid. {devices}"),
            ),
            Self::RecoveryCodeUsed { left } => (
                format!("A recovery code for {product} was used"),
                format!("It is no longer valid. You have {left} left."),
            ),
            Self::PasskeyAdded => (
                format!("You have a new passkey for {product}"),
                "The device that stores it can now sign in to your account.".to_owned(),
            ),
            Self::PasskeyRemoved => (
                format!("A passkey for {product} was removed"),
                format!("It can no longer sign in to your account. {devices}"),
            ),
            Self::PhoneAdded => (
                format!("Signing in to {product} now needs a code"),
                format!("A phone number for codes was added to your account. {devices}"),
            ),
            Self::PhoneRemoved => (
                format!("Codes for {product} are no longer sent to your phone"),
                format!("The phone number was removed from your account. {devices}"),
            ),
            Self::Reset => (
                format!("Your second factors for {product} were removed"),
                "An operator has removed your app for codes, your recovery codes, your phone number for codes and your \
                 passkeys, and signed you out everywhere. Sign in with your password or a link, and add new ones."
                    .to_owned(),
            ),
        }
    }

    /// Returns the advice in case it was another person, and the label and the page of the button.
    const fn advice(self) -> (&'static str, (&'static str, &'static str)) {
        match self {
            Self::PasskeyAdded | Self::PasskeyRemoved => (
                "If that was not you, sign in, remove the passkeys you don't recognise, and choose a new password.",
                ("Review your account", "security"),
            ),
            Self::Reset => ("If you have not requested this, contact us immediately.", ("Sign in", "sign-in")),
            _ => (
                "If that was not you, choose a new password immediately.",
                ("Choose a new password", "forgot-password"),
            ),
        }
    }
}

#[async_trait]
impl Job for AccountMail {
    const NAME: &'static str = "auth.send_mail";
    type State = AccountMailer;

    async fn run(self, mails: &AccountMailer, _: &JobContext) -> Result<(), JobError> {
        // The transaction is dropped without a commit if there is nothing to send.
        let mut tx = match &self {
            // The job knows the invitation but not its tenant.
            Self::Invitation { .. } => mails.db.all_tenants().begin().await?,
            _ => mails.db.begin().await?,
        };
        let is_unasked = self.is_unsolicited();
        let Some(email) = mails.compose_mail(&mut tx, self).await? else { return Ok(()) };
        if is_unasked && mails.exceeds_recipient_limit(&mut tx, &email).await? {
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

/// The composer and sender of the mails.
#[derive(Clone, Debug)]
pub(crate) struct AccountMailer {
    pub(crate) mailer: Mailer,
    /// Set when all modules are wired.
    pub(crate) outbox: Option<Outbox>,
    /// Whether the app has built-in accounts, and so a page to end sessions at. Set when all modules are wired.
    pub(crate) has_built_in_accounts: bool,
    /// The templates to use without an outbox.
    pub(crate) templates: Templates,
    pub(crate) db: Db,
    pub(crate) one_time: OneTimeTokens,
    /// Opens the sealed tokens of invitations.
    pub(crate) ring: KeyRing,
    pub(crate) clock: Clock,
    /// The app's public URL without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) product: String,
}

impl AccountMailer {
    /// Counts a mail that its recipient has not requested. Returns whether there were too many.
    async fn exceeds_recipient_limit(&self, tx: &mut Tx, email: &Email) -> Result<bool, Error> {
        let Some(to) = email.to.first() else { return Ok(false) };
        let wait = RecipientLimit::new(self.clock.clone()).count_in(tx, to.mailbox()).await?;
        if let Some(wait) = wait {
            let seconds = wait.as_secs();
            tracing::info!(target: "omnistack::auth", seconds, "a mail was not sent: its recipient got too many");
        }
        Ok(wait.is_some())
    }

    /// Composes a mail. Returns `None` if there is no recipient or the occasion no longer applies.
    async fn compose_mail(&self, tx: &mut Tx, mail: AccountMail) -> Result<Option<Email>, Error> {
        let product = &self.product;
        let mail = match mail {
            AccountMail::Verify { user } => {
                let Some(account) = self.account(tx, user).await?.filter(|account| account.email_verified_at.is_none())
                else {
                    return Ok(None);
                };
                let link = self.link(tx, TokenPurpose::VerifyEmail, &account, None, "verify-email").await?;
                let expires = TokenPurpose::VerifyEmail.lifetime();
                self.compose_to_account(&account, &VerifyEmail { name: None, link, expires })?
            }
            AccountMail::AlreadyRegistered { email } => {
                let title = format!("You have an account at {product}");
                let wanted = format!(
                    "A registration at {product} used this email address, which has an account already. If it was you, \
                     sign in, or choose a new password."
                );
                let nothing = "If it was not you, you can ignore this mail: nothing has changed.".to_owned();
                let action = ("Choose a new password", "forgot-password");
                let locale = store::lock_by_email(tx, &email).await?.and_then(|account| account.locale);
                Some(self.compose(
                    &email,
                    locale.as_deref(),
                    &self.notification("already_registered", title, [wanted, nothing], Some(action)),
                )?)
            }
            AccountMail::Reset { email } => {
                let Some(account) = self.account_by_email(tx, &email).await? else { return Ok(None) };
                let link = self.link(tx, TokenPurpose::ResetPassword, &account, None, "reset-password").await?;
                let expires = TokenPurpose::ResetPassword.lifetime();
                self.compose_to_account(&account, &ResetPassword { name: verified_name(&account), link, expires })?
            }
            AccountMail::MagicLink { email } => {
                let Some(account) = self.account_by_email(tx, &email).await? else { return Ok(None) };
                let link = self.link(tx, TokenPurpose::MagicLink, &account, None, "magic-link").await?;
                self.compose_to_account(
                    &account,
                    &MagicLink { link, passcode: None, expires: TokenPurpose::MagicLink.lifetime() },
                )?
            }
            AccountMail::ConfirmEmail { user, email } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let taken = store::lock_by_email(tx, &email).await?;
                if taken.is_some_and(|other| other.id != user) {
                    return Box::pin(self.compose_mail(tx, AccountMail::AlreadyRegistered { email })).await;
                }
                let link =
                    self.link(tx, TokenPurpose::ChangeEmail, &account, Some(email.clone()), "change-email").await?;
                let expires = TokenPurpose::ChangeEmail.lifetime();
                let verify = VerifyEmail { name: None, link, expires };
                Some(self.compose(&email, account.locale.as_deref(), &verify)?)
            }
            AccountMail::EmailChanged { user, old, new } => {
                let title = format!("Your email address at {product} has changed");
                let changed = format!("The email address of your account at {product} is now {new}.");
                let warning =
                    "If that was not you, another person may control your account: contact us immediately.".to_owned();
                let locale = store::lock(tx, user).await?.and_then(|account| account.locale);
                Some(self.compose(
                    &old,
                    locale.as_deref(),
                    &self.notification("email_changed", title, [changed, warning], None),
                )?)
            }
            AccountMail::PasswordChanged { user } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let title = format!("Your password at {product} was changed");
                let changed = "Other devices were signed out.".to_owned();
                let warning = "If that was not you, choose a new password immediately.".to_owned();
                let action = ("Choose a new password", "forgot-password");
                self.compose_to_account(
                    &account,
                    &self.notification("password_changed", title, [changed, warning], Some(action)),
                )?
            }
            AccountMail::IdentityChanged { user, issuer, linked } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let host = issuer.split_once("://").map_or(issuer.as_str(), |(_, rest)| rest);
                let host = host.split('/').next().unwrap_or_default();
                let (title, changed) = if linked {
                    let changed = format!("From now on you can sign in with your account at {host}.");
                    (format!("Your account at {product} was linked with {host}"), changed)
                } else {
                    let changed = format!("You can no longer sign in with your account at {host}.");
                    (format!("Your account at {product} was unlinked from {host}"), changed)
                };
                let warning =
                    "If that was not you, sign in and check the identities that are linked with your account."
                        .to_owned();
                let action = self.has_built_in_accounts.then_some(("Review your account", "security"));
                self.compose_to_account(
                    &account,
                    &self.notification("identity_changed", title, [changed, warning], action),
                )?
            }
            AccountMail::SecondFactor { user, change } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let ((title, happened), (warning, action)) = (change.message(product), change.advice());
                self.compose_to_account(
                    &account,
                    &self.notification("second_factor_changed", title, [happened, warning.to_owned()], Some(action)),
                )?
            }
            AccountMail::NewSignIn { user, user_agent, address, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let device = user_agent.as_deref().map(printable);
                self.compose_to_account(
                    &account,
                    &NewSignIn { name: verified_name(&account), at, device, address, link: self.page("security") },
                )?
            }
            AccountMail::NewApiKey { user, name: key, tenant, rotated, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let name = Some(account.name.clone());
                let (key, tenant) = (printable(&key), printable(&tenant));
                let link = self.has_built_in_accounts.then(|| self.page("security"));
                self.compose_to_account(&account, &NewApiKey { name, key, tenant, rotated, at, link })?
            }
            AccountMail::DeletionScheduled { user, at } => {
                let Some(account) = self.account(tx, user).await? else { return Ok(None) };
                let title = format!("Your account at {product} will be deleted");
                let when = format!("It will be deleted permanently on {}.", at.to_readable());
                let stay = "To keep it, sign in before then.".to_owned();
                self.compose_to_account(
                    &account,
                    &self.notification("deletion_scheduled", title, [when, stay], Some(("Sign in", "sign-in"))),
                )?
            }
            AccountMail::Invitation { invitation } => self.invitation(tx, invitation).await?,
            AccountMail::WebhookEndpointDisabled(notice) => self.webhook_endpoint_disabled(tx, notice).await?,
            AccountMail::UsageThreshold(notice) => self.usage_threshold(tx, notice).await?,
            AccountMail::Subscription(notice) => self.subscription(tx, notice).await?,
        };
        Ok(mail)
    }

    async fn account(&self, tx: &mut Tx, user: UserId) -> Result<Option<Account>, Error> {
        Ok(store::lock(tx, user).await?.filter(|account| account.disabled_at.is_none()))
    }

    async fn account_by_email(&self, tx: &mut Tx, email: &str) -> Result<Option<Account>, Error> {
        Ok(store::lock_by_email(tx, email).await?.filter(|account| account.disabled_at.is_none()))
    }

    /// Composes a mail to the stored email address, never to one from a request.
    fn compose_to_account<T: Template>(&self, account: &Account, template: &T) -> Result<Option<Email>, Error> {
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
        occasion: &'static str,
        title: String,
        paragraphs: [String; N],
        action: Option<(&str, &str)>,
    ) -> AccountNotification {
        let action = action.map(|(label, page)| (self.page(page), label.to_owned()));
        AccountNotification::new(occasion, Notification { title, paragraphs: paragraphs.into(), action })
    }

    async fn link(
        &self,
        tx: &mut Tx,
        purpose: TokenPurpose,
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

/// Returns the user's name, or `None` if the email address is not verified, since another person may have chosen the
/// name.
fn verified_name(account: &Account) -> Option<String> {
    account.email_verified_at.map(|_| printable(&account.name))
}

/// Returns text of another user on one line, at most 200 characters long and changed so that mail programs find no
/// links in it.
fn printable(text: &str) -> String {
    without_links(text).chars().take(200).collect()
}
