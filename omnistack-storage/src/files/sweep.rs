//! Removing what is left over.

use std::time::Duration;

use omnistack_core::identity::TenantId;

use super::{FileService, STORAGE_BYTES};
use crate::{Error, model::INCOMING, store};

/// How long a file is awaited.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
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
        let long_ago = self.0.clock.now() - (self.0.settings.delete_grace + PATIENCE) * 2;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        store::forget_tenant(&mut tx, tenant, long_ago).await?;
        Ok(tx.commit().await?)
    }

    /// Removes, with their bytes: files whose bytes never came, files whose time to be restored is over, and what arrived at links
    /// and is no file's. Returns how many. Runs every hour by itself.
    ///
    /// # Errors
    /// The database's and the provider's; what was not removed is the next time.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let now = self.0.clock.now();
        let mut removed = 0;
        loop {
            // The clock works for every tenant.
            let mut tx = self.0.db.all_tenants().read().await?;
            let mut files = store::overdue(&mut tx, now - PATIENCE, CHUNK).await?;
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
        let mut after = None;
        loop {
            let listing = self.0.storage.list(INCOMING, after.as_ref(), OBJECTS).await?;
            for object in &listing.objects {
                if object.modified_at < now - PATIENCE - PATIENCE {
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
