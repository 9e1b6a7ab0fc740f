//! The SQL of notifications.

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Arguments, Db, Tx},
    identity::{Identity, TenantId, UserId},
    jobs::JobId,
    notification::NewNotification,
};
use sqlx::AssertSqlSafe;

use super::model::{NOTIFICATION_COLUMNS, NotificationId, NotificationRow};

/// Largest number of rows that one statement deletes, so that its locks are short.
pub(super) const MAX_DELETIONS_PER_TRANSACTION: u32 = 1_000;

/// Selects a user's notifications about a tenant and those about none. Without a tenant, `tenant_id = $2` selects none.
macro_rules! of_user {
    () => {
        "user_id = $1 and (tenant_id = $2 or tenant_id is null)"
    };
}

/// Does nothing if the user has a notification with this key about the same tenant, or if the same notification was
/// stored before. It names no columns of the conflict, because PostgreSQL would then require that the transaction sees
/// the row.
const INSERT: &str = "insert into omni_notifications
    (id, user_id, tenant_id, kind, title, body, link, data, key, created_at, digest_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing";

/// A notification to be mailed.
#[derive(Debug, omnistack_core::db::FromRow)]
pub(super) struct MailedNotification {
    pub(super) user_id: UserId,
    pub(super) tenant_id: Option<TenantId>,
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) link: Option<String>,
}

/// The notifications in the app's own database.
#[derive(Clone, Debug)]
pub(super) struct NotificationStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
}

impl NotificationStore {
    /// Begins a transaction that sees what a caller sees.
    pub(super) async fn begin(&self, caller: &Identity) -> Result<Tx, db::Error> {
        match caller.tenant {
            Some(tenant) => self.db.tenant(tenant).begin().await,
            None => self.db.begin().await,
        }
    }

    /// Begins a transaction like [`begin`](Self::begin), which only reads.
    pub(super) async fn begin_read(&self, caller: &Identity) -> Result<Tx, db::Error> {
        match caller.tenant {
            Some(tenant) => self.db.tenant(tenant).begin_read().await,
            None => self.db.begin_read().await,
        }
    }

    /// Begins a transaction for the background jobs, which send and delete the notifications about all tenants.
    pub(super) async fn begin_job(&self) -> Result<Tx, db::Error> {
        self.db.all_tenants().begin().await
    }
}

/// Inserts a notification. Returns `false` if it exists.
pub(super) async fn insert(
    tx: &mut Tx,
    id: NotificationId,
    new: &NewNotification,
    now: Timestamp,
    digest_at: Option<Timestamp>,
) -> Result<bool, db::Error> {
    let inserted = tx
        .query(INSERT)
        .bind(id)
        .bind(new.user)
        .bind(new.tenant)
        .bind(new.kind.clone())
        .bind(new.title.clone())
        .bind(new.body.clone())
        .bind(new.link.clone())
        .bind(new.data.to_string())
        .bind(stored_key(new))
        .bind(now)
        .bind(digest_at)
        .execute()
        .await?;
    Ok(inserted > 0)
}

/// Returns the idempotency key as it is stored: with the tenant, so that a notification about one tenant can't suppress
/// one about another.
fn stored_key(new: &NewNotification) -> Option<String> {
    let tenant = new.tenant.map(|tenant| tenant.to_string());
    Some(format!("{}/{}", tenant.as_deref().unwrap_or("-"), new.key.as_deref()?))
}

