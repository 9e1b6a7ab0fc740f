//! Vectors of tenants: collections of points, searched by meaning, by words, or by both.
//!
//! [`Vectors`] is the handle that the routes and the app use. It owns the names of collections, the limits, and the
//! vectors of texts. A [`VectorIndex`] stores the points: [`DatabaseVectorIndex`] in the app's database, or Qdrant.

mod catalog;
mod checks;
mod chunk;
mod database;
mod document_routes;
mod documents;
mod drop_job;
mod embedder;
mod error;
mod filter;
mod handle;
mod index;
mod ingest;
mod input;
mod model;
#[cfg(feature = "qdrant")]
mod qdrant;
mod routes;
mod settings;
mod words;

use std::sync::Arc;

use omnistack_core::{
    BoxError,
    db::Db,
    identity::Authenticator,
    module::{Mount, Registry},
};

#[cfg(feature = "qdrant")]
pub use self::qdrant::QdrantIndex;
pub use self::{
    database::DatabaseVectorIndex,
    documents::{DocumentStatus, VectorDocument},
    embedder::{EmbeddedTexts, TextEmbedder},
    error::VectorError,
    filter::MetadataFilter,
    handle::{MAX_POINTS_PER_CALL, Vectors},
    index::VectorIndex,
    ingest::NewVectorDocument,
    input::{NewVectorCollection, NewVectorPoint, VectorSearch, VectorSearchMode},
    model::{
        MAX_VECTOR_DIMENSIONS, MAX_VECTOR_RESULTS, VectorCollection, VectorCollectionId, VectorCollectionMarker,
        VectorMatch, VectorPoint, VectorQuery, VectorSpace,
    },
};
use self::{
    drop_job::{DropTenantVectors, DropVectorCollection},
    handle::{COLLECTIONS_LIMIT, POINTS_LIMIT, VectorsParts},
    ingest::IngestDocument,
    settings::{VectorEngine, VectorSettings},
};
use crate::gateway::AiGateway;

/// Largest body of a request with points, in bytes: 1,000 points with 4,096 dimensions as JSON.
const POINTS_BODY_LIMIT: u64 = 64 * 1024 * 1024;
/// Largest body of a request with a document, in bytes. A character may take six bytes as JSON.
const DOCUMENT_BODY_LIMIT: u64 = 16 * 1024 * 1024;

/// The engine of the app, in its [`Context`](omnistack_core::module::Context).
#[derive(Clone, Debug)]
pub(crate) struct AppVectorIndex(pub(crate) Arc<dyn VectorIndex>);

/// Registers vectors. `index` replaces the engine of the settings, and `embedder` the gateway.
pub(crate) fn register(
    registry: &mut Registry,
    index: Option<Arc<dyn VectorIndex>>,
    embedder: Option<Arc<dyn TextEmbedder>>,
) {
    let Some(settings) = registry.config::<VectorSettings>() else { return };
    if let Err(problem) = checks::check_name(&settings.collection) {
        let what = format!("AI_VECTOR_COLLECTION {}", problem.message);
        registry.report_problem(what, "correct AI_VECTOR_COLLECTION, or unset it");
    }
    let index = match index {
        Some(index) => Some(VectorIndexSource::Given(index)),
        None => index_source(registry, &settings),
    };
    let Some(index) = index else { return };
    let clock = registry.clock();
    let index_clock = registry.clock();
    let (cache, uses_pgvector) = (settings.cache.as_u64(), settings.engine != VectorEngine::Embedded);
    registry
        .tenant_tables([
            "omni_ai_vector_collections",
            "omni_ai_vector_versions",
            "omni_ai_vector_points",
            "omni_ai_vector_documents",
        ])
        .provide_from(move |ctx| {
            Ok(AppVectorIndex(match &index {
                VectorIndexSource::Given(index) => Arc::clone(index),
                VectorIndexSource::Database => {
                    let index = DatabaseVectorIndex::new(&ctx.get::<Db>()?, index_clock.clone(), cache);
                    Arc::new(if uses_pgvector { index } else { index.without_pgvector() })
                }
            }))
        })
        .provide_from(move |ctx| {
            Ok(Vectors::new(VectorsParts {
                // The tables are in the app's database, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                log: ctx.get()?,
                jobs: ctx.get()?,
                entitlements: ctx.get()?,
                index: ctx.get::<AppVectorIndex>()?.0,
                embedder: match &embedder {
                    Some(embedder) => Arc::clone(embedder),
                    None => Arc::new(ctx.get::<AiGateway>()?),
                },
                default_collection: settings.collection.clone(),
                default_model: settings.model.clone(),
                max_collections: settings.max_collections,
            }))
        })
        .job::<DropVectorCollection>(|ctx| Ok(ctx.get::<AppVectorIndex>()?.0))
        .job::<IngestDocument>(|ctx| ctx.get::<Vectors>())
        .subscribe("ai.drop_vectors_of_tenant", |ctx| Ok(DropTenantVectors(ctx.get::<AppVectorIndex>()?.0)))
        // The app serves without its vector engine.
        .health_optional("vectors", |ctx| {
            let index = ctx.get::<AppVectorIndex>()?.0;
            Ok(move || {
                let index = Arc::clone(&index);
                async move { Ok(index.check().await?) }
            })
        });
    limits(registry);
    registry.after_modules(|registry| {
        if registry.provides::<Authenticator>() {
            mount(registry);
        }
    });
}

