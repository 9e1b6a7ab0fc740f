//! The handle of vectors.

use std::{collections::HashSet, sync::Arc};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    data_environment::DataEnvironment,
    db::{Db, Tx},
    http::{CursorPage, Error, FieldError, StatusCode},
    identity::{Entitlements, Identity, Plan, TenantId},
    jobs::{Jobs, NewJob},
    metrics,
};
use serde_json::json;

use super::{
    catalog, checks,
    drop_job::DropVectorCollection,
    embedder::{EmbeddedTexts, TextEmbedder},
    index::VectorIndex,
    input::{NewVectorCollection, NewVectorPoint, VectorSearch, VectorSearchMode},
    model::{MAX_VECTOR_RESULTS, VectorCollection, VectorCollectionId, VectorMatch, VectorPoint, VectorQuery},
};
use crate::call::AiCaller;

/// Largest number of points of one call.
pub const MAX_POINTS_PER_CALL: usize = 1_000;
/// Texts of one call of a model.
pub(super) const TEXTS_PER_EMBEDDING: usize = 64;
/// The limit of a plan on the number of collections.
pub(super) const COLLECTIONS_LIMIT: &str = "vector_collections";
/// The limit of a plan on the number of points.
pub(super) const POINTS_LIMIT: &str = "vector_points";

/// Vectors of the app's tenants. It is in the [`Context`](omnistack_core::module::Context) of an app with the module
/// `Ai`. Cheap to clone.
///
/// Names, limits and the vectors of texts are its work; a [`VectorIndex`] stores the points.
#[derive(Clone)]
pub struct Vectors(pub(super) Arc<VectorsParts>);

/// The dependencies of vectors.
pub(super) struct VectorsParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) log: AuditLog,
    pub(super) jobs: Jobs,
    pub(super) entitlements: Entitlements,
    pub(super) index: Arc<dyn VectorIndex>,
    pub(super) embedder: Arc<dyn TextEmbedder>,
    pub(super) default_collection: String,
    pub(super) default_model: String,
    pub(super) max_collections: u32,
}

