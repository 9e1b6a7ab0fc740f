//! Mail suppressions: addresses that no mail is sent to, because mail to them bounced permanently, their owner
//! complained, or an operator added them.
//!
//! Further mail to them would harm the delivery of all other mail. The providers' webhooks (see
//! [`Mail`](super::Mail)) and operators add addresses. The [`Outbox`](super::Outbox) leaves out suppressed
//! recipients and records which.

mod admin;
mod event;
mod signature;
mod webhook;

pub use admin::EmailApi;

pub(super) use webhook::{WebhookKeys, WebhookState, routes};

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::Address;
use event::SuppressionEvent;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, Sql, Tx},
};

/// The reason for a mail suppression.
///
/// ```
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
/// assert!(!can_its_owner_remove_it(SuppressionReason::Complaint));
/// assert_eq!(SuppressionReason::Complaint.to_string(), "complaint");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SuppressionReason {
    /// The mailbox does not exist, or refused mail permanently.
    Bounce,
    /// The owner of the address reported a mail as spam.
    Complaint,
    /// An operator added the address.
    Manual,
}

impl SuppressionReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for SuppressionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mail suppression: an address that no mail is sent to.
///
/// ```
/// use omnistack_messaging::email::{SuppressionReason, Suppressions};
/// # use omnistack_core::{app::App, config::Config};
/// # use omnistack_messaging::email::Mail;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let suppressions: Suppressions = app.context().get()?;
/// suppressions.add(&"Gone@example.com".parse()?, SuppressionReason::Bounce, Some("550 no such user")).await?;
///
/// let newest = suppressions.list(None, 20).await?;
/// let lines: Vec<_> = newest.iter().map(|one| format!("{}: {}", one.address, one.reason)).collect();
/// assert_eq!(lines, ["gone@example.com: bounce"]);
/// assert_eq!(newest[0].detail.as_deref(), Some("550 no such user"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct Suppression {
    /// The suppressed mailbox, in lower case.
    pub address: String,
    /// The reason for the suppression.
    pub reason: SuppressionReason,
    /// Details from the provider or the operator.
    #[schema(required)]
    pub detail: Option<String>,
    /// The time at which the address was added.
    pub created_at: Timestamp,
}

impl Suppression {
    pub(super) fn matches(&self, address: &Address) -> bool {
        self.address == address.normalized()
    }
}

#[derive(omnistack_core::db::FromRow)]
struct SuppressionRow {
    address: String,
    reason: String,
    detail: Option<String>,
    created_at: Timestamp,
}

impl SuppressionRow {
    fn read(self) -> Suppression {
        let reasons = [SuppressionReason::Bounce, SuppressionReason::Complaint];
        let reason =
            reasons.into_iter().find(|reason| reason.as_str() == self.reason).unwrap_or(SuppressionReason::Manual);
        Suppression { address: self.address, reason, detail: self.detail, created_at: self.created_at }
    }
}

/// The mail suppressions. The handle is cheap to clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::Address};
/// use omnistack_messaging::email::{Mail, SuppressionReason, Suppressions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let suppressions: Suppressions = app.context().get()?;
/// let (ada, eve): (Address, Address) = ("ada@example.com".parse()?, "eve@example.com".parse()?);
/// assert!(suppressions.add(&eve, SuppressionReason::Manual, Some("asked by phone")).await?);
///
/// let left_out = suppressions.suppressed_among([&ada, &eve]).await?;
/// assert_eq!((left_out.len(), left_out[0].address.as_str()), (1, "eve@example.com"));
/// assert!(suppressions.remove(&eve).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Suppressions {
    db: Db,
    clock: Clock,
}

