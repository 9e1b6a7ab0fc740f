//! Deletion of expired keys.

use std::time::Duration;

use super::IdempotencyLayer;
use crate::{ShutdownToken, db};

/// Time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// Largest number of rows per statement, so that its locks are short.
const MAX_ROWS_PER_STATEMENT: u32 = 500;

impl IdempotencyLayer {
    /// Deletes expired rows, in small batches. Returns how many. Expired rows are also ignored before they are
    /// deleted.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn sweep(&self) -> Result<u64, db::Error> {
        let mut all = 0;
        loop {
            let deleted = self.keys().sweep(MAX_ROWS_PER_STATEMENT).await?;
            all += deleted;
            if deleted < u64::from(MAX_ROWS_PER_STATEMENT) {
                return Ok(all);
            }
        }
    }

    /// Deletes expired rows every five minutes until shutdown, and then waits for requests whose clients have
    /// disconnected. An app runs this itself.
    ///
    /// # Errors
    /// Fails if a sweep fails. The caller should run it again.
    pub async fn run_sweeper(self, shutdown: ShutdownToken) -> Result<(), db::Error> {
        while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL)).await.is_some() {
            let deleted = self.sweep().await?;
            if deleted > 0 {
                tracing::debug!(target: "omnistack::idempotency", deleted, "deleted expired idempotency keys");
            }
        }
        self.keys().running.close();
        self.keys().running.wait().await;
        Ok(())
    }
}
