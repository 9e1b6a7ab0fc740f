//! The routes of every app: health, the OpenAPI document and its page.

use std::collections::BTreeSet;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::docs;
use crate::{
    db::{Db, DbSettings},
    health::{Health, HealthReport, HealthStatus},
    http::{ApiVersion, Envelope, Error, Json, Meta},
    module::{AccessLevel, Api, Module, Mount, Registry, RouteInfo, for_version},
};

/// Module of the routes of every app, core's migrations and the checks of the database.
pub(super) struct CoreRoutes {
    db: Db,
    url: String,
}

impl CoreRoutes {
    pub(super) fn new(db: &Db, settings: &DbSettings) -> Self {
        Self { db: db.clone(), url: settings.display_url() }
    }
}

impl Module for CoreRoutes {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let (db, url) = (self.db.clone(), self.url.clone());
        registry
            .migrations(crate::migrations!["0001_core", "0002_maintenance"])
            .shared_migrations("idempotency", crate::idempotency::MIGRATIONS)
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
        let writes = db.clone();
        // Reads still work: a replica with a read-only database must stay in service.
        registry.health_optional("database-writes", move |_| {
            Ok(move || {
                let db = writes.clone();
                async move { Ok(db.check_writes().await?) }
            })
        });
        registry.health("database", move |_| {
            Ok(move || {
                let db = db.clone();
                async move { Ok(db.ping().await.map(drop)?) }
            })
        });
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

/// The response at `/`: the app's name and its entry points.
#[derive(Clone, Serialize)]
struct Index {
    name: String,
    docs: &'static str,
    openapi: &'static str,
    health: &'static str,
}

/// Adds the OpenAPI document, the document of each version, and an index at `/` unless a module serves that path.
pub(super) fn add_documents(
    router: Router,
    document: &Bytes,
    versions: &BTreeSet<ApiVersion>,
    title: &str,
    routes: &[RouteInfo],
) -> Router {
    let whole = document.clone();
    let mut router = router.route("/openapi.json", get(|| async { json(whole) }));
    for version in versions.iter().copied() {
        let document = document.clone();
        let alone = async move || for_version(&document, version).map(json).map_err(Error::internal);
        router = router.route(&format!("/openapi/{version}.json"), get(alone));
    }
    if routes.iter().any(|route| route.path == "/" && route.module == "core") {
        let index = Index { name: title.into(), docs: "/docs", openapi: "/openapi.json", health: "/health" };
        router = router.route("/", get(|| async { Json(index) }));
    }
    docs::add(router)
}

fn json(body: impl Into<Body>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], body.into())
}
