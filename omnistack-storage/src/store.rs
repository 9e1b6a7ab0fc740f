//! The SQL of the crate. Transactions belong to one tenant, except in queries of jobs, which act for all tenants.

macro_rules! columns {
    () => {
        "id, tenant_id, user_id, name, content_type, size, sha256, state, created_at, tags, storage_class, \
         restored_until, restoring, deleted_at"
    };
}

pub(crate) mod archive;
pub(crate) mod upload_key;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Error, Tx},
    identity::{TenantId, UserId},
};
use uuid::Uuid;

use crate::model::{File, FileId, FileState};

#[derive(omnistack_core::db::FromRow)]
struct FileRow {
    id: FileId,
    tenant_id: TenantId,
    user_id: UserId,
    name: String,
    content_type: String,
    size: i64,
    sha256: Option<String>,
    state: String,
    created_at: Timestamp,
    tags: String,
    storage_class: Option<String>,
    restored_until: Option<Timestamp>,
    restoring: Option<i32>,
    deleted_at: Option<Timestamp>,
}

impl From<FileRow> for File {
    fn from(row: FileRow) -> Self {
        let FileRow { id, tenant_id, user_id, name, content_type, created_at, storage_class, .. } = row;
        Self {
            id,
            tenant_id,
            user_id,
            name,
            content_type,
            size: u64::try_from(row.size).unwrap_or(0),
            sha256: row.sha256.and_then(|text| text.parse().ok()),
            state: FileState::from_db(&row.state),
            created_at,
            // Written by `json` below, so it is always a JSON list.
            tags: serde_json::from_str(&row.tags).unwrap_or_default(),
            storage_class,
            restored_until: row.restored_until,
            restoring: row.restoring,
            deleted_at: row.deleted_at,
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Inserts a file that is not stored yet; its upload must complete before `pending_until`.
pub(crate) async fn insert(tx: &mut Tx, file: &File, pending_until: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_files (id, tenant_id, user_id, name, content_type, size, sha256, state, created_at, \
               tags, pending_until) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let insert = tx.query(sql).bind(file.id).bind(file.tenant_id).bind(file.user_id).bind(file.name.clone());
    let insert = insert.bind(file.content_type.clone()).bind(signed(file.size));
    let insert = insert.bind(file.sha256.map(|hash| hash.to_string())).bind(file.state.as_str());
    insert.bind(file.created_at).bind(json(&file.tags)).bind(pending_until).execute().await?;
    Ok(())
}

fn json(tags: &[String]) -> String {
    serde_json::Value::from(tags).to_string()
}

/// Sets the tags of a stored file that is not deleted. Returns whether there is such a file.
pub(crate) async fn set_tags(tx: &mut Tx, tenant: TenantId, id: FileId, tags: &[String]) -> Result<bool, Error> {
    let sql =
        "update omni_files set tags = $3 where tenant_id = $1 and id = $2 and state = 'stored' and deleted_at is null";
    Ok(tx.query(sql).bind(tenant).bind(id).bind(json(tags)).execute().await? == 1)
}

/// Returns a file of a tenant in any state.
pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, id: FileId) -> Result<Option<File>, Error> {
    let sql = concat!("select ", columns!(), " from omni_files where tenant_id = $1 and id = $2");
    let row: Option<FileRow> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Returns the stored files of a tenant, newest first, with ids below `after`: the deleted ones or the others.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    deleted: bool,
    after: Option<FileId>,
    limit: i64,
) -> Result<Vec<File>, Error> {
    macro_rules! list {
        ($condition:literal) => {
            concat!(
                "select ",
                columns!(),
                " from omni_files where tenant_id = $1 and state = 'stored' and ",
                $condition,
                " and id < $2 order by id desc limit $3"
            )
        };
    }
    let sql = if deleted { list!("deleted_at is not null") } else { list!("deleted_at is null") };
    let after = after.unwrap_or_else(|| FileId::from_uuid(Uuid::max()));
    let rows: Vec<FileRow> = tx.query(sql).bind(tenant).bind(after).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns how many uploads of a tenant are unfinished and can still complete.
pub(crate) async fn count_unfinished(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<i64, Error> {
    let sql = "select count(*) from omni_files where tenant_id = $1 and state <> 'stored' and pending_until > $2";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(now).fetch_one().await?;
    Ok(count)
}

/// Returns whether a direct upload was created and can still be completed.
pub(crate) async fn is_awaited(tx: &mut Tx, tenant: TenantId, id: FileId, now: Timestamp) -> Result<bool, Error> {
    let sql = "select 1 from omni_files where tenant_id = $1 and id = $2 and state = 'awaited' and pending_until > $3";
    let row: Option<(i32,)> = tx.query(sql).bind(tenant).bind(id).bind(now).fetch_optional().await?;
    Ok(row.is_some())
}

/// Cancels an upload, so that it can't complete any more. Returns `false` if the file is stored or its row is
/// gone.
pub(crate) async fn cancel_upload(tx: &mut Tx, file: &File) -> Result<bool, Error> {
    let sql = "update omni_files set pending_until = created_at where tenant_id = $1 and id = $2 and state <> 'stored'";
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).execute().await? == 1)
}

/// Marks a file as stored, with its size, checksum and media type. Returns `false` if the upload was cancelled,
/// has expired or is in another state.
pub(crate) async fn set_stored(
    tx: &mut Tx,
    file: &File,
    size: u64,
    sha256: Option<Sha256>,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "update omni_files set state = 'stored', size = $4, sha256 = $5, content_type = $6, stored_at = $7 \
               where tenant_id = $1 and id = $2 and state = $3 and pending_until > $7";
    let update = tx.query(sql).bind(file.tenant_id).bind(file.id).bind(file.state.as_str()).bind(signed(size));
    let update = update.bind(sha256.map(|hash| hash.to_string())).bind(file.content_type.clone());
    Ok(update.bind(now).execute().await? == 1)
}

/// Sets or clears the deletion time of a stored file. Returns `false` if there is no such file, or it is already
/// deleted or not deleted, respectively.
pub(crate) async fn set_deleted(
    tx: &mut Tx,
    tenant: TenantId,
    id: FileId,
    deleted_at: Option<Timestamp>,
) -> Result<bool, Error> {
    let sql = "update omni_files set deleted_at = $3 where tenant_id = $1 and id = $2 and state = 'stored' \
               and (deleted_at is null) = $4";
    let update = tx.query(sql).bind(tenant).bind(id).bind(deleted_at).bind(deleted_at.is_some());
    Ok(update.execute().await? == 1)
}

/// Deletes all files of a tenant: sets the deletion time of stored files and the deadline of unfinished uploads
/// to `at`.
pub(crate) async fn delete_tenant(tx: &mut Tx, tenant: TenantId, at: Timestamp) -> Result<(), Error> {
    for sql in [
        "update omni_files set deleted_at = $2 where tenant_id = $1 and state = 'stored'",
        "update omni_files set pending_until = $2 where tenant_id = $1 and state <> 'stored'",
    ] {
        tx.query(sql).bind(tenant).bind(at).execute().await?;
    }
    Ok(())
}

/// Removes the row of a file. Returns `false` if the file is gone or its state has changed.
pub(crate) async fn remove(tx: &mut Tx, file: &File) -> Result<bool, Error> {
    let sql = "delete from omni_files where tenant_id = $1 and id = $2 and state = $3 and (deleted_at is null) = $4";
    let delete = tx.query(sql).bind(file.tenant_id).bind(file.id).bind(file.state.as_str());
    Ok(delete.bind(file.deleted_at.is_none()).execute().await? == 1)
}

/// Returns unfinished uploads of all tenants whose deadline has passed.
pub(crate) async fn list_expired_uploads(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from omni_files where state <> 'stored' and pending_until <= $1 order by pending_until limit $2"
    );
    let rows: Vec<FileRow> = tx.query(sql).bind(now).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns files of all tenants that were deleted before `before`.
pub(crate) async fn list_purgeable(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from omni_files where deleted_at is not null and deleted_at < $1 order by deleted_at limit $2"
    );
    let rows: Vec<FileRow> = tx.query(sql).bind(before).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns the bytes that a tenant stores and has reserved.
pub(crate) async fn usage(tx: &mut Tx, tenant: TenantId) -> Result<u64, Error> {
    let sql = "select bytes from omni_file_usage where tenant_id = $1";
    let row: Option<(i64,)> = tx.query(sql).bind(tenant).fetch_optional().await?;
    Ok(row.map_or(0, |(bytes,)| u64::try_from(bytes).unwrap_or(0)))
}

/// Adds bytes to the usage of a tenant unless it would exceed `limit`, and returns whether it did. Concurrent
/// transactions of the tenant wait for each other.
pub(crate) async fn reserve_bytes(tx: &mut Tx, tenant: TenantId, bytes: u64, limit: u64) -> Result<bool, Error> {
    if bytes > limit {
        return Ok(false);
    }
    let sql = "insert into omni_file_usage (tenant_id, bytes) values ($1, $2) on conflict (tenant_id) \
               do update set bytes = omni_file_usage.bytes + $2 where omni_file_usage.bytes <= $3 - $2";
    let insert = tx.query(sql).bind(tenant).bind(signed(bytes)).bind(signed(limit));
    Ok(insert.execute().await? == 1)
}

/// Subtracts bytes from the usage of a tenant.
pub(crate) async fn release_bytes(tx: &mut Tx, tenant: TenantId, bytes: u64) -> Result<(), Error> {
    let sql = "update omni_file_usage set bytes = case when bytes > $2 then bytes - $2 else 0 end where tenant_id = $1";
    tx.query(sql).bind(tenant).bind(signed(bytes)).execute().await?;
    Ok(())
}
