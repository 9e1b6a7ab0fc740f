//! Vectors on a PostgreSQL server with pgvector, which other runs don't have: `cargo xtask test --peers`. There, the tests
//! of `vectors` use it too.

#![cfg(test)]

use omnistack_ai::{Ai, DatabaseVectorIndex, VectorIndex as _, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{clock::Clock, id::Id};
use omnistack_testkit::{TestApp, TestDatabase};
use uuid::Uuid;

const CACHE_BYTES: u64 = 64 << 20;
const DIMENSIONS: u32 = 32;
/// More points than are compared without the index.
const POINTS: usize = 6_000;
const FEW_POINTS: usize = 12;
const RESULTS: usize = 10;
const SEARCHES: usize = 40;

/// Vectors of the length 1 with pseudo-random directions.
struct Directions(u64);

impl Directions {
    fn next(&mut self) -> Vec<f32> {
        let mut number = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(self.0 >> 48).unwrap()) / 65_536.0 - 0.5
        };
        let numbers: Vec<f32> = (0..DIMENSIONS).map(|_| number()).collect();
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.into_iter().map(|x| x / length).collect()
    }
}

fn new_space() -> VectorSpace {
    VectorSpace::new(Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), DIMENSIONS)
}

/// Creates a collection with points, whose ids are their numbers.
async fn filled(index: &DatabaseVectorIndex, vectors: &[Vec<f32>]) -> VectorSpace {
    let space = new_space();
    index.create(space).await.unwrap();
    let points = vectors.iter().enumerate().map(|(at, vector)| VectorPoint::new(at.to_string(), vector.clone()));
    let points: Vec<_> = points.collect();
    for chunk in points.chunks(1_000) {
        index.upsert(space, chunk).await.unwrap();
    }
    space
}

fn nearest(vectors: &[Vec<f32>], query: &[f32]) -> Vec<String> {
    let dot = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
    let mut scored: Vec<_> = vectors.iter().map(|vector| dot(vector)).enumerate().collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scored.into_iter().take(RESULTS).map(|(at, _)| at.to_string()).collect()
}

/// Returns whether a query has a row.
async fn has_row(app: &TestApp, sql: &'static str) -> bool {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    tx.query(sql).fetch_optional::<(i64,)>().await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_index_finds_the_nearest_points_of_each_tenant() {
    let app = TestApp::start(TestDatabase::postgres(), |app| app.with(Ai::from_env())).await;
    let index = DatabaseVectorIndex::new(app.db(), Clock::system(), CACHE_BYTES);
    let mut directions = Directions(1);
    let vectors: Vec<_> = (0..POINTS).map(|_| directions.next()).collect();
    let many = filled(&index, &vectors).await;
    let few = filled(&index, &vectors[..FEW_POINTS]).await;
    assert!(has_row(&app, "select cast(1 as bigint) from pg_extension where extname = 'vector'").await);
    let index_exists = "select cast(1 as bigint) where to_regclass('omni_ai_vector_points_hnsw_32') is not null";
    assert!(has_row(&app, index_exists).await);

    let mut found_best = 0;
    for _ in 0..SEARCHES {
        let query = directions.next();
        let best = nearest(&vectors, &query);
        let found = index.search(many, &VectorQuery::nearest(query.clone(), RESULTS)).await.unwrap();
        assert_eq!(found.len(), RESULTS);
        found_best += found.iter().filter(|found| best.contains(&found.id)).count();
        // The points of a tenant with few are among those of another with many.
        let found = index.search(few, &VectorQuery::nearest(query.clone(), RESULTS)).await.unwrap();
        let ids: Vec<_> = found.into_iter().map(|found| found.id).collect();
        assert_eq!(ids, nearest(&vectors[..FEW_POINTS], &query));
    }
    assert!(found_best * 100 >= SEARCHES * RESULTS * 95, "{found_best} of {}", SEARCHES * RESULTS);
}
