//! SQL of the keys that sign access tokens.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Dialect, Error, Tx},
};

#[derive(omnistack_core::db::FromRow)]
pub(crate) struct SigningKeyRow {
    pub(crate) id: String,
    /// The private key, sealed.
    pub(crate) private: String,
    /// The public key as a JSON Web Key.
    pub(crate) public: String,
    pub(crate) signs_from: Timestamp,
}

const ALL: &str = "select id, private, public, signs_from from omni_signing_keys order by signs_from desc, id desc";

/// Returns every key, the newest first.
pub(crate) async fn all(db: &Db) -> Result<Vec<SigningKeyRow>, Error> {
    db.query(ALL).fetch_all().await
}

/// Returns every key as [`all`] does, within a transaction.
pub(crate) async fn all_in(tx: &mut Tx) -> Result<Vec<SigningKeyRow>, Error> {
    tx.query(ALL).fetch_all().await
}

/// Locks the table, so that other transactions can't create keys until this one ends. On SQLite, a transaction that
/// writes has the database to itself.
pub(crate) async fn lock(tx: &mut Tx) -> Result<(), Error> {
    if tx.dialect() == Dialect::Postgres {
        tx.query("lock table omni_signing_keys in share row exclusive mode").execute().await?;
    }
    Ok(())
}

/// Returns the time from which the newest key signs, in the past or the future, or `None` if there is no key.
pub(crate) async fn newest_signs_from(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let (newest,): (Option<Timestamp>,) = tx.query("select max(signs_from) from omni_signing_keys").fetch_one().await?;
    Ok(newest)
}

pub(crate) async fn insert(tx: &mut Tx, key: SigningKeyRow, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_signing_keys (id, private, public, signs_from, created_at) values ($1, $2, $3, $4, $5)";
    let insert = tx.query(sql).bind(key.id).bind(key.private).bind(key.public).bind(key.signs_from);
    insert.bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn delete(db: &Db, id: &str) -> Result<(), Error> {
    db.query("delete from omni_signing_keys where id = $1").bind(id).execute().await?;
    Ok(())
}
