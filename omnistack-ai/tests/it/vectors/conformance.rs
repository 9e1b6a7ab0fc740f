//! The conformance tests of each engine.
//!
//! On a server of PostgreSQL with pgvector, those of `postgres` test it; otherwise they test the scan of arrays.

use omnistack_ai::{Ai, DatabaseVectorIndex};
use omnistack_core::clock::Clock;
use omnistack_testkit::{TestApp, TestDatabase, vector_conformance, vectors::VectorIndexUnderTest};

const CACHE_BYTES: u64 = 64 << 20;

async fn under_test(database: TestDatabase, index: impl Fn(&TestApp) -> DatabaseVectorIndex) -> VectorIndexUnderTest {
    let app = TestApp::start(database, |app| app.with(Ai::from_env())).await;
    VectorIndexUnderTest::new(index(&app)).with_replica(index(&app)).with_resource(app)
}

fn with_cache(bytes: u64) -> impl Fn(&TestApp) -> DatabaseVectorIndex {
    move |app| DatabaseVectorIndex::new(app.db(), Clock::system(), bytes).without_pgvector()
}

async fn sqlite() -> VectorIndexUnderTest {
    under_test(TestDatabase::sqlite(), with_cache(CACHE_BYTES)).await
}

/// No collection fits in the memory.
async fn sqlite_without_memory() -> VectorIndexUnderTest {
    under_test(TestDatabase::sqlite(), with_cache(0)).await
}

async fn postgres_without_pgvector() -> VectorIndexUnderTest {
    under_test(TestDatabase::postgres(), with_cache(CACHE_BYTES)).await
}

async fn postgres() -> VectorIndexUnderTest {
    under_test(TestDatabase::postgres(), |app| DatabaseVectorIndex::new(app.db(), Clock::system(), CACHE_BYTES)).await
}

vector_conformance!(sqlite);
vector_conformance!(sqlite_without_memory);
vector_conformance!(postgres_without_pgvector);
vector_conformance!(postgres);
