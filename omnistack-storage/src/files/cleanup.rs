//! Cleanup: deletes expired uploads and purges deleted files.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, identity::TenantId};

use super::{FileService, direct_upload::DIRECT_UPLOAD_TTL};
use crate::{
    Error,
    model::DIRECT_UPLOAD_PREFIX,
    store::{self, upload_key},
};

/// Time for which a provider keeps the data of uploads whose process died, and the margin by which a tenant's deletion
/// is backdated.
const UNFINISHED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The number of rows that are read from the database at a time.
const ROWS_PER_BATCH: i64 = 200;
/// The number of objects that are listed at a time.
const OBJECTS_PER_PAGE: usize = 200;

impl FileService {
    /// Deletes all files of a deleted tenant, without the time in which they could be restored: the next
    /// [`clean_up`](Self::clean_up) purges them.
    ///
    /// # Errors
    /// Database errors.
    pub async fn delete_tenant(&self, tenant: TenantId) -> Result<(), Error> {
        let long_ago = self.0.clock.now() - self.0.settings.delete_grace - UNFINISHED_TTL;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        store::delete_tenant(&mut tx, tenant, long_ago).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes, with their bytes: uploads that did not complete in time, deleted files whose `FILES_DELETE_GRACE`
    /// has passed, direct uploads that were not completed within two hours, and data of uploads whose process
    /// died, after a day. Also deletes expired idempotency keys. Returns how many files and objects were deleted.
    /// A job runs this every hour.
    ///
    /// # Errors
    /// Errors of the database and of the provider. What was not deleted is deleted by the next run.
    pub async fn clean_up(&self) -> Result<usize, Error> {
        let now = self.0.clock.now();
        let mut removed = 0;
        loop {
            // The job acts for all tenants.
            let mut tx = self.0.db.all_tenants().begin_read().await?;
            let mut files = store::list_expired_uploads(&mut tx, now, ROWS_PER_BATCH).await?;
            files.extend(store::list_purgeable(&mut tx, now - self.0.settings.delete_grace, ROWS_PER_BATCH).await?);
            tx.commit().await?;
            if files.is_empty() {
                break;
            }
            for file in &files {
                removed += usize::from(self.remove(file).await?);
            }
        }
        // A direct upload is created before its bytes arrive, so one as old as this can't be completed any more.
        removed += self.delete_expired_direct_uploads(now - DIRECT_UPLOAD_TTL).await?;
        for storage in self.0.archive.iter().chain([&self.0.storage]) {
            removed += storage.delete_unfinished_uploads(now - UNFINISHED_TTL).await?;
        }
        let mut tx = self.0.db.all_tenants().begin().await?;
        upload_key::remove_expired(&mut tx, now).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Deletes the objects of direct uploads that were stored before `before`. Returns how many were deleted.
    async fn delete_expired_direct_uploads(&self, before: Timestamp) -> Result<usize, Error> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let listing = self.0.storage.list(DIRECT_UPLOAD_PREFIX, after.as_ref(), OBJECTS_PER_PAGE).await?;
            for object in &listing.objects {
                if object.modified_at < before {
                    self.0.storage.delete(&object.key).await?;
                    removed += 1;
                }
            }
            after = listing.objects.last().map(|last| last.key.clone());
            if !listing.has_more {
                return Ok(removed);
            }
        }
    }
}
