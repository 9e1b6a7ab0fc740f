//! The deletion of old errors.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db::{self, Sql},
};

use super::ErrorStore;
use crate::errors::model::hour_of;

/// Number of rows that one statement deletes.
const ROWS_PER_DELETE: i64 = 1_000;

/// Deletes old rows of a table, at most `$2`.
macro_rules! delete_old {
    ($table:literal, $time:literal) => {
        Sql {
            postgres: concat!(
                "delete from ",
                $table,
                " where ctid in (select ctid from ",
                $table,
                " where ",
                $time,
                " < $1 limit $2)"
            ),
            sqlite: concat!(
                "delete from ",
                $table,
                " where rowid in (select rowid from ",
                $table,
                " where ",
                $time,
                " < $1 limit $2)"
            ),
        }
    };
}

impl ErrorStore {
    /// Deletes the counts, samples and groups that are older than `keep`. Returns the number of rows.
    pub(in crate::errors) async fn purge(&self, keep: Duration, now: Timestamp) -> Result<u64, db::Error> {
        let before = (now - keep).as_micros();
        // A group is deleted after its counts, which need it.
        let tables = [
            (delete_old!("omni_error_counts", "hour"), hour_of(before)),
            (delete_old!("omni_error_samples", "at"), before),
            (delete_old!("omni_error_groups", "last_seen"), hour_of(before)),
        ];
        let mut deleted = 0;
        for (sql, before) in tables {
            deleted += self.delete(sql, before).await?;
        }
        deleted += self.delete(USERS_WITHOUT_GROUP, 0).await?;
        Ok(deleted)
    }

    async fn delete(&self, sql: Sql, before: i64) -> Result<u64, db::Error> {
        let mut deleted = 0;
        loop {
            let rows = self.db.query(sql).bind(before).bind(ROWS_PER_DELETE).execute().await?;
            deleted += rows;
            if rows < ROWS_PER_DELETE.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }
}

/// Deletes users and tenants of groups that were deleted. The first placeholder is not a limit: `first_seen` is later
/// than 1970.
const USERS_WITHOUT_GROUP: Sql = Sql {
    postgres: "delete from omni_error_users where ctid in (select users.ctid from omni_error_users users
where users.first_seen >= $1
and not exists (select 1 from omni_error_groups where omni_error_groups.id = users.group_id) limit $2)",
    sqlite: "delete from omni_error_users where rowid in (select users.rowid from omni_error_users users
where users.first_seen >= $1
and not exists (select 1 from omni_error_groups where omni_error_groups.id = users.group_id) limit $2)",
};
