//! Forgetting what has expired.

use std::time::Duration;

use super::IdempotencyLayer;
use crate::{app::Shutdown, db};

/// Between two sweeps.
const PAUSE: Duration = Duration::from_secs(300);

/// Rows a statement deletes at most: its locks are short.
const BATCH: u32 = 500;

impl IdempotencyLayer {
    /// Deletes what has expired, in small batches; returns how many rows. An expired row counts for nothing before, too.
    pub async fn sweep(&self) -> Result<u64, db::Error> {
        let mut all = 0;
        loop {
            let deleted = self.keys().sweep(BATCH).await?;
            all += deleted;
            if deleted < u64::from(BATCH) {
                return Ok(all);
            }
        }
    }

    /// Sweeps every five minutes until told to end, then waits for the requests whose clients have gone away. An app does
    /// that by itself.
    ///
    /// # Errors
    /// A sweep failed; run it again.
    pub async fn keep(self, shutdown: Shutdown) -> Result<(), db::Error> {
        while shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            let deleted = self.sweep().await?;
            if deleted > 0 {
                tracing::debug!(target: "omnistack::idempotency", deleted, "expired keys are forgotten");
            }
        }
        self.keys().running.close();
        self.keys().running.wait().await;
        Ok(())
    }
}