impl Suppressions {
    /// Creates a handle to the suppressions in this database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Adds an address. Returns whether it was added; if it is suppressed already, it keeps its reason.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn add(
        &self,
        address: &Address,
        reason: SuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        let mut tx = self.db.begin().await?;
        let added = self.add_in(&mut tx, address, reason, detail).await?;
        tx.commit().await?;
        Ok(added)
    }

    async fn add_in(
        &self,
        tx: &mut Tx,
        address: &Address,
        reason: SuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        let detail = detail.map(|detail| detail.replace('\0', "\u{fffd}").chars().take(500).collect::<String>());
        let added = tx
            .query(
                "insert into omni_email_suppressions (address, reason, detail, created_at) values ($1, $2, $3, $4)
                 on conflict (address) do nothing",
            )
            .bind(address.normalized())
            .bind(reason.as_str())
            .bind(detail)
            .bind(self.clock.now())
            .execute()
            .await?;
        Ok(added > 0)
    }

    /// Removes an address. Returns whether it was suppressed.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove(&self, address: &Address) -> Result<bool, db::Error> {
        let mut tx = self.db.begin().await?;
        let removed = Self::remove_in(&mut tx, address).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Like [`remove`](Self::remove), in the caller's transaction.
    pub(super) async fn remove_in(tx: &mut Tx, address: &Address) -> Result<bool, db::Error> {
        let removed = tx.query("delete from omni_email_suppressions where address = $1").bind(address.normalized());
        Ok(removed.execute().await? > 0)
    }

    /// Returns the suppressions among these addresses.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn suppressed_among<'a>(
        &self,
        addresses: impl IntoIterator<Item = &'a Address>,
    ) -> Result<Vec<Suppression>, db::Error> {
        const AMONG: Sql = Sql {
            postgres: "select address, reason, detail, created_at from omni_email_suppressions
                       where address in (select jsonb_array_elements_text($1)) order by address",
            sqlite: "select address, reason, detail, created_at from omni_email_suppressions
                     where address in (select value from json_each($1)) order by address",
        };
        let keys: Vec<_> = addresses.into_iter().map(Address::normalized).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<SuppressionRow> = self.db.query(AMONG).bind(Json(keys)).fetch_all().await?;
        Ok(rows.into_iter().map(SuppressionRow::read).collect())
    }

    /// Returns at most `limit` suppressions, the newest first. With `before`, the time and the address of the last
    /// suppression of the previous page, it returns only those after it.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn list(&self, before: Option<(Timestamp, &str)>, limit: u32) -> Result<Vec<Suppression>, db::Error> {
        let rows: Vec<SuppressionRow> = match before {
            None => {
                self.db
                    .query(
                        "select address, reason, detail, created_at from omni_email_suppressions
                         order by created_at desc, address desc limit $1",
                    )
                    .bind(i64::from(limit))
                    .fetch_all()
                    .await?
            }
            Some((at, address)) => {
                self.db
                    .query(
                        "select address, reason, detail, created_at from omni_email_suppressions
                         where (created_at, address) < ($1, $2) order by created_at desc, address desc limit $3",
                    )
                    .bind(at)
                    .bind(address)
                    .bind(i64::from(limit))
                    .fetch_all()
                    .await?
            }
        };
        Ok(rows.into_iter().map(SuppressionRow::read).collect())
    }

    /// Applies the events of a provider, all of them or none. Returns the number of suppressed addresses that were
    /// added. An event that was applied before is skipped, because an operator may have removed the address since.
    async fn apply_events(&self, provider: &'static str, events: &[SuppressionEvent]) -> Result<u64, db::Error> {
        let mut tx = self.db.begin().await?;
        let mut added = 0;
        for event in events {
            let new = tx
                .query(
                    "insert into omni_email_events (provider, id, received_at) values ($1, $2, $3) on conflict do nothing",
                )
                .bind(provider)
                .bind(event.id.as_str())
                .bind(self.clock.now())
                .execute()
                .await?;
            if new > 0 {
                added += u64::from(self.add_in(&mut tx, &event.address, event.reason, event.detail.as_deref()).await?);
            }
        }
        tx.commit().await?;
        Ok(added)
    }
}
