//! Where files are kept, and until when. For operators and the clock: of every tenant.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
};
use uuid::Uuid;

use super::Row;
use crate::model::{ELSEWHERE, File, FileId};

/// Files of this age that are in no class of their own, of every tenant, the oldest first, behind another.
pub(crate) async fn aged(
    tx: &mut Tx,
    before: Timestamp,
    after: Option<(Timestamp, FileId)>,
    limit: i64,
) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from files where state = 'stored' and storage_class is null and deleted_at is null and created_at < $1 \
         and (created_at, id) > ($2, $3) order by created_at, id limit $4"
    );
    let (at, id) = after.unwrap_or_else(|| (Timestamp::from_micros(0), FileId::from_uuid(Uuid::nil())));
    let rows: Vec<Row> = tx.query(sql).bind(before).bind(at).bind(id).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// A file of any tenant: for operators.
pub(crate) async fn of_any_tenant(tx: &mut Tx, id: FileId) -> Result<Option<File>, Error> {
    let sql = concat!("select ", columns!(), " from files where id = $1");
    let row: Option<Row> = tx.query(sql).bind(id).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Notes where it is kept from now on; elsewhere, with a copy here that is still to be removed.
pub(crate) async fn set_class(tx: &mut Tx, file: &File, class: &str, now: Timestamp) -> Result<bool, Error> {
    let sql = "update files set storage_class = $3, archived_at = $4, restoring = $5 \
               where tenant_id = $1 and id = $2 and state = 'stored' and storage_class is null";
    let update = tx.query(sql).bind(file.tenant_id).bind(file.id).bind(class.to_owned()).bind(now);
    Ok(update.bind((class == ELSEWHERE).then_some(0_i32)).execute().await? == 1)
}

/// Files that were brought back from elsewhere for a time that is over, of every tenant, and those whose copy here was to be
/// removed before.
pub(crate) async fn over(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<File>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from files where (restored_until <= $1 and restoring is null) or restoring = 0 limit $2"
    );
    let rows: Vec<Row> = tx.query(sql).bind(now).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Whether nobody wants it any more, and nobody can before its copy here is removed.
pub(crate) async fn leaves(tx: &mut Tx, file: &File, now: Timestamp) -> Result<bool, Error> {
    let sql = "update files set restoring = 0, restored_until = null where tenant_id = $1 and id = $2 \
               and (restoring = 0 or (restoring is null and restored_until <= $3))";
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(now).execute().await? == 1)
}

/// Its copy here is removed.
pub(crate) async fn left(tx: &mut Tx, file: &File) -> Result<(), Error> {
    let sql = "update files set restoring = null where tenant_id = $1 and id = $2 and restoring = 0";
    tx.query(sql).bind(file.tenant_id).bind(file.id).execute().await?;
    Ok(())
}

/// Asks for it to be brought back, unless its copy here is being removed at this moment.
pub(crate) async fn ask(tx: &mut Tx, file: &File, days: u32) -> Result<bool, Error> {
    let sql =
        "update files set restoring = $3 where tenant_id = $1 and id = $2 and (restoring is null or restoring > 0)";
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(days).execute().await? == 1)
}

/// There is a copy here until then.
pub(crate) async fn is_back(tx: &mut Tx, file: &File, until: Timestamp) -> Result<bool, Error> {
    let sql =
        "update files set restoring = null, restored_until = $3 where tenant_id = $1 and id = $2 and restoring > 0";
    Ok(tx.query(sql).bind(file.tenant_id).bind(file.id).bind(until).execute().await? == 1)
}

/// Deletes files that were archived before, of every tenant; they can be restored for a while, as all that are deleted.
pub(crate) async fn retire(tx: &mut Tx, before: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let sql = "update files set deleted_at = $2 where archived_at < $1 and state = 'stored' and deleted_at is null";
    tx.query(sql).bind(before).bind(now).execute().await
}

/// How many files are where, and their bytes.
pub(crate) async fn classes(tx: &mut Tx) -> Result<Vec<(Option<String>, i64, i64)>, Error> {
    let sql = "select storage_class, count(*), cast(sum(size) as bigint) from files where state = 'stored' \
               group by storage_class order by storage_class";
    tx.query(sql).fetch_all().await
}
