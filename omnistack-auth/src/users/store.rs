//! SQL of users.

pub(crate) mod accounts;
pub(crate) mod tenants;

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Tx},
    identity::UserId,
};

use crate::model::{User, user_columns};

/// A user to insert.
pub(crate) struct NewUserRow<'a> {
    pub(crate) id: UserId,
    /// The email address in lower case.
    pub(crate) email: Option<&'a str>,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) picture: Option<&'a str>,
    pub(crate) locale: Option<&'a str>,
    pub(crate) operator: bool,
}

pub(crate) async fn insert(tx: &mut Tx, user: NewUserRow<'_>, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_users (id, email, email_verified_at, password_hash, name, picture, locale, operator, \
               created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";
    tx.query(sql)
        .bind(user.id)
        .bind(user.email.map(str::to_owned))
        .bind(user.email_verified_at)
        .bind(user.password_hash.map(str::to_owned))
        .bind(user.name.to_owned())
        .bind(user.picture.map(str::to_owned))
        .bind(user.locale.map(str::to_owned))
        .bind(user.operator)
        .bind(now)
        .execute()
        .await?;
    Ok(())
}

pub(crate) async fn find(db: &Db, id: UserId) -> Result<Option<User>, Error> {
    db.query(concat!("select ", user_columns!(), " from omni_users where id = $1")).bind(id).fetch_optional().await
}

pub(crate) async fn find_by_email(db: &Db, email: &str) -> Result<Option<User>, Error> {
    let sql = concat!("select ", user_columns!(), " from omni_users where email = $1");
    db.query(sql).bind(email.to_owned()).fetch_optional().await
}

/// The changes to a profile. Absent fields stay unchanged.
pub(crate) struct ProfileUpdate {
    pub(crate) name: Option<String>,
    pub(crate) picture: Option<Option<String>>,
    pub(crate) locale: Option<Option<String>>,
}

pub(crate) async fn update(
    tx: &mut Tx,
    id: UserId,
    profile: ProfileUpdate,
    now: Timestamp,
) -> Result<Option<User>, Error> {
    let sql = concat!(
        "update omni_users set name = coalesce($2, name), picture = case when $3 then $4 else picture end, ",
        "locale = case when $5 then $6 else locale end, updated_at = $7 where id = $1 returning ",
        user_columns!()
    );
    tx.query(sql)
        .bind(id)
        .bind(profile.name)
        .bind(profile.picture.is_some())
        .bind(profile.picture.flatten())
        .bind(profile.locale.is_some())
        .bind(profile.locale.flatten())
        .bind(now)
        .fetch_optional()
        .await
}