impl Vectors {
    pub(super) fn new(parts: VectorsParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the engine.
    pub fn index(&self) -> &dyn VectorIndex {
        self.0.index.as_ref()
    }

    /// Returns the name of the default collection.
    pub fn default_collection(&self) -> &str {
        &self.0.default_collection
    }

    /// Creates a collection of the caller's tenant.
    ///
    /// # Errors
    /// 409 `ALREADY_EXISTS`, 422 `VALIDATION_FAILED`, 422 `TOO_MANY_COLLECTIONS`, 402 `PLAN_LIMIT_REACHED`, and those
    /// of the engine: 503 `VECTOR_ENGINE_UNAVAILABLE` and 502 `VECTOR_ENGINE_FAILED`.
    pub async fn create(&self, caller: &Identity, new: &NewVectorCollection) -> Result<VectorCollection, Error> {
        let tenant = caller.require_tenant()?;
        checks::check_name(&new.name).map_err(|problem| Error::invalid([problem]))?;
        let model = new.model.clone().unwrap_or_else(|| self.0.default_model.clone());
        let dimensions = match new.dimensions {
            Some(dimensions) => usize::try_from(dimensions).unwrap_or(usize::MAX),
            None => {
                let sample = vec!["dimensions".to_owned()];
                let embedded = self.embed(caller_of(caller)?, &model, sample).await?;
                embedded.vectors.first().map_or(0, Vec::len)
            }
        };
        let created = self.create_for(tenant, Some(caller), &new.name, dimensions, Some(model)).await?;
        created.ok_or_else(|| Error::conflict("ALREADY_EXISTS", "the tenant has a collection with this name"))
    }

    /// Creates a collection. Returns `None` if its name exists.
    async fn create_for(
        &self,
        tenant: TenantId,
        caller: Option<&Identity>,
        name: &str,
        dimensions: usize,
        model: Option<String>,
    ) -> Result<Option<VectorCollection>, Error> {
        let dimensions = checks::check_dimensions(dimensions).map_err(|problem| Error::invalid([problem]))?;
        let plan = self.0.entitlements.plan(tenant).await?;
        let now = self.0.clock.now();
        let id = VectorCollectionId::new(now);
        let collection =
            VectorCollection { id, name: name.to_owned(), dimensions, model, points: Some(0), created_at: now };
        // The engine comes first: a collection without a name is not visible, and a name without a collection would be.
        self.0.index.create(collection.space(tenant)).await?;
        let inserted = self.insert(tenant, caller, &plan, &collection).await;
        if !matches!(inserted, Ok(true)) {
            self.0.index.drop_collection(collection.space(tenant)).await?;
        }
        Ok(inserted?.then_some(collection))
    }

    /// Inserts a collection that the engine has. Returns `false` if its name exists.
    async fn insert(
        &self,
        tenant: TenantId,
        caller: Option<&Identity>,
        plan: &Plan,
        collection: &VectorCollection,
    ) -> Result<bool, Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let count = async |tx: &mut Tx| catalog::count(tx, tenant).await;
        self.0.entitlements.check_limit_in(&mut tx, plan, tenant, COLLECTIONS_LIMIT, count).await?;
        if catalog::count(&mut tx, tenant).await? >= u64::from(self.0.max_collections) {
            let message = format!("a tenant has at most {} collections; delete one first", self.0.max_collections);
            return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "TOO_MANY_COLLECTIONS", message));
        }
        if !catalog::insert(&mut tx, tenant, collection).await? {
            return Ok(false);
        }
        let mut entry = AuditEntry::new("vector_collection.created").for_tenant(tenant);
        if let Some(caller) = caller {
            entry = entry.actor(caller);
        }
        let details = json!({ "name": collection.name, "dimensions": collection.dimensions });
        let entry = entry.resource("vector_collection", collection.id).details(details);
        self.0.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns the collections of a tenant in the order of their names, after a name.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<VectorCollection>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut items = catalog::list(&mut tx, tenant, after.unwrap_or_default(), limit.saturating_add(1)).await?;
        tx.commit().await?;
        let has_more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            items.pop();
        }
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.name.clone());
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns a collection, with the number of its points if the engine is available.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`.
    pub async fn collection(&self, tenant: TenantId, name: &str) -> Result<VectorCollection, Error> {
        let mut collection = self.existing(tenant, name).await?;
        collection.points = self.0.index.count(collection.space(tenant)).await.ok();
        Ok(collection)
    }

    /// Deletes a collection of the caller's tenant. Its points are deleted soon after.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`.
    pub async fn delete(&self, caller: &Identity, name: &str) -> Result<(), Error> {
        let tenant = caller.require_tenant()?;
        let collection = self.existing(tenant, name).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !catalog::delete(&mut tx, tenant, collection.id).await? {
            return Err(not_found());
        }
        let job = DropVectorCollection { tenant, collection: collection.id, dimensions: collection.dimensions };
        self.0.jobs.enqueue_in(&mut tx, NewJob::new(job).tenant(tenant)).await?;
        let entry = AuditEntry::new("vector_collection.deleted").actor(caller);
        let entry = entry.resource("vector_collection", collection.id).details(json!({ "name": name }));
        self.0.log.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// Stores points, replacing those with the same ids. The default collection is created with the first point.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, 422 `VALIDATION_FAILED`, 402 `PLAN_LIMIT_REACHED`, and the errors of the model and
    /// of the engine.
    pub async fn upsert(&self, caller: AiCaller, name: &str, points: Vec<NewVectorPoint>) -> Result<(), Error> {
        check_points(&points)?;
        let tenant = caller.tenant;
        let found = self.find(tenant, name).await?;
        let model = match &found {
            Some(collection) => collection.model.clone(),
            None if name == self.0.default_collection => Some(self.0.default_model.clone()),
            None => return Err(not_found()),
        };
        let points = self.with_vectors(caller, model.as_deref(), points).await?;
        let Some(first) = points.first() else { return Ok(()) };
        let collection = match found {
            Some(collection) => collection,
            None => self.ensure_default(tenant, first.vector.len()).await?,
        };
        self.store(tenant, &collection, points).await
    }

    /// Stores points that have vectors.
    pub(super) async fn store(
        &self,
        tenant: TenantId,
        collection: &VectorCollection,
        mut points: Vec<VectorPoint>,
    ) -> Result<(), Error> {
        let mut problems = Vec::new();
        for (at, point) in points.iter_mut().enumerate() {
            match checks::check_vector(&format!("points[{at}].vector"), &point.vector, collection.dimensions) {
                Ok(vector) => point.vector = vector,
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let plan = self.0.entitlements.plan(tenant).await?;
        if plan.limits.contains_key(POINTS_LIMIT) {
            self.check_points_limit(tenant, &plan, collection, &points).await?;
        }
        Ok(self.0.index.upsert(collection.space(tenant), &points).await?)
    }

    /// Requires that the plan allows points in addition to those that the tenant has. Points that replace others need
    /// no room: neither those that a tenant at its limit changes, nor those that are stored again after a crash.
    async fn check_points_limit(
        &self,
        tenant: TenantId,
        plan: &Plan,
        collection: &VectorCollection,
        points: &[VectorPoint],
    ) -> Result<(), Error> {
        let used = self.0.index.count_of_tenant(tenant).await?;
        let mut added = points.len();
        let is_reached = |added: usize| !plan.allows(POINTS_LIMIT, used.saturating_add(amount(added)));
        if is_reached(added) {
            // To look for the points is worth it only now.
            let ids: Vec<String> = points.iter().map(|point| point.id.clone()).collect();
            added = added.saturating_sub(self.0.index.get(collection.space(tenant), &ids).await?.len());
        }
        if added == 0 || !is_reached(added) {
            return Ok(());
        }
        Err(self.0.entitlements.limit_reached(plan, POINTS_LIMIT, used, amount(added)))
    }

    /// Returns the default collection, which is created if it does not exist.
    pub(super) async fn ensure_default(&self, tenant: TenantId, dimensions: usize) -> Result<VectorCollection, Error> {
        let (name, model) = (&self.0.default_collection, self.0.default_model.clone());
        match self.create_for(tenant, None, name, dimensions, Some(model)).await? {
            Some(created) => Ok(created),
            // Another request has created it meanwhile.
            None => self.existing(tenant, name).await,
        }
    }

    /// Returns points by their ids, without those that do not exist.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, and the errors of the engine.
    pub async fn points(&self, tenant: TenantId, name: &str, ids: &[String]) -> Result<Vec<VectorPoint>, Error> {
        let collection = self.existing(tenant, name).await?;
        Ok(self.0.index.get(collection.space(tenant), ids).await?)
    }

    /// Deletes points by their ids. Ids that do not exist are ignored.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, and the errors of the engine.
    pub async fn delete_points(&self, tenant: TenantId, name: &str, ids: &[String]) -> Result<(), Error> {
        let collection = self.existing(tenant, name).await?;
        Ok(self.0.index.delete(collection.space(tenant), ids).await?)
    }

    /// Searches a collection. Without points in the default collection, there are no results.
    ///
    /// # Errors
    /// 404 `COLLECTION_NOT_FOUND`, 422 `VALIDATION_FAILED`, and the errors of the model and of the engine.
    pub async fn search(&self, caller: AiCaller, name: &str, search: VectorSearch) -> Result<Vec<VectorMatch>, Error> {
        let tenant = caller.tenant;
        let collection = match self.find(tenant, name).await? {
            Some(collection) => collection,
            None if name == self.0.default_collection => return Ok(Vec::new()),
            None => return Err(not_found()),
        };
        let VectorSearch { text, vector, mode, filter, limit } = search;
        let invalid = |field: &str, message: &str| Error::invalid([FieldError::new(field, message)]);
        if text.is_none() && vector.is_none() {
            return Err(invalid("query", "is required, unless `vector` is set"));
        }
        if text.is_none() && mode != VectorSearchMode::Meaning {
            return Err(invalid("query", "is required to search by words"));
        }
        if let Some(text) = &text {
            checks::check_text("query", text).map_err(|problem| Error::invalid([problem]))?;
        }
        let vector = match (mode, vector, &text) {
            (VectorSearchMode::Words, ..) | (_, None, None) => None,
            (_, Some(vector), _) => Some(vector),
            (_, None, Some(text)) => {
                let Some(model) = &collection.model else {
                    return Err(invalid("vector", "is required, since the collection has no model"));
                };
                self.embed(caller, model, vec![text.clone()]).await?.vectors.pop()
            }
        };
        let vector = vector.map(|vector| checks::check_vector("vector", &vector, collection.dimensions)).transpose();
        let vector = vector.map_err(|problem| Error::invalid([problem]))?;
        let text = text.filter(|_| mode != VectorSearchMode::Meaning);
        let query = VectorQuery { vector, text, filter, limit: limit.clamp(1, MAX_VECTOR_RESULTS) };
        let before = self.0.clock.elapsed();
        let found = self.0.index.search(collection.space(tenant), &query).await;
        let took = self.0.clock.elapsed().saturating_sub(before);
        metrics::AI_VECTOR_SEARCH_DURATION.histogram([self.0.index.name()]).record(took.as_secs_f64());
        Ok(found?)
    }

    /// Creates the vectors of the points that have none.
    async fn with_vectors(
        &self,
        caller: AiCaller,
        model: Option<&str>,
        points: Vec<NewVectorPoint>,
    ) -> Result<Vec<VectorPoint>, Error> {
        let texts: Vec<String> =
            points.iter().filter(|point| point.vector.is_none()).filter_map(|point| point.text.clone()).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        if !texts.is_empty() {
            let Some(model) = model else {
                let message = "needs a vector, since the collection has no model";
                return Err(Error::invalid([FieldError::new("points", message)]));
            };
            for texts in texts.chunks(TEXTS_PER_EMBEDDING) {
                vectors.extend(self.embed(caller, model, texts.to_vec()).await?.vectors);
            }
        }
        let mut vectors = vectors.into_iter();
        let mut complete = Vec::with_capacity(points.len());
        for NewVectorPoint { id, vector, text, metadata } in points {
            let vector = vector.or_else(|| vectors.next()).unwrap_or_default();
            complete.push(VectorPoint { id, vector, text, metadata });
        }
        Ok(complete)
    }

    /// Returns the vectors of texts, one for each.
    pub(super) async fn embed(
        &self,
        caller: AiCaller,
        model: &str,
        texts: Vec<String>,
    ) -> Result<EmbeddedTexts, Error> {
        let count = texts.len();
        let embedded = self.0.embedder.embed(caller, model, texts).await?;
        if embedded.vectors.len() == count {
            return Ok(embedded);
        }
        let message = "the model returned another number of vectors than of texts; try again";
        Err(Error::new(StatusCode::BAD_GATEWAY, "EMBEDDING_FAILED", message))
    }

    pub(super) async fn find(&self, tenant: TenantId, name: &str) -> Result<Option<VectorCollection>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = catalog::find(&mut tx, tenant, name).await?;
        tx.commit().await?;
        Ok(found)
    }

    pub(super) async fn existing(&self, tenant: TenantId, name: &str) -> Result<VectorCollection, Error> {
        self.find(tenant, name).await?.ok_or_else(not_found)
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vectors").field("index", &self.0.index).finish_non_exhaustive()
    }
}

/// Returns the caller for whom calls of models are counted.
pub(super) fn caller_of(identity: &Identity) -> Result<AiCaller, Error> {
    let tenant = identity.require_tenant()?;
    let environment = DataEnvironment::default();
    Ok(AiCaller { tenant, environment, user: Some(identity.user), api_key: identity.api_key })
}

fn amount(points: usize) -> u64 {
    u64::try_from(points).unwrap_or(u64::MAX)
}

/// Returns the error of a name that no collection has.
pub(super) fn not_found() -> Error {
    super::error::VectorError::UnknownCollection.into()
}

fn check_points(points: &[NewVectorPoint]) -> Result<(), Error> {
    let mut problems = Vec::new();
    if points.is_empty() || points.len() > MAX_POINTS_PER_CALL {
        problems.push(FieldError::new("points", format!("must have 1 to {MAX_POINTS_PER_CALL} items")));
    }
    let mut ids = HashSet::new();
    for (at, point) in points.iter().enumerate().take(MAX_POINTS_PER_CALL) {
        problems.extend(checks::check_id(&format!("points[{at}].id"), &point.id).err());
        if !ids.insert(point.id.as_str()) {
            problems.push(FieldError::new(format!("points[{at}].id"), "is the id of another point of the request"));
        }
        if point.vector.is_none() && point.text.as_ref().is_none_or(|text| text.trim().is_empty()) {
            problems.push(FieldError::new(format!("points[{at}]"), "needs a vector or a text"));
        }
        if let Some(text) = &point.text {
            problems.extend(checks::check_text(&format!("points[{at}].text"), text).err());
        }
        problems.extend(checks::check_metadata(&format!("points[{at}].metadata"), &point.metadata).err());
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
