//! Keys that sign access tokens.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error},
};

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// Sealed.
    pub(crate) private: String,
    /// A JSON Web Key.
    pub(crate) public: String,
    pub(crate) signs_from: Timestamp,
}

/// The newest first.
pub(crate) async fn all(db: &Db) -> Result<Vec<Row>, Error> {
    let sql = "select id, private, public, signs_from from signing_keys order by signs_from desc, id desc";
    db.query(sql).fetch_all().await
}

pub(crate) async fn insert(db: &Db, key: Row, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into signing_keys (id, private, public, signs_from, created_at) values ($1, $2, $3, $4, $5)";
    let insert = db.query(sql).bind(key.id).bind(key.private).bind(key.public).bind(key.signs_from);
    insert.bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn delete(db: &Db, id: &str) -> Result<(), Error> {
    db.query("delete from signing_keys where id = $1").bind(id).execute().await?;
    Ok(())
}
