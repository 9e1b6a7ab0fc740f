//! Measures searches by a vector: `cargo xtask bench ai`, with a PostgreSQL server that has pgvector in
//! `TEST_DATABASE_URL`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::time::{Duration, Instant};

use omnistack_ai::{Ai, DatabaseVectorIndex, VectorIndex, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{clock::Clock, id::Id};
use omnistack_testkit::{TestApp, TestDatabase};
use uuid::Uuid;

const POINTS: usize = 100_000;
const DIMENSIONS: u32 = 384;
const POINTS_PER_CALL: usize = 1_000;
const SEARCHES: usize = 50;
const RESULTS: usize = 10;
const FEW_POINTS: usize = 12;
const CACHE_BYTES: u64 = 1 << 30;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin vectors -->\n\n### Vectors\n");
        println!("Searches for {RESULTS} of {POINTS} vectors with {DIMENSIONS} dimensions. The target is 10 ms.\n");
        println!("The last column is the number of results for another tenant that has {FEW_POINTS} of the points.\n");
        println!("| engine | p50 | p99 | recall | results among few |\n|---|---:|---:|---:|---:|");
        let embedded =
            |app: &TestApp| DatabaseVectorIndex::new(app.db(), Clock::system(), CACHE_BYTES).without_pgvector();
        measure("embedded, SQLite", TestDatabase::sqlite(), embedded).await;
        if std::env::var_os("TEST_DATABASE_URL").is_some() {
            let found = |app: &TestApp| DatabaseVectorIndex::new(app.db(), Clock::system(), CACHE_BYTES);
            measure("PostgreSQL, pgvector if the server has it", TestDatabase::postgres(), found).await;
        }
        println!("\n<!-- end vectors -->");
    });
}

async fn measure(name: &str, database: TestDatabase, index: impl Fn(&TestApp) -> DatabaseVectorIndex) {
    let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
    let index = index(&app);
    let space = VectorSpace::new(Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), DIMENSIONS);
    index.create(space).await.unwrap();
    let mut state = 1;
    let vectors: Vec<Vec<f32>> = (0..POINTS).map(|_| vector(&mut state)).collect();
    for (at, chunk) in vectors.chunks(POINTS_PER_CALL).enumerate() {
        let first = at * POINTS_PER_CALL;
        let points = chunk.iter().enumerate();
        let points: Vec<_> =
            points.map(|(at, vector)| VectorPoint::new((first + at).to_string(), vector.clone())).collect();
        index.upsert(space, &points).await.unwrap();
    }
    let few = VectorSpace::new(Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), DIMENSIONS);
    index.create(few).await.unwrap();
    let points = vectors.iter().take(FEW_POINTS).enumerate();
    let points: Vec<_> = points.map(|(at, vector)| VectorPoint::new(at.to_string(), vector.clone())).collect();
    index.upsert(few, &points).await.unwrap();
    let mut times = Vec::new();
    let (mut right, mut fewest) = (0, RESULTS);
    index.search(space, &VectorQuery::nearest(vector(&mut state), RESULTS)).await.unwrap();
    for _ in 0..SEARCHES {
        let query = vector(&mut state);
        let before = Instant::now();
        let found = index.search(space, &VectorQuery::nearest(query.clone(), RESULTS)).await.unwrap();
        times.push(before.elapsed());
        let best = exact(&vectors, &query);
        right += found.iter().filter(|found| best.contains(&found.id)).count();
        fewest = fewest.min(index.search(few, &VectorQuery::nearest(query, RESULTS)).await.unwrap().len());
    }
    times.sort_unstable();
    let (p50, p99) = (millis(times[SEARCHES / 2]), millis(times[SEARCHES * 99 / 100]));
    println!("| {name} | {p50} | {p99} | {} % | {fewest} |", right * 100 / (SEARCHES * RESULTS));
}

fn exact(vectors: &[Vec<f32>], query: &[f32]) -> Vec<String> {
    let dot = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
    let mut scored: Vec<_> = vectors.iter().map(|vector| dot(vector)).enumerate().collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scored.into_iter().take(RESULTS).map(|(at, _)| at.to_string()).collect()
}

fn vector(state: &mut u64) -> Vec<f32> {
    let mut number = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(*state >> 48).unwrap()) / 65_536.0 - 0.5
    };
    let numbers: Vec<f32> = (0..DIMENSIONS).map(|_| number()).collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.into_iter().map(|x| x / length).collect()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
