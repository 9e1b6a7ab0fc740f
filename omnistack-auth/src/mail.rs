//! The mails of accounts. Each is a job, enqueued with what it tells about: the job makes the token the mail carries, so
//! that no token is ever kept but by its hash, and so that asking for a mail takes as long whether there is an account or
//! not.
//!
//! Links begin with `PUBLIC_URL`, whatever the request said its host was. The token is behind the `#`, which browsers
//! send to nobody.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::Db,
    email::{Email, Mailer},
    identity::UserId,
    jobs::{Job, JobCtx, JobError},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
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
    /// Somebody, perhaps you, has signed in from elsewhere.
    NewSignIn { user: UserId, user_agent: Option<String>, address: Option<String>, at: Timestamp },
    /// When the account is deleted, and how to keep it.
    DeletionScheduled { user: UserId, at: Timestamp },
}

#[async_trait]
impl Job for AccountMail {
    const NAME: &'static str = "auth.mail";
    type State = Mails;

    async fn run(self, mails: &Mails, _: &JobCtx) -> Result<(), JobError> {
        let Some(email) = mails.write(self).await? else { return Ok(()) };
        match mails.mailer.send(&email).await {
            Ok(()) => Ok(()),
            Err(error) if error.retryable => Err(JobError::retry(error)),
            Err(error) => Err(JobError::fatal(error)),
        }
    }
}

/// Writes the mails and sends them.
#[derive(Clone, Debug)]
pub(crate) struct Mails {
    pub(crate) mailer: Mailer,
    pub(crate) db: Db,
    pub(crate) one_time: OneTime,
    /// Without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) product: String,
}

impl Mails {
    /// The mail; none when there is nobody to send it to, or no reason any more.
    async fn write(&self, mail: AccountMail) -> Result<Option<Email>, Error> {
        let product = &self.product;
        let (to, subject, text) = match mail {
            AccountMail::Verify { user } => {
                let Some(account) = self.account(user).await? else { return Ok(None) };
                let Some(to) = account.email.clone().filter(|_| account.email_verified_at.is_none()) else {
                    return Ok(None);
                };
                let link = self.link(Purpose::VerifyEmail, &account, None, "verify-email").await?;
                let text = format!(
                    "Hello {},\n\nplease confirm that this is your address, within a day:\n\n{link}\n\nIf you have not \
                     registered at {product}, do nothing.",
                    account.name
                );
                (to, format!("Confirm your address at {product}"), text)
            }
            AccountMail::AlreadyRegistered { email } => {
                let text = format!(
                    "Somebody wanted to use this address for an account at {product}. There is one already. If it was you, \
                     sign in, or choose a new password:\n\n{}\n\nIf it was not you, do nothing: nothing has changed.",
                    self.page("forgot-password")
                );
                (email, format!("You have an account at {product}"), text)
            }
            AccountMail::Reset { email } => {
                let Some((account, to)) = self.reader(&email).await? else { return Ok(None) };
                let link = self.link(Purpose::ResetPassword, &account, None, "reset-password").await?;
                let text = format!(
                    "Hello {},\n\nhere you choose a new password, within an hour:\n\n{link}\n\nIf you have not asked for \
                     that, do nothing: your password stays.",
                    account.name
                );
                (to, format!("A new password at {product}"), text)
            }
            AccountMail::MagicLink { email } => {
                let Some((account, to)) = self.reader(&email).await? else { return Ok(None) };
                let link = self.link(Purpose::MagicLink, &account, None, "magic-link").await?;
                let text = format!(
                    "Hello {},\n\nthis signs you in, once and within a quarter of an hour:\n\n{link}\n\nIf you have not \
                     asked for that, do nothing, and give the link to nobody.",
                    account.name
                );
                (to, format!("Sign in at {product}"), text)
            }
            AccountMail::ConfirmEmail { user, email } => {
                let Some(account) = self.account(user).await? else { return Ok(None) };
                let taken = store::by_email(&self.db, &email).await?;
                if taken.is_some_and(|other| other.id != user) {
                    return Box::pin(self.write(AccountMail::AlreadyRegistered { email })).await;
                }
                let link = self.link(Purpose::ChangeEmail, &account, Some(email.clone()), "verify-email").await?;
                let text = format!(
                    "Hello {},\n\nplease confirm that this is your new address, within a day:\n\n{link}\n\nIf you have not \
                     asked for that, do nothing.",
                    account.name
                );
                (email, format!("Confirm your new address at {product}"), text)
            }
            AccountMail::EmailChanged { old, new } => {
                let text = format!(
                    "The address of your account at {product} is now {new}. If that was not you, somebody else has your \
                     account: write to us at once."
                );
                (old, format!("Your address at {product} has changed"), text)
            }
            AccountMail::PasswordChanged { user } => {
                let Some((_, to)) = self.account(user).await?.and_then(with_email) else { return Ok(None) };
                let text = format!(
                    "The password of your account at {product} was changed, and other devices were signed out. If that \
                     was not you, choose a new one at once:\n\n{}",
                    self.page("forgot-password")
                );
                (to, format!("Your password at {product} was changed"), text)
            }
            AccountMail::NewSignIn { user, user_agent, address, at } => {
                let Some((_, to)) = self.account(user).await?.and_then(with_email) else { return Ok(None) };
                let text = format!(
                    "Somebody has signed in to your account from a device we have not seen before.\n\nWhen:  {at}\nFrom:  \
                     {}\nWith:  {}\n\nIf that was not you, choose a new password at once:\n\n{}",
                    address.as_deref().unwrap_or("unknown"),
                    user_agent.as_deref().map_or_else(|| "unknown".into(), printable),
                    self.page("forgot-password")
                );
                (to, format!("A new sign-in at {product}"), text)
            }
            AccountMail::DeletionScheduled { user, at } => {
                let Some((_, to)) = self.account(user).await?.and_then(with_email) else { return Ok(None) };
                let text = format!(
                    "Your account at {product} is deleted for good at {at}. To keep it, sign in before.\n\n{}",
                    self.page("sign-in")
                );
                (to, format!("Your account at {product} will be deleted"), text)
            }
        };
        Ok(Some(Email::new(to, subject, text)))
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, Error> {
        Ok(store::by_id(&self.db, user).await?.filter(|account| account.disabled_at.is_none()))
    }

    /// The account of an address, and the address as it is kept: mail never goes to the one somebody typed.
    async fn reader(&self, email: &str) -> Result<Option<(Account, String)>, Error> {
        let account = store::by_email(&self.db, email).await?;
        Ok(account.filter(|account| account.disabled_at.is_none()).and_then(with_email))
    }

    async fn link(
        &self,
        purpose: Purpose,
        account: &Account,
        data: Option<String>,
        page: &str,
    ) -> Result<String, Error> {
        let mut tx = self.db.begin().await?;
        let token = self.one_time.issue_in(&mut tx, purpose, account.id, data).await?;
        tx.commit().await?;
        Ok(format!("{}#token={}", self.page(page), token.expose()))
    }

    fn page(&self, name: &str) -> String {
        format!("{}/auth/{name}", self.public_url)
    }
}

fn with_email(account: Account) -> Option<(Account, String)> {
    let email = account.email.clone()?;
    Some((account, email))
}

/// What a stranger wrote, on one line and without what looks like a link.
fn printable(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).take(200).collect::<String>().replace("://", ": //")
}
