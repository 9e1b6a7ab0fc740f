//! Documents: their chunks, whose vectors are created and stored by a job.
//!
//! The job stores its progress with each batch of chunks. After a crash it continues with the next batch, so at most
//! one batch is paid for twice; its points have the same ids. A document that is sent again replaces the earlier one.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    http::{CursorPage, Error, FieldError, StatusCode},
    identity::TenantId,
    jobs::{Job, JobContext, JobError, NewJob},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    checks,
    chunk::{MAX_CHUNK_CHARACTERS, MIN_CHUNK_CHARACTERS, chunks},
    documents::{
        self, DocumentKey, DocumentProgress, DocumentRevision, DocumentStatus, NewDocument, StoredDocument,
        VectorDocument,
    },
    handle::{TEXTS_PER_EMBEDDING, Vectors, not_found},
    model::{VectorCollection, VectorCollectionId, VectorPoint, VectorSpace},
};
use crate::call::AiCaller;

/// Largest size of a document, in bytes.
pub(super) const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;
/// Largest length of the id of a document, in characters. The ids of its points are longer.
const MAX_DOCUMENT_ID_LENGTH: usize = 180;
/// Size of a chunk unless the caller sets another, in characters.
pub(super) const DEFAULT_CHUNK_CHARACTERS: u32 = 1_200;
/// Characters of the previous chunk that a chunk repeats, unless the caller sets another number.
pub(super) const DEFAULT_OVERLAP_CHARACTERS: u32 = 150;
/// Ids of one call that deletes points.
const IDS_PER_DELETE: usize = 1_000;

/// A document to divide into chunks and to store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewVectorDocument {
    /// The id, which is unique in the collection: at most 180 characters.
    pub id: String,
    /// The text, of at most 8 MiB.
    pub text: String,
    /// The metadata of all its points. The fields `document` and `chunk` are added.
    pub metadata: Map<String, Value>,
    /// The largest size of a chunk, from 100 to 8,000 characters.
    pub chunk_size: u32,
    /// The characters of the previous chunk that a chunk repeats, at most a quarter of its size.
    pub overlap: u32,
}

impl NewVectorDocument {
    /// Creates a document without metadata.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            metadata: Map::new(),
            chunk_size: DEFAULT_CHUNK_CHARACTERS,
            overlap: DEFAULT_OVERLAP_CHARACTERS,
        }
    }

    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        problems.extend(checks::check_id("id", &self.id).err());
        if self.id.chars().count() > MAX_DOCUMENT_ID_LENGTH {
            problems.push(FieldError::new("id", format!("must have at most {MAX_DOCUMENT_ID_LENGTH} characters")));
        }
        problems.extend(checks::check_text("text", &self.text).err());
        if self.text.len() > MAX_DOCUMENT_BYTES {
            problems.push(FieldError::new("text", format!("must have at most {MAX_DOCUMENT_BYTES} bytes")));
        }
        if self.text.trim().is_empty() {
            problems.push(FieldError::new("text", "must not be empty"));
        }
        problems.extend(checks::check_metadata("metadata", &self.metadata).err());
        if !(MIN_CHUNK_CHARACTERS..=MAX_CHUNK_CHARACTERS).contains(&self.chunk_size) {
            let message = format!("must be a number from {MIN_CHUNK_CHARACTERS} to {MAX_CHUNK_CHARACTERS}");
            problems.push(FieldError::new("chunk_size", message));
        }
        problems
    }
}

/// The job that stores the chunks of a document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IngestDocument {
    tenant: TenantId,
    collection: VectorCollectionId,
    collection_name: String,
    document: String,
    revision: DocumentRevision,
}

#[async_trait]
impl Job for IngestDocument {
    const NAME: &'static str = "ai.ingest_document";
    const TIMEOUT: Duration = Duration::from_hours(2);
    type State = Vectors;

    async fn run(self, vectors: &Vectors, context: &JobContext) -> Result<(), JobError> {
        vectors.ingest(&self, context).await
    }
}

impl IngestDocument {
    fn key(&self) -> DocumentKey<'_> {
        DocumentKey { tenant: self.tenant, collection: self.collection, id: &self.document }
    }
}