/// Returns the newest notifications that a caller sees, before a notification.
pub(super) async fn newest(
    tx: &mut Tx,
    caller: &Identity,
    is_unread: bool,
    before: Option<NotificationId>,
    limit: u32,
) -> Result<Vec<NotificationRow>, db::Error> {
    let mut args = Arguments::new(tx.dialect());
    args.push(caller.user);
    args.push(caller.tenant);
    let before = before.map(|id| format!(" and id < ${}", args.push(id))).unwrap_or_default();
    let unread = if is_unread { " and read_at is null" } else { "" };
    let limit = args.push(i64::from(limit));
    let sql = format!(
        "select {NOTIFICATION_COLUMNS} from omni_notifications where {}{before}{unread}
         order by id desc limit ${limit}",
        of_user!()
    );
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

/// Returns the number of unread notifications that a caller sees, counted up to a limit.
pub(super) async fn count_unread(tx: &mut Tx, caller: &Identity, limit: u32) -> Result<u64, db::Error> {
    let sql = concat!(
        "select count(*) from (select id from omni_notifications where ",
        of_user!(),
        " and read_at is null limit $3) as unread"
    );
    let count = tx.query(sql).bind(caller.user).bind(caller.tenant).bind(i64::from(limit));
    let (unread,): (i64,) = count.fetch_one().await?;
    Ok(unread.unsigned_abs())
}

/// Returns a notification that a caller sees.
pub(super) async fn find(
    tx: &mut Tx,
    caller: &Identity,
    id: NotificationId,
) -> Result<Option<NotificationRow>, db::Error> {
    let sql = format!("select {NOTIFICATION_COLUMNS} from omni_notifications where {} and id = $3", of_user!());
    tx.query(AssertSqlSafe(sql)).bind(caller.user).bind(caller.tenant).bind(id).fetch_optional().await
}

/// Marks an unread notification that a caller sees as read. Returns it, or `None` if there is no such notification.
pub(super) async fn mark_read(
    tx: &mut Tx,
    caller: &Identity,
    id: NotificationId,
    now: Timestamp,
) -> Result<Option<NotificationRow>, db::Error> {
    let sql = format!(
        "update omni_notifications set read_at = $4, digest_at = null where {} and id = $3 and read_at is null
         returning {NOTIFICATION_COLUMNS}",
        of_user!()
    );
    tx.query(AssertSqlSafe(sql)).bind(caller.user).bind(caller.tenant).bind(id).bind(now).fetch_optional().await
}

/// Marks all unread notifications that a caller sees as read. Returns their number.
pub(super) async fn mark_all_read(tx: &mut Tx, caller: &Identity, now: Timestamp) -> Result<u64, db::Error> {
    let sql = concat!(
        "update omni_notifications set read_at = $3, digest_at = null where ",
        of_user!(),
        " and read_at is null"
    );
    tx.query(sql).bind(caller.user).bind(caller.tenant).bind(now).execute().await
}

/// Returns a notification that is to be mailed, unless it was mailed.
pub(super) async fn find_unmailed(tx: &mut Tx, id: NotificationId) -> Result<Option<MailedNotification>, db::Error> {
    let sql = "select user_id, tenant_id, kind, title, body, link from omni_notifications
               where id = $1 and mailed_at is null";
    tx.query(sql).bind(id).fetch_optional().await
}

/// Records that a notification is mailed. Returns false if it was mailed before, or is deleted.
pub(super) async fn mark_mailed(tx: &mut Tx, id: NotificationId, now: Timestamp) -> Result<bool, db::Error> {
    let sql = "update omni_notifications set mailed_at = $2 where id = $1 and mailed_at is null";
    Ok(tx.query(sql).bind(id).bind(now).execute().await? > 0)
}

/// Returns users with notifications that are due for a digest, in the order of their ids, after a user.
pub(super) async fn users_with_due_digest(
    tx: &mut Tx,
    after: Option<UserId>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<UserId>, db::Error> {
    let mut args = Arguments::new(tx.dialect());
    let now = args.push(now);
    let after = after.map(|user| format!(" and user_id > ${}", args.push(user))).unwrap_or_default();
    let limit = args.push(i64::from(limit));
    let sql = format!(
        "select distinct user_id from omni_notifications where digest_at <= ${now}{after}
         order by user_id limit ${limit}"
    );
    let users: Vec<(UserId,)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(users.into_iter().map(|(user,)| user).collect())
}

/// Puts the notifications of a user that wait for a digest into the digest of a job, unless an earlier attempt of the
/// job has done so. Returns the tenants that they are about, with the number of those that are not mailed.
pub(super) async fn claim_digest(
    tx: &mut Tx,
    user: UserId,
    digest: JobId,
) -> Result<Vec<(Option<TenantId>, i64)>, db::Error> {
    let claim = "update omni_notifications set digest_id = $2, digest_at = null
                 where user_id = $1 and digest_at is not null
                 and not exists (select 1 from omni_notifications where user_id = $1 and digest_id = $2)";
    tx.query(claim).bind(user).bind(digest).execute().await?;
    let sql = "select tenant_id, count(*) from omni_notifications
               where user_id = $1 and digest_id = $2 and mailed_at is null group by tenant_id";
    tx.query(sql).bind(user).bind(digest).fetch_all().await
}

/// Returns the newest notifications of a digest, of all tenants.
pub(super) async fn newest_of_digest(
    tx: &mut Tx,
    user: UserId,
    digest: JobId,
    limit: u32,
) -> Result<Vec<MailedNotification>, db::Error> {
    let sql = "select user_id, tenant_id, kind, title, body, link from omni_notifications
               where user_id = $1 and digest_id = $2 and mailed_at is null order by id desc limit $3";
    tx.query(sql).bind(user).bind(digest).bind(i64::from(limit)).fetch_all().await
}

/// Removes the notifications about a tenant from a digest.
pub(super) async fn remove_from_digest(
    tx: &mut Tx,
    user: UserId,
    digest: JobId,
    tenant: Option<TenantId>,
) -> Result<(), db::Error> {
    let sql = "update omni_notifications set digest_id = null
               where user_id = $1 and digest_id = $2 and tenant_id is not distinct from $3";
    tx.query(sql).bind(user).bind(digest).bind(tenant).execute().await.map(drop)
}

/// Records that the notifications of a digest are mailed. Returns false if they were mailed before, or are deleted.
pub(super) async fn mark_digest_mailed(
    tx: &mut Tx,
    user: UserId,
    digest: JobId,
    now: Timestamp,
) -> Result<bool, db::Error> {
    let sql = "update omni_notifications set mailed_at = $3
               where user_id = $1 and digest_id = $2 and mailed_at is null";
    Ok(tx.query(sql).bind(user).bind(digest).bind(now).execute().await? > 0)
}

/// Removes all notifications of a user from future digests.
pub(super) async fn cancel_digest(tx: &mut Tx, user: UserId) -> Result<(), db::Error> {
    let sql = "update omni_notifications set digest_at = null where user_id = $1 and digest_at is not null";
    tx.query(sql).bind(user).execute().await.map(drop)
}

/// Deletes some notifications that were created before a time. Returns their number.
pub(super) async fn delete_created_before(tx: &mut Tx, before: Timestamp) -> Result<u64, db::Error> {
    let sql = "delete from omni_notifications where id in
               (select id from omni_notifications where created_at < $1 order by created_at limit $2)";
    tx.query(sql).bind(before).bind(i64::from(MAX_DELETIONS_PER_TRANSACTION)).execute().await
}

/// Deletes some notifications of a user. Returns their number.
pub(super) async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<u64, db::Error> {
    let sql = "delete from omni_notifications where id in
               (select id from omni_notifications where user_id = $1 order by id limit $2)";
    tx.query(sql).bind(user).bind(i64::from(MAX_DELETIONS_PER_TRANSACTION)).execute().await
}
