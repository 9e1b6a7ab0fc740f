//! An engine that is away, and what the databases keep in memory.

use async_trait::async_trait;
use omnistack_ai::{Ai, VectorError, VectorIndex, VectorMatch, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{http::Method, identity::TenantId};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

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
