//! Removing what is left over.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, identity::TenantId};

use super::{FileService, STORAGE_BYTES, announced::ANNOUNCED_TTL};
use crate::{
    Error,
    model::INCOMING,
    store::{self, upload_key},
};

/// How long what a dead process was writing is left alone.
const UNFINISHED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows at once.
const CHUNK: i64 = 200;
/// Objects at once.
const OBJECTS: usize = 200;

impl FileService {
    /// Has everything of a tenant that is gone removed by the next [`sweep`](Self::sweep), whatever could be restored before.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_tenant(&self, tenant: TenantId) -> Result<(), Error> {
        let long_ago = self.0.clock.now() - self.0.settings.delete_grace - UNFINISHED_TTL;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        store::forget_tenant(&mut tx, tenant, long_ago).await?;
        Ok(tx.commit().await?)
    }

    /// Removes, with their bytes: files whose bytes did not come in time, files whose time to be restored is over, what arrived at links
    /// and was not confirmed within two hours, and what processes that died had begun to write. Returns how many there were. Runs every hour
    /// by itself.
    ///
    /// # Errors
    /// The database's and the provider's; what was not removed is the next time.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let now = self.0.clock.now();
        let mut removed = 0;
        loop {
            // The clock works for every tenant.
            let mut tx = self.0.db.all_tenants().read().await?;
            let mut files = store::overdue(&mut tx, now, CHUNK).await?;
            files.extend(store::outlived(&mut tx, now - self.0.settings.delete_grace, CHUNK).await?);
            tx.commit().await?;
            if files.is_empty() {
                break;
            }
            for file in &files {
                if file.deleted_at.is_some() {
                    // Before the row is gone, and once, however often this is done.
                    let bytes = i64::try_from(file.size).unwrap_or(i64::MAX);
                    self.count(file.tenant_id, STORAGE_BYTES, -bytes, Some(format!("file/{}/removed", file.id))).await;
                }
                removed += usize::from(self.remove(file).await?);
            }
        }
        // A file is announced before its bytes arrive, so it can't be confirmed any more.
        removed += self.sweep_incoming(now - ANNOUNCED_TTL).await?;
        for storage in self.0.archive.iter().chain([&self.0.storage]) {
            removed += storage.remove_unfinished(now - UNFINISHED_TTL).await?;
        }
        let mut tx = self.0.db.all_tenants().begin().await?;
        upload_key::remove_expired(&mut tx, now).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Removes what arrived at links before then.
    async fn sweep_incoming(&self, before: Timestamp) -> Result<usize, Error> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let listing = self.0.storage.list(INCOMING, after.as_ref(), OBJECTS).await?;
            for object in &listing.objects {
                if object.modified_at < before {
                    self.0.storage.delete(&object.key).await?;
                    removed += 1;
                }
            }
            after = listing.objects.last().map(|last| last.key.clone());
            if !listing.more {
                return Ok(removed);
            }
        }
    }
}