impl Vectors {
    /// Stores a document, whose chunks are stored in the background. A document with the same id is replaced. The
    /// default collection is created with the first document.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, 422 `VALIDATION_FAILED`, and the errors of the model, which is asked for one vector
    /// if the default collection does not exist.
    pub async fn add_document(
        &self,
        caller: AiCaller,
        name: &str,
        new: NewVectorDocument,
    ) -> Result<VectorDocument, Error> {
        let problems = new.problems();
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let tenant = caller.tenant;
        let pieces = chunks(&new.text, new.chunk_size, new.overlap);
        let collection = match self.find(tenant, name).await? {
            Some(collection) => collection,
            None if name == self.default_collection() => {
                let first = pieces.first().map(|piece| (*piece).to_owned()).unwrap_or_default();
                let embedded = self.embed(caller, &self.0.default_model, vec![first]).await?;
                self.ensure_default(tenant, embedded.vectors.first().map_or(0, Vec::len)).await?
            }
            None => return Err(not_found()),
        };
        let Some(model) = collection.model.clone() else {
            let message = "can't be stored, since the collection has no model; store points with vectors";
            return Err(Error::invalid([FieldError::new("text", message)]));
        };
        let now = self.0.clock.now();
        let revision = DocumentRevision::new(now);
        let chunks = pieces.len();
        let NewVectorDocument { id, text: content, metadata, chunk_size, overlap } = new;
        let row = NewDocument { content, metadata, model, chunk_size, overlap, chunks };
        let job = IngestDocument {
            tenant,
            collection: collection.id,
            collection_name: collection.name,
            document: id,
            revision,
        };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        documents::put(&mut tx, job.key(), &row, caller, revision, now).await?;
        let stored = documents::find(&mut tx, job.key()).await?;
        self.0.jobs.enqueue_in(&mut tx, NewJob::new(job).tenant(tenant)).await?;
        tx.commit().await?;
        stored.ok_or_else(no_document)
    }

    /// Returns a document.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, and 404 `NOT_FOUND` if the collection has no such document.
    pub async fn document(&self, tenant: TenantId, name: &str, id: &str) -> Result<VectorDocument, Error> {
        let collection = self.existing(tenant, name).await?;
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = documents::find(&mut tx, DocumentKey { tenant, collection: collection.id, id }).await?;
        tx.commit().await?;
        found.ok_or_else(no_document)
    }

