//! SQL for archived files. These queries serve operators and jobs, and most act for all tenants.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
};
use uuid::Uuid;

use super::FileRow;
use crate::model::{EXTERNAL_ARCHIVE, File, FileId};

/// Returns stored files of all tenants that are not archived and were created before `before`, oldest first,
/// after the position `after`.
pub(crate) async fn list_unarchived_before(
    tx: &mut Tx,
    before: Timestamp,
    after: Option<(Timestamp, FileId)>,
    limit: i64,
) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from omni_files where state = 'stored' and storage_class is null and deleted_at is null and created_at < $1 \
         and (created_at, id) > ($2, $3) order by created_at, id limit $4"
    );
    let (at, id) = after.unwrap_or_else(|| (Timestamp::from_micros(0), FileId::from_uuid(Uuid::nil())));
    let rows: Vec<FileRow> = tx.query(sql).bind(before).bind(at).bind(id).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns a file of any tenant, for operators.
pub(crate) async fn find_in_any_tenant(tx: &mut Tx, id: FileId) -> Result<Option<File>, Error> {
    let sql = concat!("select ", columns!(), " from omni_files where id = $1");
    let row: Option<FileRow> = tx.query(sql).bind(id).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Sets the storage class of a file that is stored and not archived. For the external archive, also records that
/// the copy in the main storage must be deleted. Returns whether the row changed.
pub(crate) async fn set_class(tx: &mut Tx, file: &File, class: &str, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_files set storage_class = $3, archived_at = $4, restoring = $5 \
               where tenant_id = $1 and id = $2 and state = 'stored' and storage_class is null";
    let update = tx.query(sql).bind(file.tenant_id).bind(file.id).bind(class.to_owned()).bind(now);
    Ok(update.bind((class == EXTERNAL_ARCHIVE).then_some(0_i32)).execute().await? == 1)
}

/// Returns files of all tenants whose copy in the main storage must be deleted: the restoration has expired, or
/// an earlier deletion did not complete.
pub(crate) async fn list_expired_copies(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from omni_files where (restored_until <= $1 and restoring is null) or restoring = 0 limit $2"
    );
    let rows: Vec<FileRow> = tx.query(sql).bind(now).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Marks the copy in the main storage as being deleted, so that it can't be read or requested in the meantime.
/// Returns `false` if the file was requested again or its time has not passed.
pub(crate) async fn mark_copy_for_deletion(tx: &mut Tx, file: &File, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_files set restoring = 0, restored_until = null where tenant_id = $1 and id = $2 \
               and (restoring = 0 or (restoring is null and restored_until <= $3))";
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(now).execute().await? == 1)
}

/// Records that the copy in the main storage was deleted.
pub(crate) async fn set_copy_deleted(tx: &mut Tx, file: &File) -> Result<(), Error> {
    let sql = "update omni_files set restoring = null where tenant_id = $1 and id = $2 and restoring = 0";
    tx.query(sql).bind(file.tenant_id).bind(file.id).execute().await?;
    Ok(())
}

/// Requests that a file is restored for a number of days. Returns `false` while its copy in the main storage is
/// being deleted.
pub(crate) async fn request_restore(tx: &mut Tx, file: &File, days: u32) -> Result<bool, Error> {
    let sql = "update omni_files set restoring = $3 where tenant_id = $1 and id = $2 and (restoring is null or restoring > 0)";
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(days).execute().await? == 1)
}

/// Records that the file is restored until a time. Returns `false` if the request was withdrawn or the file was
/// purged.
pub(crate) async fn set_restored(tx: &mut Tx, file: &File, until: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_files set restoring = null, restored_until = $3 where tenant_id = $1 and id = $2 and restoring > 0";
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(until).execute().await? == 1)
}

/// Deletes files of all tenants that were archived before `before`, and returns how many. Like all deleted files,
/// they can be restored for a while.
pub(crate) async fn delete_archived_before(tx: &mut Tx, before: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let sql =
        "update omni_files set deleted_at = $2 where archived_at < $1 and state = 'stored' and deleted_at is null";
    tx.query(sql).bind(before).bind(now).execute().await
}

/// Returns the number of files and bytes in each storage class.
pub(crate) async fn usage_by_class(tx: &mut Tx) -> Result<Vec<(Option<String>, i64, i64)>, Error> {
    let sql = "select storage_class, count(*), cast(sum(size) as bigint) from omni_files where state = 'stored' \
               group by storage_class order by storage_class";
    tx.query(sql).fetch_all().await
}
