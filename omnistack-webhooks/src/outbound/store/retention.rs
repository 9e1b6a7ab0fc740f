//! The SQL that deletes old messages.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error},
};

/// Number of messages that one transaction deletes, with their deliveries and attempts.
const MESSAGES_PER_DELETE: i64 = 500;

/// Deletes the messages of all tenants that are older than `before`, with their deliveries. Returns their number.
pub(crate) async fn purge(db: &Db, before: Timestamp) -> Result<u64, Error> {
    let sql = "delete from omni_webhook_messages where id in (select id from omni_webhook_messages \
               where created_at < $1 order by created_at limit $2)";
    let mut deleted = 0;
    loop {
        // The retention is the same for all tenants.
        let mut tx = db.all_tenants().begin().await?;
        let rows = tx.query(sql).bind(before).bind(MESSAGES_PER_DELETE).execute().await?;
        tx.commit().await?;
        deleted += rows;
        if rows < MESSAGES_PER_DELETE.unsigned_abs() {
            return Ok(deleted);
        }
    }
}
