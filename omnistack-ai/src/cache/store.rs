//! The SQL of the cache of answers.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{self, Tx},
    id::Id,
    identity::TenantId,
};

use super::StoredAnswer;

/// The id of a stored answer.
type AnswerId = Id<StoredAnswer>;

/// A stored answer.
#[derive(Debug, omnistack_core::db::FromRow)]
pub(crate) struct AnswerRow {
    pub(super) provider: String,
    pub(super) answer: String,
}

/// An answer to store.
#[derive(Debug)]
pub(super) struct NewAnswer<'a> {
    pub(super) tenant: TenantId,
    pub(super) key: &'a Sha256,
    /// The scope, and the bytes of the vector.
    pub(super) embedding: Option<(&'a Sha256, Vec<u8>)>,
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) answer: String,
    pub(super) expires_at: Timestamp,
}

/// Returns the answer with a key.
pub(super) async fn find(
    tx: &mut Tx,
    tenant: TenantId,
    key: &Sha256,
    now: Timestamp,
) -> Result<Option<AnswerRow>, db::Error> {
    tx.query("select provider, answer from omni_ai_answers where tenant_id = $1 and key = $2 and expires_at > $3")
        .bind(tenant)
        .bind(key.as_bytes().to_vec())
        .bind(now)
        .fetch_optional()
        .await
}

/// Returns the keys and embeddings of the newest answers in a scope.
pub(super) async fn candidates(
    tx: &mut Tx,
    tenant: TenantId,
    scope: &Sha256,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, db::Error> {
    tx.query(
        "select key, embedding from omni_ai_answers
        where tenant_id = $1 and scope = $2 and expires_at > $3 and embedding is not null
        order by id desc limit $4",
    )
    .bind(tenant)
    .bind(scope.as_bytes().to_vec())
    .bind(now)
    .bind(limit)
    .fetch_all()
    .await
}

/// Stores an answer in place of an older one with the same key.
pub(super) async fn insert(tx: &mut Tx, new: NewAnswer<'_>, now: Timestamp) -> Result<(), db::Error> {
    let (scope, embedding) = match new.embedding {
        Some((scope, bytes)) => (Some(scope.as_bytes().to_vec()), Some(bytes)),
        None => (None, None),
    };
    tx.query(
        "insert into omni_ai_answers (id, tenant_id, key, scope, embedding, provider, model, answer, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (tenant_id, key) do update set scope = coalesce(excluded.scope, omni_ai_answers.scope),
            embedding = coalesce(excluded.embedding, omni_ai_answers.embedding), provider = excluded.provider,
            model = excluded.model, answer = excluded.answer, expires_at = excluded.expires_at",
    )
    .bind(AnswerId::new(now))
    .bind(new.tenant)
    .bind(new.key.as_bytes().to_vec())
    .bind(scope)
    .bind(embedding)
    .bind(new.provider.to_owned())
    // PostgreSQL refuses NUL, which a provider may send.
    .bind(new.model.replace('\0', ""))
    .bind(new.answer)
    .bind(new.expires_at)
    .execute()
    .await?;
    Ok(())
}

/// Deletes answers of all tenants that have expired, at most `limit`. Returns their number.
pub(super) async fn delete_expired(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<u64, db::Error> {
    tx.query(
        "delete from omni_ai_answers where id in (
            select id from omni_ai_answers where expires_at <= $1 order by expires_at limit $2)",
    )
    .bind(now)
    .bind(limit)
    .execute()
    .await
}

/// Returns tenants with more than `most` answers, at most `limit`.
pub(super) async fn crowded_tenants(tx: &mut Tx, most: i64, limit: i64) -> Result<Vec<(TenantId,)>, db::Error> {
    tx.query("select tenant_id from omni_ai_answers group by tenant_id having count(*) > $1 limit $2")
        .bind(most)
        .bind(limit)
        .fetch_all()
        .await
}

/// Deletes a tenant's answers beyond the newest `most`, at most `limit`. Returns their number.
pub(super) async fn delete_oldest(tx: &mut Tx, tenant: TenantId, most: i64, limit: i64) -> Result<u64, db::Error> {
    tx.query(
        "delete from omni_ai_answers where tenant_id = $1 and id in (
            select id from omni_ai_answers where tenant_id = $1 order by id desc limit $2 offset $3)",
    )
    .bind(tenant)
    .bind(limit)
    .bind(most)
    .execute()
    .await
}