    /// Returns the documents of a collection in the order of their ids, after an id.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`.
    pub async fn documents(
        &self,
        tenant: TenantId,
        name: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<VectorDocument>, Error> {
        let collection = self.existing(tenant, name).await?;
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let after = after.unwrap_or_default();
        let mut items = documents::list(&mut tx, tenant, collection.id, after, limit.saturating_add(1)).await?;
        tx.commit().await?;
        let has_more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            items.pop();
        }
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.id.clone());
        Ok(CursorPage { items, next_cursor })
    }

    /// Deletes a document and its points.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, 404 `NOT_FOUND` if the collection has no such document, and the errors of the
    /// engine.
    pub async fn delete_document(&self, tenant: TenantId, name: &str, id: &str) -> Result<(), Error> {
        let collection = self.existing(tenant, name).await?;
        let key = DocumentKey { tenant, collection: collection.id, id };
        let known = self.document(tenant, name, id).await?;
        // The points come first: without the document, a failed call could not be repeated. The second pass deletes
        // those that the job has stored meanwhile.
        let chunks = usize::try_from(known.chunks).unwrap_or(0);
        self.delete_chunks(collection.space(tenant), id, 0, chunks).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let points = documents::delete(&mut tx, key).await?;
        tx.commit().await?;
        self.delete_chunks(collection.space(tenant), id, 0, points.unwrap_or(chunks)).await
    }

    async fn delete_chunks(&self, space: VectorSpace, document: &str, from: usize, to: usize) -> Result<(), Error> {
        let ids: Vec<String> = (from..to).map(|chunk| chunk_id(document, chunk)).collect();
        for ids in ids.chunks(IDS_PER_DELETE) {
            self.0.index.delete(space, ids).await?;
        }
        Ok(())
    }

    /// Stores the chunks of a document that are not stored yet.
    async fn ingest(&self, job: &IngestDocument, context: &JobContext) -> Result<(), JobError> {
        let Some(collection) = self.find(job.tenant, &job.collection_name).await? else { return Ok(()) };
        let mut tx = self.0.db.tenant(job.tenant).begin_read().await?;
        let document = documents::load(&mut tx, job.key()).await?;
        tx.commit().await?;
        let Some(document) = document.filter(|document| document.revision == job.revision) else { return Ok(()) };
        if collection.id != job.collection {
            return Ok(());
        }
        let failed = match self.store_chunks(&collection, job, &document, context).await {
            Ok(true) => return self.finish(job, DocumentStatus::Done, None).await,
            Ok(false) => return Ok(()),
            Err(error) => error,
        };
        // A budget that is used up, or a model that is not allowed, does not change by itself soon.
        let is_refused = failed.status().is_client_error() && failed.status() != StatusCode::TOO_MANY_REQUESTS;
        let is_final = is_refused || context.is_last_attempt();
        let status = if is_final { DocumentStatus::Failed } else { DocumentStatus::Running };
        self.finish(job, status, Some(failed.code().to_owned())).await?;
        if is_final { Err(JobError::fatal(failed)) } else { Err(JobError::retry(failed)) }
    }

    /// Stores chunks in batches. Returns `false` if the document was sent again or deleted meanwhile.
    async fn store_chunks(
        &self,
        collection: &VectorCollection,
        job: &IngestDocument,
        document: &StoredDocument,
        context: &JobContext,
    ) -> Result<bool, Error> {
        let pieces = chunks(&document.content, document.chunk_size, document.overlap);
        let mut done = document.done_chunks.min(pieces.len());
        while done < pieces.len() {
            let batch = &pieces[done..(done + TEXTS_PER_EMBEDDING).min(pieces.len())];
            let texts: Vec<String> = batch.iter().map(|piece| (*piece).to_owned()).collect();
            let embedded = self.embed(document.caller, &document.model, texts).await?;
            // A model can take long. What it embedded must not replace the chunks of a content that was sent since.
            let mut tx = self.0.db.tenant(job.tenant).begin_read().await?;
            let is_current = documents::is_current(&mut tx, job.key(), job.revision).await?;
            tx.commit().await?;
            if !is_current {
                return Ok(false);
            }
            let points = batch.iter().zip(embedded.vectors).enumerate();
            let points = points.map(|(at, (text, vector))| {
                let mut metadata = document.metadata.clone();
                metadata.insert("document".to_owned(), job.document.clone().into());
                metadata.insert("chunk".to_owned(), (done + at).into());
                VectorPoint { id: chunk_id(&job.document, done + at), vector, text: Some((*text).to_owned()), metadata }
            });
            self.store(job.tenant, collection, points.collect()).await?;
            done += batch.len();
            let progress = DocumentProgress { done_chunks: done, tokens: embedded.tokens, cost: embedded.cost };
            let mut tx = self.0.db.tenant(job.tenant).begin().await?;
            let is_current =
                documents::note_progress(&mut tx, job.key(), job.revision, progress, self.0.clock.now()).await?;
            tx.commit().await?;
            if !is_current {
                self.delete_if_gone(collection, job, done).await?;
                return Ok(false);
            }
            let percent = u8::try_from(done * 100 / pieces.len()).unwrap_or(100);
            if !context.progress(percent, "").await {
                return Ok(false);
            }
        }
        self.delete_chunks(collection.space(job.tenant), &job.document, pieces.len(), document.old_chunks).await?;
        Ok(true)
    }

    /// Deletes the points of a document that was deleted while they were stored. Those of a document that was sent
    /// again are replaced.
    async fn delete_if_gone(
        &self,
        collection: &VectorCollection,
        job: &IngestDocument,
        chunks: usize,
    ) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(job.tenant).begin_read().await?;
        let found = documents::find(&mut tx, job.key()).await?;
        tx.commit().await?;
        match found {
            Some(_) => Ok(()),
            None => self.delete_chunks(collection.space(job.tenant), &job.document, 0, chunks).await,
        }
    }

    async fn finish(
        &self,
        job: &IngestDocument,
        status: DocumentStatus,
        error: Option<String>,
    ) -> Result<(), JobError> {
        let mut tx = self.0.db.tenant(job.tenant).begin().await?;
        documents::finish(&mut tx, job.key(), job.revision, status, error, self.0.clock.now()).await?;
        Ok(tx.commit().await?)
    }
}

/// Returns the id of the point of a chunk.
fn chunk_id(document: &str, chunk: usize) -> String {
    format!("{document}#{chunk}")
}

fn no_document() -> Error {
    Error::not_found("the document")
}
