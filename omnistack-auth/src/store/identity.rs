//! Who signs in elsewhere.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::{TenantId, UserId},
};

/// Where somebody stands who has signed in elsewhere: what decides about each of their requests.
#[derive(sqlx::FromRow)]
pub(crate) struct Standing {
    pub(crate) user_id: UserId,
    /// Hash of the claims last taken over, and of when they were.
    pub(crate) claims: Vec<u8>,
    pub(crate) updated_at: Timestamp,
    pub(crate) operator: bool,
    pub(crate) disabled_at: Option<Timestamp>,
    /// The tenant asked for, or their own; none they don't belong to.
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) role: Option<String>,
    /// Of a role of the tenant's own.
    pub(crate) permissions: Option<String>,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// Of a subject of an issuer, in this tenant or else in their own.
pub(crate) async fn standing(
    db: &Db,
    issuer: &str,
    subject: &str,
    tenant: Option<TenantId>,
) -> Result<Option<Standing>, Error> {
    let sql = "select i.user_id, i.claims, i.updated_at, u.operator, u.disabled_at, m.tenant_id, m.role, r.permissions, \
               t.suspended_at \
               from identities i join users u on u.id = i.user_id \
               left join tenants p on p.personal_of = u.id \
               left join members m on m.user_id = u.id and m.tenant_id = coalesce($3, p.id) \
               left join tenants t on t.id = m.tenant_id \
               left join roles r on r.tenant_id = m.tenant_id and r.name = m.role \
               where i.issuer = $1 and i.subject = $2";
    // Nobody is known yet, so there is no tenant to be scoped to: the query names the one it asks about.
    let mut tx = db.all_tenants().read().await?;
    let standing = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(tenant).fetch_optional().await?;
    tx.commit().await?;
    Ok(standing)
}

pub(crate) async fn find(tx: &mut Tx, issuer: &str, subject: &str) -> Result<Option<UserId>, Error> {
    let sql = "select user_id from identities where issuer = $1 and subject = $2";
    let found: Option<(UserId,)> =
        tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).fetch_optional().await?;
    Ok(found.map(|(user,)| user))
}

/// Whether it was added: somebody else may have just done it.
pub(crate) async fn insert(
    tx: &mut Tx,
    (issuer, subject): (&str, &str),
    user: UserId,
    claims: &Sha256,
    (said, now): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    let sql = "insert into identities (issuer, subject, user_id, claims, created_at, updated_at) \
               values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
    let insert = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(user);
    Ok(insert.bind(claims.as_bytes().to_vec()).bind(now).bind(said).execute().await? > 0)
}

/// Takes a subject away from a user; whether it was theirs.
pub(crate) async fn remove(tx: &mut Tx, (issuer, subject): (&str, &str), user: UserId) -> Result<bool, Error> {
    let sql = "delete from identities where issuer = $1 and subject = $2 and user_id = $3";
    Ok(tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned()).bind(user).execute().await? > 0)
}

/// Notes the claims that are taken over; whether they are news, and not older than the last.
pub(crate) async fn take(
    tx: &mut Tx,
    (issuer, subject): (&str, &str),
    claims: &Sha256,
    said: Timestamp,
) -> Result<bool, Error> {
    let sql = "update identities set claims = $3, updated_at = $4 \
               where issuer = $1 and subject = $2 and claims <> $3 and updated_at <= $4";
    let update = tx.query(sql).bind(issuer.to_owned()).bind(subject.to_owned());
    Ok(update.bind(claims.as_bytes().to_vec()).bind(said).execute().await? > 0)
}

/// What decides about an address.
#[derive(sqlx::FromRow)]
pub(crate) struct Holder {
    pub(crate) id: UserId,
    pub(crate) email: Option<String>,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
    /// Whether they sign in here as well.
    pub(crate) has_password: bool,
}

macro_rules! holder {
    ($where:literal) => {
        concat!(
            "select id, email, email_verified_at, disabled_at, password_hash is not null as has_password from users where ",
            $where
        )
    };
}

/// Who has this address.
pub(crate) async fn holder(tx: &mut Tx, email: &str) -> Result<Option<Holder>, Error> {
    tx.query(holder!("email = $1")).bind(email.to_owned()).fetch_optional().await
}

/// What a user has.
pub(crate) async fn user(tx: &mut Tx, id: UserId) -> Result<Option<Holder>, Error> {
    tx.query(holder!("id = $1")).bind(id).fetch_optional().await
}

/// Changes what an issuer has said anew; absent stays.
pub(crate) async fn change(
    tx: &mut Tx,
    id: UserId,
    (name, picture, locale): (Option<&str>, Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update users set name = coalesce($2, name), picture = coalesce($3, picture), \
               locale = coalesce($4, locale), updated_at = $5 where id = $1";
    let update = tx.query(sql).bind(id).bind(name.map(str::to_owned)).bind(picture.map(str::to_owned));
    update.bind(locale.map(str::to_owned)).bind(now).execute().await?;
    Ok(())
}

/// Gives a user an address, verified.
pub(crate) async fn readdress(tx: &mut Tx, id: UserId, email: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "update users set email = $2, email_verified_at = $3, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(email.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Locks a user out; whether they weren't.
pub(crate) async fn disable(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update users set disabled_at = $2, updated_at = $2 where id = $1 and disabled_at is null";
    Ok(tx.query(sql).bind(id).bind(now).execute().await? > 0)
}

/// Notes a delivery, which counts once; whether it is new.
pub(crate) async fn deliver(tx: &mut Tx, delivery: &Sha256, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
    let sql = "insert into one_time_tokens (hash, purpose, created_at, expires_at) values ($1, 'webhook', $2, $3) \
               on conflict do nothing";
    Ok(tx.query(sql).bind(delivery.as_bytes().to_vec()).bind(now).bind(until).execute().await? > 0)
}

/// Forgets deliveries nobody repeats any more, at most so many.
pub(crate) async fn forget_deliveries(db: &Db, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from one_time_tokens where hash in (select hash from one_time_tokens \
               where purpose = 'webhook' and expires_at <= $1 order by expires_at limit $2)";
    db.query(sql).bind(now).bind(limit).execute().await
}
