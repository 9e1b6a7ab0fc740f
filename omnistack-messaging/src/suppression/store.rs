//! The SQL of the suppression list.

use sqlx::types::Json;

use super::{Suppression, SuppressionReason};
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, Sql, Tx},
};

#[derive(omnistack_core::db::FromRow)]
struct SuppressionRow {
    recipient: String,
    reason: String,
    detail: Option<String>,
    created_at: Timestamp,
}

impl SuppressionRow {
    fn read(self) -> Suppression {
        let reason = SuppressionReason::from_stored(&self.reason);
        Suppression { recipient: self.recipient, reason, detail: self.detail, created_at: self.created_at }
    }
}

/// The database access to the suppressions of one channel. Recipients are passed as their keys.
#[derive(Clone, Debug)]
pub(crate) struct SuppressionStore {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) channel: &'static str,
}

impl SuppressionStore {
    pub(super) async fn add_in(
        &self,
        tx: &mut Tx,
        recipient: &str,
        reason: SuppressionReason,
        detail: Option<&str>,
    ) -> Result<bool, db::Error> {
        let detail = detail.map(|detail| detail.replace('\0', "\u{fffd}").chars().take(500).collect::<String>());
        let added = tx
            .query(
                "insert into omni_suppressions (channel, recipient, reason, detail, created_at)
                 values ($1, $2, $3, $4, $5) on conflict (channel, recipient) do nothing",
            )
            .bind(self.channel)
            .bind(recipient)
            .bind(reason.as_str())
            .bind(detail)
            .bind(self.clock.now())
            .execute()
            .await?;
        Ok(added > 0)
    }

    pub(super) async fn remove_in(&self, tx: &mut Tx, recipient: &str) -> Result<bool, db::Error> {
        let sql = "delete from omni_suppressions where channel = $1 and recipient = $2";
        Ok(tx.query(sql).bind(self.channel).bind(recipient).execute().await? > 0)
    }

    pub(super) async fn get(&self, recipient: String) -> Result<Option<Suppression>, db::Error> {
        Ok(self.among(vec![recipient]).await?.pop())
    }

    /// Returns the suppressions among these recipients, ordered by recipient.
    pub(super) async fn among(&self, recipients: Vec<String>) -> Result<Vec<Suppression>, db::Error> {
        const AMONG: Sql = Sql {
            postgres: "select recipient, reason, detail, created_at from omni_suppressions
                       where channel = $1 and recipient in (select jsonb_array_elements_text($2)) order by recipient",
            sqlite: "select recipient, reason, detail, created_at from omni_suppressions
                     where channel = $1 and recipient in (select value from json_each($2)) order by recipient",
        };
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let query = self.db.query(AMONG).bind(self.channel).bind(Json(recipients));
        let rows: Vec<SuppressionRow> = query.fetch_all().await?;
        Ok(rows.into_iter().map(SuppressionRow::read).collect())
    }

    pub(super) async fn list(
        &self,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<Suppression>, db::Error> {
        let query = match before {
            None => self.db.query(
                "select recipient, reason, detail, created_at from omni_suppressions
                 where channel = $1 order by created_at desc, recipient desc limit $2",
            ),
            Some(_) => self.db.query(
                "select recipient, reason, detail, created_at from omni_suppressions
                 where channel = $1 and (created_at, recipient) < ($3, $4)
                 order by created_at desc, recipient desc limit $2",
            ),
        };
        let mut query = query.bind(self.channel).bind(i64::from(limit));
        if let Some((at, recipient)) = before {
            query = query.bind(at).bind(recipient);
        }
        let rows: Vec<SuppressionRow> = query.fetch_all().await?;
        Ok(rows.into_iter().map(SuppressionRow::read).collect())
    }
}
