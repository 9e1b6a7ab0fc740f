//! The engine Qdrant, over its REST API (version 1.10 or later).
//!
//! Collections of Qdrant are few: one for each number of dimensions. The collections of all tenants share it, as Qdrant
//! recommends; each point has the id of its collection, by which each request filters and Qdrant groups its index.

mod api;
mod payload;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use omnistack_core::{BoxError, http::client::Client, identity::TenantId};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::{
    api::QdrantApi,
    payload::{filter_json, point_id, point_json, scored, stored_point, with_space},
};
use super::{
    database::in_order,
    error::VectorError,
    filter::MetadataFilter,
    index::VectorIndex,
    model::{VectorMatch, VectorPoint, VectorQuery, VectorSpace},
    words::{RankedId, WordHits, fuse, query_words, rank, stored_words},
};

/// The beginning of the names of Qdrant's collections.
const NAME_PREFIX: &str = "omnistack_";
/// Points of one request. Qdrant accepts 32 MiB, and a text, which is sent twice, may have four bytes for each of its
/// characters.
const POINTS_PER_REQUEST: usize = 64;
/// Points with words of a search that are ranked.
const MAX_WORD_CANDIDATES: usize = 1_000;
/// Results of each list that a hybrid search merges, for each result that it returns.
const MERGED_PER_RESULT: usize = 4;
/// Smallest number of results of each list that a hybrid search merges.
const MIN_MERGED: usize = 50;

/// The engine Qdrant.
#[derive(Debug)]
pub struct QdrantIndex {
    api: QdrantApi,
    /// Numbers of dimensions whose collections exist.
    created: Mutex<HashSet<u32>>,
}

impl QdrantIndex {
    /// Creates the engine at a base URL.
    ///
    /// # Errors
    /// Fails if the URL is not one of `http` or `https`.
    pub fn new(client: Client, url: &str, api_key: Option<SecretString>) -> Result<Self, BoxError> {
        Ok(Self { api: QdrantApi::new(client, url, api_key)?, created: Mutex::default() })
    }

    /// Creates the collection of vectors with this number of dimensions, if it does not exist.
    async fn ensure(&self, dimensions: u32) -> Result<(), VectorError> {
        let mut created = self.created.lock().await;
        if created.contains(&dimensions) {
            return Ok(());
        }
        let name = name(dimensions);
        // Without an index over all tenants (`m`), each tenant's collection has one of its own (`payload_m`).
        let body = json!({
            "vectors": { "size": dimensions, "distance": "Dot" },
            "hnsw_config": { "m": 0, "payload_m": 16 },
        });
        self.api.create_collection(&name, &body).await?;
        for (field, schema) in [
            ("collection", json!({ "type": "keyword", "is_tenant": true })),
            ("tenant", json!({ "type": "keyword" })),
            ("words", json!({ "type": "text", "tokenizer": "whitespace" })),
        ] {
            let body = json!({ "field_name": field, "field_schema": schema });
            self.api.put(&format!("/collections/{name}/index?wait=true"), &body).await?;
        }
        created.insert(dimensions);
        Ok(())
    }

    async fn nearest(
        &self,
        space: VectorSpace,
        vector: &[f32],
        filter: &MetadataFilter,
        limit: usize,
    ) -> Result<Vec<(RankedId, Value)>, VectorError> {
        let body = json!({
            "query": vector, "filter": filter_json(space, filter), "limit": limit, "with_payload": true,
        });
        let result = self.api.post(&format!("/collections/{}/points/query", name(space.dimensions)), &body).await?;
        let points = result["points"].as_array().ok_or_else(|| api::unreadable("a search has no `points`"))?;
        points.iter().map(scored).collect()
    }

    /// Returns the points with words of a text. Of very many, only some are ranked.
    async fn words(
        &self,
        space: VectorSpace,
        text: &str,
        filter: &MetadataFilter,
        limit: usize,
    ) -> Result<Vec<(RankedId, Value)>, VectorError> {
        let query = query_words(text);
        if query.is_empty() {
            return Ok(Vec::new());
        }
        let mut condition = filter_json(space, filter);
        let any: Vec<_> = query.iter().map(|word| json!({ "key": "words", "match": { "text": word } })).collect();
        condition["should"] = any.into();
        let body = json!({ "filter": condition, "limit": MAX_WORD_CANDIDATES, "with_payload": true });
        let result = self.api.post(&format!("/collections/{}/points/scroll", name(space.dimensions)), &body).await?;
        let points = result["points"].as_array().ok_or_else(|| api::unreadable("a scroll has no `points`"))?;
        let mut payloads = HashMap::new();
        let mut hits = Vec::new();
        for point in points {
            let stored = stored_point(point, false)?;
            let words = stored_words(stored.text.as_deref().unwrap_or_default());
            hits.extend(WordHits::count(stored.id.clone(), &words, &query));
            payloads.insert(stored.id, point["payload"].clone());
        }
        let ranked = rank(hits, self.count(space).await?, limit);
        let with_payload = |point: RankedId| Some((payloads.remove(&point.id)?, point));
        Ok(ranked.into_iter().filter_map(with_payload).map(|(payload, point)| (point, payload)).collect())
    }
}