/// The source of the index that stores points.
enum VectorIndexSource {
    /// This index, of the app or of another engine.
    Given(Arc<dyn VectorIndex>),
    /// The app's database.
    Database,
}

#[cfg(feature = "qdrant")]
fn index_source(registry: &mut Registry, settings: &VectorSettings) -> Option<VectorIndexSource> {
    let qdrant = registry.config::<settings::QdrantSettings>()?;
    match (settings.engine, qdrant.url) {
        (VectorEngine::Database | VectorEngine::Embedded, _) | (VectorEngine::Auto, None) => {
            Some(VectorIndexSource::Database)
        }
        (VectorEngine::Qdrant, None) => {
            registry.report_problem("AI_VECTOR_ENGINE is `qdrant` without QDRANT_URL", "set QDRANT_URL");
            None
        }
        (VectorEngine::Auto | VectorEngine::Qdrant, Some(url)) => {
            let client = registry.http_client()?;
            match QdrantIndex::new(client, &url, qdrant.api_key) {
                Ok(index) => Some(VectorIndexSource::Given(Arc::new(index))),
                Err(error) => {
                    registry.report_problem(format!("QDRANT_URL is not accepted: {error}"), "correct QDRANT_URL");
                    None
                }
            }
        }
    }
}

#[cfg(not(feature = "qdrant"))]
fn index_source(registry: &mut Registry, settings: &VectorSettings) -> Option<VectorIndexSource> {
    // Reports each of the settings that is set.
    registry.config::<settings::QdrantSettings>();
    if settings.engine == VectorEngine::Qdrant {
        registry.report_problem(
            "AI_VECTOR_ENGINE is `qdrant`, but this program is compiled without the feature `qdrant`",
            "add the feature `qdrant` to `omnistack` in Cargo.toml, or set AI_VECTOR_ENGINE to another engine",
        );
        return None;
    }
    Some(VectorIndexSource::Database)
}

/// Declares what plans limit.
fn limits(registry: &mut Registry) {
    registry
        .limited_resource(COLLECTIONS_LIMIT, |ctx| {
            let db = ctx.get::<Db>()?.app_database();
            Ok(move |tenant| {
                let db = db.clone();
                async move {
                    let mut tx = db.tenant(tenant).begin_read().await?;
                    let count = catalog::count(&mut tx, tenant).await?;
                    tx.commit().await?;
                    Ok::<u64, BoxError>(count)
                }
            })
        })
        .limited_resource(POINTS_LIMIT, |ctx| {
            let index = ctx.get::<AppVectorIndex>()?.0;
            Ok(move |tenant| {
                let index = Arc::clone(&index);
                async move { Ok::<u64, BoxError>(index.count_of_tenant(tenant).await?) }
            })
        });
}

fn mount(registry: &mut Registry) {
    let mount = || Mount::app("/vector");
    registry
        .routes(mount().permissions("vectors").body_limit(POINTS_BODY_LIMIT), routes::collections(), |ctx| {
            ctx.get::<Vectors>()
        })
        .routes(mount(), routes::searches(), |ctx| ctx.get::<Vectors>())
        .routes(mount().permissions("vectors").body_limit(DOCUMENT_BODY_LIMIT), document_routes::documents(), |ctx| {
            ctx.get::<Vectors>()
        });
}
