//! The SQL of documents.

use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    id::Id,
    identity::{ApiKeyId, TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::model::VectorCollectionId;
use crate::{call::AiCaller, catalog::Cost};

/// Marker type of the ids of revisions.
#[derive(Debug)]
pub(super) enum DocumentRevisionMarker {}

/// The id of the content of a document.
pub(super) type DocumentRevision = Id<DocumentRevisionMarker>;

/// The state of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentStatus {
    /// Its work has not begun.
    Queued,
    /// Some of its chunks are stored.
    Running,
    /// All of its chunks are stored.
    Done,
    /// It was given up after many attempts. Send it again to continue.
    Failed,
}

impl DocumentStatus {
    fn parse(text: &str) -> Self {
        match text {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "done" => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// A document whose chunks are stored as points. The ids of the points are that of the document, `#` and a number from
/// 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct VectorDocument {
    /// The id, which is unique in the collection.
    pub id: String,
    /// The state.
    pub status: DocumentStatus,
    /// The number of chunks.
    pub chunks: u64,
    /// The number of chunks that are stored.
    pub done_chunks: u64,
    /// The tokens of the chunks that are stored.
    pub tokens: u64,
    /// The cost of the chunks that are stored. `null` if the price of the model is not known.
    #[schema(required)]
    pub cost: Option<Cost>,
    /// The code of the error of the last attempt, if it failed.
    #[schema(required)]
    pub error: Option<String>,
    /// The time when the document was first sent.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// The key of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct DocumentKey<'a> {
    pub(super) tenant: TenantId,
    pub(super) collection: VectorCollectionId,
    pub(super) id: &'a str,
}

/// A document that is being stored.
#[derive(Debug)]
pub(super) struct StoredDocument {
    pub(super) revision: DocumentRevision,
    pub(super) content: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) model: String,
    pub(super) chunk_size: u32,
    pub(super) overlap: u32,
    pub(super) done_chunks: usize,
    pub(super) old_chunks: usize,
    pub(super) caller: AiCaller,
}

/// A document to store, with its division into chunks.
#[derive(Debug)]
pub(super) struct NewDocument {
    pub(super) content: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) model: String,
    pub(super) chunk_size: u32,
    pub(super) overlap: u32,
    pub(super) chunks: usize,
}

/// Stores a document, replacing one with the same id.
pub(super) async fn put(
    tx: &mut Tx,
    key: DocumentKey<'_>,
    new: &NewDocument,
    caller: AiCaller,
    revision: DocumentRevision,
    now: Timestamp,
) -> Result<(), db::Error> {
    // The points of all earlier contents may exist: those of one that was not finished, too.
    let sql = "insert into omni_ai_vector_documents (tenant_id, collection_id, id, revision, status, content, metadata,
            model, chunk_size, overlap, chunks, done_chunks, old_chunks, tokens, cost_pico, error, user_id, api_key_id,
            created_at, updated_at)
        values ($1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9, $10, 0, 0, 0, 0, null, $11, $12, $13, $13)
        on conflict (collection_id, id) do update set revision = excluded.revision, status = excluded.status,
            content = excluded.content, metadata = excluded.metadata, model = excluded.model,
            chunk_size = excluded.chunk_size, overlap = excluded.overlap, chunks = excluded.chunks, done_chunks = 0,
            old_chunks = case when omni_ai_vector_documents.old_chunks > omni_ai_vector_documents.chunks
                then omni_ai_vector_documents.old_chunks else omni_ai_vector_documents.chunks end,
            tokens = 0, cost_pico = 0, error = null, user_id = excluded.user_id, api_key_id = excluded.api_key_id,
            updated_at = excluded.updated_at";
    tx.query(sql)
        .bind(key.tenant)
        .bind(key.collection)
        .bind(key.id.to_owned())
        .bind(revision)
        .bind(new.content.clone())
        .bind(Value::Object(new.metadata.clone()).to_string())
        .bind(new.model.clone())
        .bind(i64::from(new.chunk_size))
        .bind(i64::from(new.overlap))
        .bind(i64::try_from(new.chunks).unwrap_or(i64::MAX))
        .bind(caller.user)
        .bind(caller.api_key)
        .bind(now)
        .execute()
        .await
        .map(drop)
}

