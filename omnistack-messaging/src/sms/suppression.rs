//! SMS suppressions: numbers that no message is sent to, because their owner opted out or an operator added them.

mod admin;

pub use admin::SmsApi;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PhoneNumber;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, Tx},
};

/// The reason for an SMS suppression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SmsSuppressionReason {
    /// The owner of the number replied STOP.
    OptOut,
    /// An operator added the number.
    Manual,
}

impl SmsSuppressionReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "opt_out",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for SmsSuppressionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An SMS suppression: a number that no message is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct SmsSuppression {
    /// The suppressed number, such as `+491701234567`.
    pub number: String,
    /// The reason for the suppression.
    pub reason: SmsSuppressionReason,
    /// Details from the provider or the operator.
    #[schema(required)]
    pub detail: Option<String>,
    /// The time at which the number was added.
    pub created_at: Timestamp,
}

#[derive(omnistack_core::db::FromRow)]
struct SmsSuppressionRow {
    number: String,
    reason: String,
    detail: Option<String>,
    created_at: Timestamp,
}

impl SmsSuppressionRow {
    fn read(self) -> SmsSuppression {
        let reason = if self.reason == "opt_out" { SmsSuppressionReason::OptOut } else { SmsSuppressionReason::Manual };
        SmsSuppression { number: self.number, reason, detail: self.detail, created_at: self.created_at }
    }
}

/// The SMS suppressions. The handle is cheap to clone.
#[derive(Clone, Debug)]
pub struct SmsSuppressions {
    db: Db,
    clock: Clock,
}

impl SmsSuppressions {
    /// Creates a handle to the suppressions in this database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Adds a number. Returns whether it was added; if it is suppressed already, it keeps its reason.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn add(
        &self,
        number: &PhoneNumber,
        reason: SmsSuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        let mut tx = self.db.begin().await?;
        let added = self.add_in(&mut tx, number, reason, detail).await?;
        tx.commit().await?;
        Ok(added)
    }

    pub(in crate::sms) async fn add_in(
        &self,
        tx: &mut Tx,
        number: &PhoneNumber,
        reason: SmsSuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        let detail = detail.map(|detail| detail.replace('\0', "\u{fffd}").chars().take(500).collect::<String>());
        let added = tx
            .query(
                "insert into omni_sms_suppressions (number, reason, detail, created_at) values ($1, $2, $3, $4)
                 on conflict (number) do nothing",
            )
            .bind(number.as_str())
            .bind(reason.as_str())
            .bind(detail)
            .bind(self.clock.now())
            .execute()
            .await?;
        Ok(added > 0)
    }

    /// Removes a number. Returns whether it was suppressed.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove(&self, number: &PhoneNumber) -> Result<bool, db::Error> {
        let mut tx = self.db.begin().await?;
        let removed = self.remove_in(&mut tx, number).await?;
        tx.commit().await?;
        Ok(removed)
    }

    pub(in crate::sms) async fn remove_in(&self, tx: &mut Tx, number: &PhoneNumber) -> Result<bool, db::Error> {
        let removed =
            tx.query("delete from omni_sms_suppressions where number = $1").bind(number.as_str()).execute().await?;
        Ok(removed > 0)
    }

    /// Returns the suppression of a number. Returns `None` if the number is not suppressed.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, number: &PhoneNumber) -> Result<Option<SmsSuppression>, db::Error> {
        let row: Option<SmsSuppressionRow> = self
            .db
            .query("select number, reason, detail, created_at from omni_sms_suppressions where number = $1")
            .bind(number.as_str())
            .fetch_optional()
            .await?;
        Ok(row.map(SmsSuppressionRow::read))
    }

    /// Returns at most `limit` suppressions with numbers after `after`, ordered by number.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn list(&self, after: &str, limit: u32) -> Result<Vec<SmsSuppression>, db::Error> {
        let rows: Vec<SmsSuppressionRow> = self
            .db
            .query(
                "select number, reason, detail, created_at from omni_sms_suppressions where number > $1
                 order by number limit $2",
            )
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(SmsSuppressionRow::read).collect())
    }
}
