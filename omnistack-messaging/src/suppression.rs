//! The suppression list: recipients that no message is sent to, because a mail to them bounced permanently, they
//! complained or opted out, or an operator added them.
//!
//! Further messages to them would harm the delivery of all other messages. The providers' webhooks and operators add
//! recipients; the [outbox](crate::outbox) leaves them out and records which.

mod routes;
mod store;

pub(crate) use routes::register_routes;
pub(crate) use store::SuppressionStore;

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, Migrations, Tx},
    migrations,
    module::Registry,
};

/// Adds the tables of messages and suppressions to the app.
pub(crate) fn register_migrations(registry: &mut Registry) {
    registry.shared_migrations("messaging", MIGRATIONS);
}

/// Migrations of the tables of messages and suppressions, for use without an [`App`](omnistack_core::app::App), whose
/// modules include them. Their history is `messaging`: `db.migrate("messaging", outbox::MIGRATIONS)`.
pub const MIGRATIONS: Migrations = migrations!["0001_messages"];

/// A recipient of messages of one channel: an address or a telephone number.
pub trait Recipient: Clone + fmt::Debug + Send + Sync + 'static {
    /// The name of the channel, such as `sms`. It is stored with each message and must not change.
    const CHANNEL: &'static str;
    /// The kind of recipient in the resource of audit entries, such as `number`.
    const KIND: &'static str;
    /// The audit action of adding a recipient to the suppression list.
    const SUPPRESSED: &'static str;
    /// The audit action of removing a recipient from the suppression list.
    const RELEASED: &'static str;

    /// Parses a recipient that an operator entered.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    fn parse_recipient(text: &str) -> Result<Self, String>;

    /// Returns the text that is equal for equal recipients.
    fn key(&self) -> String;
}

/// The reason for a suppression.
///
/// ```
/// # #[cfg(feature = "email")] {
/// use omnistack_messaging::email::SuppressionReason;
///
/// fn can_its_owner_remove_it(reason: SuppressionReason) -> bool {
///     match reason {
///         // If the owner shows that the mailbox exists again.
///         SuppressionReason::Bounce => true,
///         _ => false,
///     }
/// }
///
/// assert!(can_its_owner_remove_it(SuppressionReason::Bounce));
/// assert_eq!(SuppressionReason::OptOut.to_string(), "opt_out");
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SuppressionReason {
    /// The mailbox does not exist, or refused mail permanently.
    Bounce,
    /// The owner of the address reported a mail as spam.
    Complaint,
    /// The owner of the number replied STOP.
    OptOut,
    /// An operator added the recipient.
    Manual,
}

impl SuppressionReason {
    /// Returns the reason as it is stored, such as `opt_out`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::OptOut => "opt_out",
            Self::Manual => "manual",
        }
    }

    fn from_stored(text: &str) -> Self {
        let reasons = [Self::Bounce, Self::Complaint, Self::OptOut];
        reasons.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Manual)
    }
}

impl fmt::Display for SuppressionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A suppression: a recipient that no message is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct Suppression {
    /// The suppressed mailbox in lower case, or the suppressed number, such as `+491701234567`.
    pub recipient: String,
    /// The reason for the suppression.
    pub reason: SuppressionReason,
    /// Details from the provider or the operator.
    #[schema(required)]
    pub detail: Option<String>,
    /// The time at which the recipient was added.
    pub created_at: Timestamp,
}

/// The suppressions of one channel. The handle is cheap to clone. Its names are `email::Suppressions` and
/// `sms::SmsSuppressions`.
#[derive(Clone, Debug)]
pub struct SuppressionList<R> {
    store: SuppressionStore,
    recipient: PhantomData<fn() -> R>,
}

impl<R: Recipient> SuppressionList<R> {
    /// Creates a handle to the suppressions in this database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { store: SuppressionStore { db, clock, channel: R::CHANNEL }, recipient: PhantomData }
    }

    /// Adds a recipient. Returns whether it was added; if it is suppressed already, it keeps its reason.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn add(&self, recipient: &R, reason: SuppressionReason, detail: Option<&str>) -> Result<bool, db::Error> {
        let mut tx = self.store.db.begin().await?;
        let added = self.add_in(&mut tx, recipient, reason, detail).await?;
        tx.commit().await?;
        Ok(added)
    }

    /// Like [`add`](Self::add), in the caller's transaction.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn add_in(
        &self,
        tx: &mut Tx,
        recipient: &R,
        reason: SuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        self.store.add_in(tx, &recipient.key(), reason, detail).await
    }

    /// Removes a recipient. Returns whether it was suppressed.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove(&self, recipient: &R) -> Result<bool, db::Error> {
        let mut tx = self.store.db.begin().await?;
        let removed = self.remove_in(&mut tx, recipient).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Like [`remove`](Self::remove), in the caller's transaction.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove_in(&self, tx: &mut Tx, recipient: &R) -> Result<bool, db::Error> {
        self.store.remove_in(tx, &recipient.key()).await
    }

    /// Returns the suppression of a recipient. Returns `None` if it is not suppressed.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, recipient: &R) -> Result<Option<Suppression>, db::Error> {
        self.store.get(recipient.key()).await
    }

    /// Returns the suppressions among these recipients.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn suppressed_among<'a>(
        &self,
        recipients: impl IntoIterator<Item = &'a R>,
    ) -> Result<Vec<Suppression>, db::Error> {
        self.store.among(recipients.into_iter().map(R::key).collect()).await
    }

    /// Returns at most `limit` suppressions, the newest first. With `before`, the time and the recipient of the last
    /// suppression of the previous page, it returns only those after it.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn list(&self, before: Option<(Timestamp, &str)>, limit: u32) -> Result<Vec<Suppression>, db::Error> {
        self.store.list(before, limit).await
    }
}
