//! Vectors on a PostgreSQL server with pgvector, which other runs don't have: `cargo xtask test --peers`. There, the tests
//! of `vectors` use it too.

#![cfg(test)]

use omnistack_ai::{Ai, DatabaseVectorIndex, MetadataFilter, VectorIndex as _, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{clock::Clock, id::Id};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;
use uuid::Uuid;

const CACHE_BYTES: u64 = 64 << 20;
const DIMENSIONS: u32 = 32;
const POINTS: usize = 100_000;
const TENANTS: usize = 100;
/// The points of the tenant that has fewest.
const FEW_POINTS: usize = 12;
/// The points of each tenant that has neither many nor few.
const USUAL_POINTS: usize = 800;
/// The points of the tenant that has most. More than are compared without the index.
const MANY_POINTS: usize = POINTS - FEW_POINTS - (TENANTS - 2) * USUAL_POINTS;
/// The distance of marked points of a tenant, of which the tenant with most has 12.
const POINTS_PER_MARK: usize = 1_799;
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

    fn take(&mut self, count: usize) -> Vec<Vec<f32>> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Creates a collection of a new tenant with points, whose ids are their numbers.
async fn filled(index: &DatabaseVectorIndex, vectors: &[Vec<f32>]) -> VectorSpace {
    let space = VectorSpace::new(Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), DIMENSIONS);
    index.create(space).await.unwrap();
    let point = |(at, vector): (usize, &Vec<f32>)| {
        let metadata = json!({ "marked": at % POINTS_PER_MARK == 0 }).as_object().unwrap().clone();
        VectorPoint::new(at.to_string(), vector.clone()).metadata(metadata)
    };
    let points: Vec<_> = vectors.iter().enumerate().map(point).collect();
    for chunk in points.chunks(1_000) {
        index.upsert(space, chunk).await.unwrap();
    }
    space
}

/// Compares every `step`-th vector with a query, and returns the ids of the nearest.
fn nearest(vectors: &[Vec<f32>], step: usize, query: &[f32]) -> Vec<String> {
    let dot = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
    let candidates = vectors.iter().enumerate().step_by(step);
    let mut scored: Vec<_> = candidates.map(|(at, vector)| (at, dot(vector))).collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scored.into_iter().take(RESULTS).map(|(at, _)| at.to_string()).collect()
}

async fn search(index: &DatabaseVectorIndex, space: VectorSpace, query: VectorQuery) -> Vec<String> {
    let found = index.search(space, &query).await.unwrap();
    found.into_iter().map(|found| found.id).collect()
}

/// Returns the number that a query returns.
async fn number(app: &TestApp, sql: &'static str) -> i64 {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let (number,) = tx.query(sql).fetch_one::<(i64,)>().await.unwrap();
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_index_finds_the_nearest_points_of_each_tenant() {
    let app = TestApp::start(TestDatabase::postgres(), |app| app.with(Ai::from_env())).await;
    let index = || DatabaseVectorIndex::new(app.db(), Clock::system(), CACHE_BYTES);
    let mut directions = Directions(1);
    let vectors = directions.take(MANY_POINTS);
    // Rows that are there before the index are indexed at once, which takes much less time.
    let without_index = index().without_pgvector();
    let many = filled(&without_index, &vectors).await;
    let few = filled(&without_index, &vectors[..FEW_POINTS]).await;
    for _ in 2..TENANTS {
        filled(&without_index, &directions.take(USUAL_POINTS)).await;
    }
    let index = index();
    index.create(many).await.unwrap();
    let mut tx = app.db().all_tenants().begin().await.unwrap();
    tx.query("analyze omni_ai_vector_points").execute().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(number(&app, "select count(*) from omni_ai_vector_points").await, i64::try_from(POINTS).unwrap());
    assert_eq!(number(&app, "select count(*) from pg_extension where extname = 'vector'").await, 1);
    let of_index = "select count(*) from pg_class where oid = to_regclass('omni_ai_vector_points_hnsw_32')";
    assert_eq!(number(&app, of_index).await, 1);

    let marked = || MetadataFilter::parse(json!({ "marked": true }).as_object().unwrap()).unwrap();
    let mut found_best = 0;
    for _ in 0..SEARCHES {
        let vector = directions.next();
        let query = || VectorQuery::nearest(vector.clone(), RESULTS);
        let best = nearest(&vectors, 1, &vector);
        let found = search(&index, many, query()).await;
        assert_eq!(found.len(), RESULTS);
        found_best += found.iter().filter(|found| best.contains(found)).count();
        // Few points satisfy the filter, and the points of a tenant with few are among those of others with many.
        let found = search(&index, many, query().filter(marked())).await;
        assert_eq!(found, nearest(&vectors, POINTS_PER_MARK, &vector));
        assert_eq!(search(&index, few, query()).await, nearest(&vectors[..FEW_POINTS], 1, &vector));
    }
    assert!(found_best * 100 >= SEARCHES * RESULTS * 95, "{found_best} of {}", SEARCHES * RESULTS);
}
