//! The routes of every app: health, the OpenAPI document and its page.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{disk::FreeDisk, docs};
use crate::{
    BoxError,
    db::{Db, DbSettings},
    health::{Health, HealthReport, HealthStatus},
    http::{Envelope, Error, Json, Meta},
    module::{AccessLevel, Api, Module, Mount, OpenApiDocument, OpenApiPart, Registry, RouteInfo},
};

/// Module of the routes of every app, core's migrations and the checks of the database.
pub(super) struct CoreRoutes {
    db: Db,
    url: String,
    /// Folder of the SQLite file.
    folder: Option<PathBuf>,
    /// Percent of its disk that must be free.
    min_free_disk: u32,
}

impl CoreRoutes {
    pub(super) fn new(db: &Db, settings: &DbSettings) -> Self {
        let (folder, min_free_disk) = (settings.sqlite_folder(), settings.min_free_disk);
        Self { db: db.clone(), url: settings.display_url(), folder, min_free_disk }
    }
}

impl Module for CoreRoutes {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let (db, url) = (self.db.clone(), self.url.clone());
        registry
            .migrations(crate::db::CORE_MIGRATIONS)
            .shared_migrations("idempotency", crate::idempotency::MIGRATIONS)
            // The catalogue of tenant databases belongs to the app.
            .unprotected_tables(["omni_tenant_databases"])
            .routes(
                Mount::root("", AccessLevel::Public).during_maintenance(),
                Api::new().routes(routes!(live)).routes(routes!(ready)),
                |ctx| ctx.get::<Health>(),
            )
            .routes(Mount::public("/health").during_maintenance(), Api::new().routes(routes!(health)), |ctx| {
                ctx.get::<Health>()
            })
            .routes(Mount::public("/health").v2().during_maintenance(), Api::new().routes(routes!(health_v2)), |ctx| {
                ctx.get::<Health>()
            })
            .banner("database", move || {
                let grow = if url.starts_with("sqlite:") {
                    " (set DATABASE_URL=postgres://… to use PostgreSQL)"
                } else {
                    ""
                };
                format!("{url}{grow}")
            });
        if let Some(databases) = db.tenant_databases().cloned() {
            let url = databases.display_url();
            registry.banner("tenants", move || format!("{url}, one database per tenant"));
            // An unavailable tenant database affects only that tenant: the app stays ready.
            registry.health_optional("tenant-databases", move |_| {
                Ok(move || {
                    let away = databases.unavailable().len();
                    async move {
                        if away == 0 { Ok(()) } else { Err(format!("{away} tenant databases are unavailable").into()) }
                    }
                })
            });
        }
        let (writes, folder, min_free_disk) = (db.clone(), self.folder.clone(), self.min_free_disk);
        // Reads still work: a replica with a read-only database must stay in service.
        registry.health_optional("database-writes", move |_| {
            Ok(move || check_writes(writes.clone(), folder.clone(), min_free_disk))
        });
        registry.health("database", move |_| {
            Ok(move || {
                let db = db.clone();
                async move { Ok(db.ping().await.map(drop)?) }
            })
        });
    }
}

/// Returns the routes of liveness and readiness alone, for a process that serves no others.
pub(super) fn health_only(health: Health) -> Router {
    Router::new().route("/health", get(live)).route("/health/ready", get(ready)).with_state(health)
}

/// Fails if the database accepts no writes, or soon will not because the disk of its file is nearly full.
async fn check_writes(db: Db, folder: Option<PathBuf>, min_free_disk: u32) -> Result<(), BoxError> {
    db.check_writes().await?;
    let Some(folder) = folder else { return Ok(()) };
    let free = tokio::task::spawn_blocking(move || FreeDisk::of(&folder)).await??;
    match free.and_then(|free| free.alarm(min_free_disk)) {
        Some(alarm) => Err(alarm.into()),
        None => Ok(()),
    }
}

/// Liveness of the process.
#[derive(Serialize, ToSchema)]
struct Liveness {
    /// Always `ok`.
    status: HealthStatus,
}

/// Get the liveness of the process
///
/// Responds as long as the process runs. Checks nothing.
#[utoipa::path(get, path = "/health", operation_id = "get_liveness", responses((status = 200, body = Liveness)))]
async fn live() -> Json<Liveness> {
    Json(Liveness { status: HealthStatus::Ok })
}

/// Get the readiness of the app
///
/// Reports whether everything that the app requires is available.
#[utoipa::path(get, path = "/health/ready", operation_id = "get_readiness", responses(
    (status = 200, body = HealthReport),
    (status = 503, body = HealthReport, description = "A required health check fails."),
))]
async fn ready(State(health): State<Health>) -> (StatusCode, Json<HealthReport>) {
    let report = health.report().await;
    let status = if report.status == HealthStatus::Failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(report))
}

/// Get the health of the app, with uptime and latencies
#[utoipa::path(get, path = "/", operation_id = "get_health", responses((status = 200, body = HealthReport)))]
async fn health(State(health): State<Health>) -> Json<HealthReport> {
    Json(health.report().await)
}

/// Get the health of the app, with uptime and latencies
#[utoipa::path(get, path = "/", operation_id = "get_health", responses((status = 200, body = Envelope<HealthReport>)))]
async fn health_v2(State(health): State<Health>, meta: Meta) -> Json<Envelope<HealthReport>> {
    Json(meta.wrap(health.report().await))
}

/// The path of the OpenAPI document.
pub(super) const DOCUMENT_PATH: &str = "/openapi.json";

/// The response at `/`: the app's name and its entry points.
#[derive(Clone, Serialize)]
struct Index {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openapi: Option<&'static str>,
    /// The parts of the document: by version, and by access level and version.
    documents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'static str>,
}

/// Adds core's own pages, as far as the app has them: the OpenAPI document, its parts, the page that shows them, and an
/// index at `/` unless a module serves that path.
pub(super) fn add_pages(
    router: Router,
    document: &Arc<OpenApiDocument>,
    title: &str,
    routes: &Arc<[RouteInfo]>,
) -> Router {
    let is_listed = |path: &str| routes.iter().any(|route| route.path == path && route.module == "core");
    let listed = |path: &'static str| Some(path).filter(|path| is_listed(path));
    let mut router = router;
    let mut documents = Vec::new();
    if is_listed(DOCUMENT_PATH) {
        let whole = document.clone();
        router = router.route(DOCUMENT_PATH, get(move || async move { json(whole.json().clone()) }));
        documents.push(DOCUMENT_PATH.to_owned());
    }
    for part in OpenApiPart::list(routes) {
        let path = part.path();
        if is_listed(&path) {
            let (document, routes) = (document.clone(), routes.clone());
            let alone = async move || part.of(document.json(), &routes).map(json).map_err(Error::internal);
            router = router.route(&path, get(alone));
            documents.push(path);
        }
    }
    if is_listed("/") {
        let index = Index {
            name: title.into(),
            docs: listed("/docs"),
            openapi: listed(DOCUMENT_PATH),
            documents: documents.iter().filter(|path| *path != DOCUMENT_PATH).cloned().collect(),
            health: listed("/health"),
        };
        router = router.route("/", get(|| async { Json(index) }));
    }
    docs::add(router, documents, is_listed)
}

fn json(body: impl Into<Body>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], body.into())
}
