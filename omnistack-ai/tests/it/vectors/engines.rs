//! An engine that is away, and what the databases keep in memory.

use async_trait::async_trait;
use omnistack_ai::{
    Ai, DatabaseVectorIndex, MetadataFilter, VectorError, VectorIndex, VectorMatch, VectorPoint, VectorQuery,
    VectorSpace,
};
use omnistack_core::{clock::Clock, http::Method, id::Id, identity::TenantId};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;
use uuid::Uuid;

use super::{VECTOR, WordEmbedder};

/// An engine that creates collections, and is away otherwise.
#[derive(Debug)]
struct AbsentIndex;

fn away<T>() -> Result<T, VectorError> {
    Err(VectorError::Unavailable { message: "connection refused".to_owned() })
}

#[async_trait]
impl VectorIndex for AbsentIndex {
    fn name(&self) -> &'static str {
        "absent"
    }

    async fn create(&self, _: VectorSpace) -> Result<(), VectorError> {
        Ok(())
    }

    async fn drop_collection(&self, _: VectorSpace) -> Result<(), VectorError> {
        away()
    }

    async fn upsert(&self, _: VectorSpace, _: &[VectorPoint]) -> Result<(), VectorError> {
        away()
    }

    async fn get(&self, _: VectorSpace, _: &[String]) -> Result<Vec<VectorPoint>, VectorError> {
        away()
    }

    async fn delete(&self, _: VectorSpace, _: &[String]) -> Result<(), VectorError> {
        away()
    }

    async fn count(&self, _: VectorSpace) -> Result<u64, VectorError> {
        away()
    }

    async fn count_of_tenant(&self, _: TenantId) -> Result<u64, VectorError> {
        away()
    }

    async fn search(&self, _: VectorSpace, _: &VectorQuery) -> Result<Vec<VectorMatch>, VectorError> {
        away()
    }

    async fn drop_tenant(&self, _: TenantId) -> Result<(), VectorError> {
        away()
    }

    async fn check(&self) -> Result<(), VectorError> {
        away()
    }
}

on_each_database! {
    /// The vectors fit into the memory, and their metadata do not.
    async fn a_collection_that_outgrows_the_memory_is_read_from_the_database(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
        let index = DatabaseVectorIndex::new(app.db(), Clock::system(), 1 << 20).without_pgvector();
        let space = VectorSpace::new(Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), 2);
        index.create(space).await.unwrap();
        let filter = json!({ "kind": "a" });
        let filter = MetadataFilter::parse(filter.as_object().unwrap()).unwrap();
        let query = VectorQuery::nearest(vec![1.0, 0.0], 2).filter(filter);
        for (stored, kept) in [(1, "small"), (200, "large"), (300, "larger")] {
            let points: Vec<_> = (0..stored)
                .map(|at| {
                    let metadata = json!({ "kind": if at < 3 { "a" } else { "b" }, "fill": "x".repeat(8 << 10) });
                    let metadata = metadata.as_object().cloned().unwrap();
                    VectorPoint::new(format!("{at:03}"), vec![0.6, 0.8]).metadata(metadata)
                })
                .collect();
            index.upsert(space, &points).await.unwrap();
            for _ in 0..2 {
                let found = index.search(space, &query).await.unwrap();
                let ids: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
                assert_eq!(ids, ["000", "001"][..stored.min(2)], "{kept}");
            }
        }
        let most: Vec<_> = (3..300).map(|at| format!("{at:03}")).collect();
        index.delete(space, &most).await.unwrap();
        assert_eq!(index.search(space, &query).await.unwrap().len(), 2);
    }

    async fn the_app_serves_while_the_engine_is_away(database: TestDatabase) {
        let ai = Ai::from_env().text_embedder(WordEmbedder::default()).vector_index(AbsentIndex);
        let app = TestApp::start(database, |app| app.with(ai)).await;
        let client = app.user();
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 2 })).await.expect(201);
        let search = client.post(format!("{VECTOR}/docs/search"), json!({ "vector": [1, 0] })).await;
        let search = search.expect_error(503, "VECTOR_ENGINE_UNAVAILABLE");
        assert!(search.header("retry-after").is_some());
        let put = client.request(Method::PUT, format!("{VECTOR}/docs/points"));
        put.json(json!({ "points": [{ "id": "a", "vector": [1, 0] }] })).await
            .expect_error(503, "VECTOR_ENGINE_UNAVAILABLE");

        assert!(client.get(format!("{VECTOR}/docs")).await.expect(200).json()["points"].is_null());
        client.get(VECTOR).await.expect(200);
        client.delete(format!("{VECTOR}/docs")).await.expect(204);
        app.anonymous().get("/health/ready").await.expect(200);
    }
}
