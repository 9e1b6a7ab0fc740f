//! SQL of API keys. Transactions are of one tenant, except where only the secret is known.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    id::Id,
    identity::{ApiKeyId, TenantId, UserId},
};
use uuid::Uuid;

use crate::api_key::ApiKey;

macro_rules! columns {
    () => {
        "id, tenant_id, user_id, name, hint, scopes, last_used_at, created_at, rotated_at, previous_until, expires_at"
    };
}

#[derive(omnistack_core::db::FromRow)]
struct StoredApiKey {
    id: ApiKeyId,
    tenant_id: TenantId,
    user_id: UserId,
    name: String,
    hint: String,
    scopes: String,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
    rotated_at: Timestamp,
    previous_until: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl From<StoredApiKey> for ApiKey {
    fn from(row: StoredApiKey) -> Self {
        let StoredApiKey { id, tenant_id, user_id, name, hint, scopes, .. } = row;
        Self {
            id,
            tenant_id,
            user_id,
            name,
            hint,
            scopes: scopes.parse().unwrap_or_default(),
            last_used_at: row.last_used_at,
            created_at: row.created_at,
            rotated_at: row.rotated_at,
            previous_until: row.previous_until,
            expires_at: row.expires_at,
        }
    }
}

pub(crate) async fn insert(tx: &mut Tx, key: &ApiKey, hash: Sha256) -> Result<(), Error> {
    let sql = "insert into omni_api_keys (id, tenant_id, user_id, name, hint, hash, scopes, created_at, rotated_at, \
               expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)";
    let insert = tx.query(sql).bind(key.id).bind(key.tenant_id).bind(key.user_id).bind(key.name.clone());
    let insert = insert.bind(key.hint.clone()).bind(hash.as_bytes().to_vec()).bind(key.scopes.to_string());
    insert.bind(key.created_at).bind(key.expires_at).execute().await?;
    Ok(())
}

pub(crate) async fn count(tx: &mut Tx, tenant: TenantId) -> Result<i64, Error> {
    let sql = "select count(*) from omni_api_keys where tenant_id = $1";
    let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    Ok(count)
}

/// Returns the keys with an id greater than `after`, in the order of ids.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>, Error> {
    let sql =
        concat!("select ", columns!(), " from omni_api_keys where tenant_id = $1 and id > $2 order by id limit $3");
    let after = after.unwrap_or_else(|| Id::from_uuid(Uuid::nil()));
    let rows: Vec<StoredApiKey> = tx.query(sql).bind(tenant).bind(after).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
    let sql = concat!("select ", columns!(), " from omni_api_keys where tenant_id = $1 and id = $2");
    let row: Option<StoredApiKey> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Replaces the secret. The previous one stays valid until `previous_until`, if that is set.
pub(crate) async fn rotate(tx: &mut Tx, key: &ApiKey, hash: Sha256) -> Result<(), Error> {
    let sql = "update omni_api_keys set previous_hash = case when $6 then hash end, previous_until = $3, hash = $4, \
               hint = $5, rotated_at = $7 where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(key.tenant_id).bind(key.id).bind(key.previous_until);
    let update = update.bind(hash.as_bytes().to_vec()).bind(key.hint.clone()).bind(key.previous_until.is_some());
    update.bind(key.rotated_at).execute().await?;
    Ok(())
}

pub(crate) async fn delete(tx: &mut Tx, tenant: TenantId, id: ApiKeyId) -> Result<(), Error> {
    let sql = "delete from omni_api_keys where tenant_id = $1 and id = $2";
    tx.query(sql).bind(tenant).bind(id).execute().await?;
    Ok(())
}

/// Returns the user's keys that have not expired, newest first, at most 200. The transaction must be one of all
/// tenants.
pub(crate) async fn list_for_user(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<Vec<ApiKey>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from omni_api_keys where user_id = $1 and (expires_at is null or expires_at > $2) ",
        "order by created_at desc, id desc limit 200"
    );
    let rows: Vec<StoredApiKey> = tx.query(sql).bind(user).bind(now).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Deletes the user's keys and returns them in the order of tenants. The transaction must be one of all tenants.
pub(crate) async fn delete_for_user(tx: &mut Tx, user: UserId) -> Result<Vec<ApiKey>, Error> {
    let sql = concat!("delete from omni_api_keys where user_id = $1 returning ", columns!());
    let mut rows: Vec<StoredApiKey> = tx.query(sql).bind(user).fetch_all().await?;
    rows.sort_by_key(|row| (row.tenant_id, row.id));
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Deletes keys of all tenants that expired before `before`, at most `limit`. Returns their number.
pub(crate) async fn delete_expired(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_api_keys where id in (select id from omni_api_keys where expires_at < $1 \
               order by expires_at limit $2)";
    tx.query(sql).bind(before).bind(limit).execute().await
}

/// The data that authorises each request with a key.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) scopes: String,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// The end of the grace period, if the secret is the previous one.
    pub(crate) previous_until: Option<Timestamp>,
    pub(crate) role: String,
    /// The permissions of the role, if it is a custom role.
    pub(crate) permissions: Option<String>,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// Returns the key with this valid secret, or `None` if its user is disabled or no longer a member.
pub(crate) async fn find_by_secret(db: &Db, hash: Sha256, now: Timestamp) -> Result<Option<ApiKeyRow>, Error> {
    let sql = "select k.id, k.tenant_id, k.user_id, k.scopes, k.last_used_at, k.expires_at, \
               case when k.hash = $1 then null else k.previous_until end as previous_until, \
               m.role, r.permissions, t.suspended_at \
               from omni_api_keys k join omni_users u on u.id = k.user_id join omni_tenants t on t.id = k.tenant_id \
               join omni_members m on m.tenant_id = k.tenant_id and m.user_id = k.user_id \
               left join omni_roles r on r.tenant_id = m.tenant_id and r.name = m.role \
               where (k.hash = $1 or (k.previous_hash = $1 and k.previous_until > $2)) \
               and (k.expires_at is null or k.expires_at > $2) and u.disabled_at is null";
    // The tenant is not known before the row is read.
    let mut tx = db.all_tenants().begin_read().await?;
    let holder = tx.query(sql).bind(hash.as_bytes().to_vec()).bind(now).fetch_optional().await?;
    tx.commit().await?;
    Ok(holder)
}

/// Stores the time of use, unless another replica has done so in the last minute.
pub(crate) async fn record_use(db: &Db, key: &ApiKeyRow, now: Timestamp, before: Timestamp) -> Result<(), Error> {
    let mut tx = db.tenant(key.tenant_id).begin().await?;
    let sql = "update omni_api_keys set last_used_at = $3 where tenant_id = $1 and id = $2 \
               and (last_used_at is null or last_used_at <= $4)";
    tx.query(sql).bind(key.tenant_id).bind(key.id).bind(now).bind(before).execute().await?;
    tx.commit().await
}