#[derive(omnistack_core::db::FromRow)]
struct DocumentRow {
    id: String,
    status: String,
    chunks: i64,
    done_chunks: i64,
    tokens: i64,
    cost_pico: Option<i64>,
    error: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<DocumentRow> for VectorDocument {
    fn from(row: DocumentRow) -> Self {
        Self {
            id: row.id,
            status: DocumentStatus::parse(&row.status),
            chunks: row.chunks.unsigned_abs(),
            done_chunks: row.done_chunks.unsigned_abs(),
            tokens: row.tokens.unsigned_abs(),
            cost: row.cost_pico.map(Cost::from_pico),
            error: row.error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

const STATE_FROM: &str = "select id, status, chunks, done_chunks, tokens, cost_pico, error, created_at, updated_at
    from omni_ai_vector_documents where tenant_id = $1 and collection_id = $2";

pub(super) async fn find(tx: &mut Tx, key: DocumentKey<'_>) -> Result<Option<VectorDocument>, db::Error> {
    let sql = AssertSqlSafe(format!("{STATE_FROM} and id = $3"));
    let select = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned());
    Ok(select.fetch_optional::<DocumentRow>().await?.map(Into::into))
}

/// Returns documents in the order of their ids, after an id.
pub(super) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    collection: VectorCollectionId,
    after: &str,
    limit: u32,
) -> Result<Vec<VectorDocument>, db::Error> {
    let sql = AssertSqlSafe(format!("{STATE_FROM} and id > $3 order by id limit $4"));
    let select = tx.query(sql).bind(tenant).bind(collection).bind(after.to_owned()).bind(i64::from(limit));
    Ok(select.fetch_all::<DocumentRow>().await?.into_iter().map(Into::into).collect())
}

#[derive(omnistack_core::db::FromRow)]
struct ContentRow {
    revision: DocumentRevision,
    content: String,
    metadata: String,
    model: String,
    chunk_size: i64,
    overlap: i64,
    done_chunks: i64,
    old_chunks: i64,
    chunks: i64,
    user_id: Option<UserId>,
    api_key_id: Option<ApiKeyId>,
}

/// Returns the content of a document that is not done.
pub(super) async fn load(tx: &mut Tx, key: DocumentKey<'_>) -> Result<Option<StoredDocument>, db::Error> {
    let sql =
        "select revision, content, metadata, model, chunk_size, overlap, done_chunks, old_chunks, chunks, user_id,
            api_key_id from omni_ai_vector_documents
        where tenant_id = $1 and collection_id = $2 and id = $3 and status in ('queued', 'running')";
    let select = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned());
    let row: Option<ContentRow> = select.fetch_optional().await?;
    Ok(row.map(|row| {
        let mut caller = AiCaller::of_tenant(key.tenant);
        (caller.user, caller.api_key) = (row.user_id, row.api_key_id);
        StoredDocument {
            revision: row.revision,
            content: row.content,
            metadata: serde_json::from_str(&row.metadata).unwrap_or_default(),
            model: row.model,
            chunk_size: u32::try_from(row.chunk_size).unwrap_or(u32::MAX),
            overlap: u32::try_from(row.overlap).unwrap_or(0),
            done_chunks: usize::try_from(row.done_chunks).unwrap_or(0),
            old_chunks: usize::try_from(row.old_chunks.max(row.chunks)).unwrap_or(0),
            caller,
        }
    }))
}

/// The progress of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct DocumentProgress {
    pub(super) done_chunks: usize,
    /// The tokens of the chunks that were stored now.
    pub(super) tokens: u64,
    /// Their cost. `None` if the price is not known.
    pub(super) cost: Option<Cost>,
}

/// Returns whether a content of a document is still its current one.
pub(super) async fn is_current(
    tx: &mut Tx,
    key: DocumentKey<'_>,
    revision: DocumentRevision,
) -> Result<bool, db::Error> {
    let sql = "select revision from omni_ai_vector_documents where tenant_id = $1 and collection_id = $2 and id = $3";
    let select = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned());
    let found: Option<(DocumentRevision,)> = select.fetch_optional().await?;
    Ok(found.is_some_and(|(known,)| known == revision))
}

/// Stores the progress of a document. Returns `false` if the document was sent again or deleted meanwhile.
pub(super) async fn note_progress(
    tx: &mut Tx,
    key: DocumentKey<'_>,
    revision: DocumentRevision,
    progress: DocumentProgress,
    now: Timestamp,
) -> Result<bool, db::Error> {
    // A cost that is not known stays so.
    let sql = "update omni_ai_vector_documents set status = 'running', done_chunks = $5, tokens = tokens + $6,
            cost_pico = cost_pico + $7, error = null, updated_at = $8
        where tenant_id = $1 and collection_id = $2 and id = $3 and revision = $4";
    let update = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned()).bind(revision);
    let update = update
        .bind(i64::try_from(progress.done_chunks).unwrap_or(i64::MAX))
        .bind(i64::try_from(progress.tokens).unwrap_or(i64::MAX))
        .bind(progress.cost.map(|cost| cost.pico()))
        .bind(now);
    Ok(update.execute().await? > 0)
}

/// Ends the work on a document: as done, or with the code of an error, after which it is given up or tried again.
pub(super) async fn finish(
    tx: &mut Tx,
    key: DocumentKey<'_>,
    revision: DocumentRevision,
    status: DocumentStatus,
    error: Option<String>,
    now: Timestamp,
) -> Result<(), db::Error> {
    let (status, is_done, is_over) = match status {
        DocumentStatus::Done => ("done", true, true),
        DocumentStatus::Failed => ("failed", false, true),
        DocumentStatus::Queued | DocumentStatus::Running => ("running", false, false),
    };
    // The content was needed for its chunks only, which have it too.
    let sql = "update omni_ai_vector_documents set status = $5, error = $6, updated_at = $7,
            old_chunks = case when $8 then 0 else old_chunks end, content = case when $9 then '' else content end
        where tenant_id = $1 and collection_id = $2 and id = $3 and revision = $4";
    let update = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned()).bind(revision);
    update.bind(status).bind(error).bind(now).bind(is_done).bind(is_over).execute().await.map(drop)
}

/// Deletes a document. Returns the number of points that it may have, or `None` if it does not exist.
pub(super) async fn delete(tx: &mut Tx, key: DocumentKey<'_>) -> Result<Option<usize>, db::Error> {
    let sql = "delete from omni_ai_vector_documents where tenant_id = $1 and collection_id = $2 and id = $3
        returning case when old_chunks > chunks then old_chunks else chunks end";
    let delete = tx.query(sql).bind(key.tenant).bind(key.collection).bind(key.id.to_owned());
    let row: Option<(i64,)> = delete.fetch_optional().await?;
    Ok(row.map(|(points,)| usize::try_from(points).unwrap_or(0)))
}