/// Returns the name of Qdrant's collection of vectors with this number of dimensions.
fn name(dimensions: u32) -> String {
    format!("{NAME_PREFIX}{dimensions}")
}

#[async_trait]
impl VectorIndex for QdrantIndex {
    fn name(&self) -> &'static str {
        "qdrant"
    }

    async fn create(&self, space: VectorSpace) -> Result<(), VectorError> {
        self.ensure(space.dimensions).await
    }

    async fn drop_collection(&self, space: VectorSpace) -> Result<(), VectorError> {
        let body = json!({ "filter": with_space(space, Vec::new()) });
        let path = format!("/collections/{}/points/delete?wait=true", name(space.dimensions));
        match self.api.post(&path, &body).await {
            Ok(_) | Err(VectorError::UnknownCollection) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn upsert(&self, space: VectorSpace, points: &[VectorPoint]) -> Result<(), VectorError> {
        for points in points.chunks(POINTS_PER_REQUEST) {
            let points: Vec<_> = points.iter().map(|point| point_json(space, point)).collect();
            let path = format!("/collections/{}/points?wait=true", name(space.dimensions));
            self.api.put(&path, &json!({ "points": points })).await?;
        }
        Ok(())
    }

    async fn get(&self, space: VectorSpace, ids: &[String]) -> Result<Vec<VectorPoint>, VectorError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(POINTS_PER_REQUEST) {
            let ids: Vec<_> = ids.iter().map(|id| point_id(space, id)).collect();
            let body = json!({ "ids": ids, "with_payload": true, "with_vector": true });
            let result = self.api.post(&format!("/collections/{}/points", name(space.dimensions)), &body).await?;
            let points = result.as_array().ok_or_else(|| api::unreadable("the points are no list"))?;
            for point in points {
                found.push(stored_point(point, true)?);
            }
        }
        Ok(in_order(found, ids))
    }

    async fn delete(&self, space: VectorSpace, ids: &[String]) -> Result<(), VectorError> {
        for ids in ids.chunks(POINTS_PER_REQUEST) {
            let ids: Vec<_> = ids.iter().map(|id| point_id(space, id)).collect();
            let path = format!("/collections/{}/points/delete?wait=true", name(space.dimensions));
            self.api.post(&path, &json!({ "points": ids })).await?;
        }
        Ok(())
    }

    async fn count(&self, space: VectorSpace) -> Result<u64, VectorError> {
        self.api.count(&name(space.dimensions), &with_space(space, Vec::new())).await
    }

    async fn count_of_tenant(&self, tenant: TenantId) -> Result<u64, VectorError> {
        let filter = json!({ "must": [{ "key": "tenant", "match": { "value": tenant.to_string() } }] });
        let mut count = 0;
        for name in self.api.collections(NAME_PREFIX).await? {
            count += self.api.count(&name, &filter).await?;
        }
        Ok(count)
    }

    async fn search(&self, space: VectorSpace, query: &VectorQuery) -> Result<Vec<VectorMatch>, VectorError> {
        let is_hybrid = query.vector.is_some() && query.text.is_some();
        let limit = if is_hybrid { (query.limit * MERGED_PER_RESULT).max(MIN_MERGED) } else { query.limit };
        let by_vector = match &query.vector {
            Some(vector) => self.nearest(space, vector, &query.filter, limit).await?,
            None => Vec::new(),
        };
        let by_words = match &query.text {
            Some(text) => self.words(space, text, &query.filter, limit).await?,
            None => Vec::new(),
        };
        let ids = |list: &[(RankedId, Value)]| list.iter().map(|(point, _)| point.clone()).collect::<Vec<_>>();
        let ranked = match (is_hybrid, &query.vector) {
            (true, _) => fuse([&ids(&by_vector), &ids(&by_words)], query.limit),
            (false, Some(_)) => ids(&by_vector),
            (false, None) => ids(&by_words),
        };
        let mut matches = Vec::with_capacity(ranked.len());
        for RankedId { id, score } in ranked {
            let all = by_vector.iter().chain(&by_words);
            let Some((_, payload)) = all.into_iter().find(|(point, _)| point.id == id) else { continue };
            matches.push(VectorMatch::new(id, score, payload::text(payload), payload::metadata(payload)));
        }
        Ok(matches)
    }

    async fn drop_tenant(&self, tenant: TenantId) -> Result<(), VectorError> {
        let body = json!({ "filter": { "must": [{ "key": "tenant", "match": { "value": tenant.to_string() } }] } });
        for name in self.api.collections(NAME_PREFIX).await? {
            self.api.post(&format!("/collections/{name}/points/delete?wait=true"), &body).await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), VectorError> {
        self.api.get("/collections").await.map(drop)
    }
}
