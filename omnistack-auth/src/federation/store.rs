//! SQL of linked identities.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::{TenantId, UserId},
};

/// The data that authorises each request with an external access token.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct ExternalAccessRow {
    pub(crate) user_id: UserId,
    /// The hash of the claims stored last, and their time.
    pub(crate) claims: Vec<u8>,
    pub(crate) updated_at: Timestamp,
    pub(crate) operator: bool,
    pub(crate) disabled_at: Option<Timestamp>,
    /// The requested tenant, or else the personal one. Absent if the user is not a member.
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) role: Option<String>,
    /// The permissions of the role, if it is a custom role.
    pub(crate) permissions: Option<String>,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// Returns the access of a subject of an issuer, in this tenant or else in the personal tenant.
pub(crate) async fn access(
    db: &Db,
    issuer: &str,
    subject: &str,
    tenant: Option<TenantId>,
) -> Result<Option<ExternalAccessRow>, Error> {
    let sql = "select i.user_id, i.claims, i.updated_at, u.operator, u.disabled_at, m.tenant_id, m.role, r.permissions, \
               t.suspended_at \
               from omni_identities i join omni_users u on u.id = i.user_id \
               left join omni_tenants p on p.personal_of = u.id \
               left join omni_members m on m.user_id = u.id and m.tenant_id = coalesce($3, p.id) \
               left join omni_tenants t on t.id = m.tenant_id \
               left join omni_roles r on r.tenant_id = m.tenant_id and r.name = m.role \
               where i.issuer = $1 and i.subject = $2";
    // The tenant is not known yet, so the transaction is of all tenants; the query restricts itself to one.
    let mut tx = db.all_tenants().begin_read().await?;
    let standing = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(tenant).fetch_optional().await?;
    tx.commit().await?;
    Ok(standing)
}

pub(crate) async fn find(tx: &mut Tx, issuer: &str, subject: &str) -> Result<Option<UserId>, Error> {
    let sql = "select user_id from omni_identities where issuer = $1 and subject = $2";
    let found: Option<(UserId,)> =
        tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).fetch_optional().await?;
    Ok(found.map(|(user,)| user))
}

/// Links a subject to a user. Returns `false` if another transaction has inserted the subject meanwhile.
pub(crate) async fn insert(
    tx: &mut Tx,
    (issuer, subject): (&str, &str),
    user: UserId,
    claims: &Sha256,
    (said, now): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    let sql = "insert into omni_identities (issuer, subject, user_id, claims, created_at, updated_at) \
               values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
    let insert = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(user);
    Ok(insert.bind(claims.as_bytes().to_vec()).bind(now).bind(said).execute().await? > 0)
}

/// Unlinks a subject from a user. Returns whether it was linked.
pub(crate) async fn remove(tx: &mut Tx, (issuer, subject): (&str, &str), user: UserId) -> Result<bool, Error> {
    let sql = "delete from omni_identities where issuer = $1 and subject = $2 and user_id = $3";
    Ok(tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(user).execute().await? > 0)
}

/// Stores the hash and the time of claims. Returns `false` if they are unchanged or older than the stored ones.
pub(crate) async fn record_claims(
    tx: &mut Tx,
    (issuer, subject): (&str, &str),
    claims: &Sha256,
    said: Timestamp,
) -> Result<bool, Error> {
    let sql = "update omni_identities set claims = $3, updated_at = $4 \
               where issuer = $1 and subject = $2 and claims <> $3 and updated_at <= $4";
    let update = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned());
    Ok(update.bind(claims.as_bytes().to_vec()).bind(said).execute().await? > 0)
}

/// The account data that decides whether an email address may be taken or linked.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct EmailOwnerRow {
    pub(crate) id: UserId,
    pub(crate) email: Option<String>,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
    /// Whether the user has a password in this app.
    pub(crate) has_password: bool,
}

macro_rules! holder {
    ($where:literal) => {
        concat!(
            "select id, email, email_verified_at, disabled_at, password_hash is not null as has_password from omni_users where ",
            $where
        )
    };
}

/// Returns the user with this email address.
pub(crate) async fn find_by_email(tx: &mut Tx, email: &str) -> Result<Option<EmailOwnerRow>, Error> {
    tx.query(holder!("email = $1")).bind(email.to_owned()).fetch_optional().await
}

/// Returns the user with this id.
pub(crate) async fn find_by_id(tx: &mut Tx, id: UserId) -> Result<Option<EmailOwnerRow>, Error> {
    tx.query(holder!("id = $1")).bind(id).fetch_optional().await
}

/// Stores the profile fields that are present; the others stay unchanged.
pub(crate) async fn update_profile(
    tx: &mut Tx,
    id: UserId,
    (name, picture, locale): (Option<&str>, Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_users set name = coalesce($2, name), picture = coalesce($3, picture), \
               locale = coalesce($4, locale), updated_at = $5 where id = $1";
    let update = tx.query(sql).bind(id).bind(name.map(str::to_owned)).bind(picture.map(str::to_owned));
    update.bind(locale.map(str::to_owned)).bind(now).execute().await?;
    Ok(())
}

/// Sets a user's email address, verified.
pub(crate) async fn set_verified_email(tx: &mut Tx, id: UserId, email: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_users set email = $2, email_verified_at = $3, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(email.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Disables a user. Returns whether the user was enabled.
pub(crate) async fn disable(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_users set disabled_at = $2, updated_at = $2 where id = $1 and disabled_at is null";
    Ok(tx.query(sql).bind(id).bind(now).execute().await? > 0)
}

/// Stores the id of a webhook delivery. Returns whether it is new.
pub(crate) async fn record_delivery(
    tx: &mut Tx,
    delivery: &Sha256,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_one_time_tokens (hash, purpose, created_at, expires_at) values ($1, 'webhook', $2, $3) \
               on conflict do nothing";
    Ok(tx.query(sql).bind(delivery.as_bytes().to_vec()).bind(now).bind(until).execute().await? > 0)
}

/// Deletes expired delivery ids, at most `limit`. Returns their number.
pub(crate) async fn delete_expired_deliveries(db: &Db, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_one_time_tokens where hash in (select hash from omni_one_time_tokens \
               where purpose = 'webhook' and expires_at <= $1 order by expires_at limit $2)";
    db.query(sql).bind(now).bind(limit).execute().await
}
