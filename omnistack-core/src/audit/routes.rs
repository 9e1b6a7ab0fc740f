//! Routes of audit entries, for operators.

use axum::{body::Body, extract::State, response::IntoResponse as _};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{AuditChain, AuditFilter, AuditRecord, AuditStore, ChainState, download::DownloadFormat};
use crate::{
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, MAX_PAGE_SIZE, PageRequest, Query, Response, header},
    identity::UserId,
    module::{Api, Module, Mount, Registry},
};

/// Module with the routes `/api/v1/admin/audit`: the entries of all tenants and of the app, for operators.
///
/// It is a module of its own, because not every app has operators: `.with(AuditApi)`.
///
/// ```
/// use omnistack_core::{app::{App, DevIdentity}, audit::AuditApi, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(AuditApi).build()?;
/// assert!(app.routes().iter().any(|route| route.path == "/api/v1/admin/audit/verify"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditApi;

impl Module for AuditApi {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::admin("/audit").no_timeout(), Self::routes(), |ctx| ctx.get::<AuditStore>());
    }
}

impl AuditApi {
    /// Returns the routes alone, to be mounted elsewhere: the list, `/export` and `/verify`. Mount them for
    /// operators only, and without a timeout, because `/export` and `/verify` may take long.
    pub fn routes() -> Api<AuditStore> {
        Api::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(verify))
    }
}

/// Query parameters of an export.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Only entries of this tenant, by id; `app` for entries of the app.
    #[garde(skip)]
    tenant: Option<String>,
    /// Only entries whose actor is this user.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<UserId>,
    /// Only actions with this prefix: `project.`.
    #[garde(skip)]
    action: Option<String>,
    /// Only entries with exactly this resource: `project:0190…`.
    #[garde(skip)]
    resource: Option<String>,
    /// Only entries recorded at this time or later.
    #[garde(skip)]
    since: Option<Timestamp>,
    /// Only entries recorded before this time.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// Format of the file: `csv` or `jsonl`.
    #[garde(skip)]
    format: String,
}

/// Query parameters of a verification.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyQuery {
    /// Only the chain of this tenant, by id; `app` for the app's chain.
    #[garde(skip)]
    tenant: Option<String>,
}

/// Result of a verification.
#[derive(Serialize, ToSchema)]
struct ChainStates {
    /// Whether all chains are intact.
    intact: bool,
    /// Verified chains; the app's chain is first.
    items: Vec<ChainState>,
}

/// Parses a chain: `app`, or a tenant's id.
fn chain_of(text: &str) -> Result<AuditChain, Error> {
    if text == "app" {
        return Ok(AuditChain::App);
    }
    let wrong = |_| Error::invalid([FieldError::new("tenant", "must be a UUID or `app`")]);
    text.parse().map(AuditChain::Tenant).map_err(wrong)
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditListQuery {
    /// Only entries of this tenant, by id; `app` for entries of the app.
    #[garde(skip)]
    tenant: Option<String>,
    /// Only entries whose actor is this user.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<UserId>,
    /// Only actions with this prefix: `project.`.
    #[garde(skip)]
    action: Option<String>,
    /// Only entries with exactly this resource: `project:0190…`.
    #[garde(skip)]
    resource: Option<String>,
    /// Only entries recorded at this time or later.
    #[garde(skip)]
    since: Option<Timestamp>,
    /// Only entries recorded before this time.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// Largest number of entries to return, from 1 to 100. Defaults to 20.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
}

impl AuditListQuery {
    fn filter(&self) -> Result<AuditFilter, Error> {
        let mut filter = match self.tenant.as_deref() {
            None => AuditFilter::all_chains(),
            Some(text) => AuditFilter::for_chain(chain_of(text)?),
        };
        if let Some(actor) = self.actor {
            filter = filter.actor(actor);
        }
        if let Some(action) = &self.action {
            filter = filter.action(action);
        }
        if let Some(resource) = &self.resource {
            filter = filter.resource(resource);
        }
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        if let Some(until) = self.until {
            filter = filter.until(until);
        }
        Ok(filter)
    }
}

/// List audit entries
///
/// Newest first.
#[utoipa::path(get, path = "/", operation_id = "list_audit_entries", params(AuditListQuery), responses(
    (status = 200, body = CursorPage<AuditRecord>),
    (status = 422, body = ErrorEnvelope, description = "A parameter is unknown or invalid."),
))]
async fn list(
    State(store): State<AuditStore>,
    Query(query): Query<AuditListQuery>,
) -> Result<Json<CursorPage<AuditRecord>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(store.list(&query.filter()?, limit, query.cursor.as_deref()).await?))
}

/// Export audit entries
///
/// Newest first, as a file: CSV for spreadsheets, JSON lines for programs.
#[utoipa::path(get, path = "/export", operation_id = "export_audit_entries", params(ExportQuery), responses(
    (status = 200, description = "The entries.", body = String, content_type = "text/csv"),
    (status = 422, body = ErrorEnvelope, description = "A parameter is unknown or invalid."),
))]
async fn export(State(store): State<AuditStore>, Query(query): Query<ExportQuery>) -> Result<Response, Error> {
    let (form, kind, name) = match query.format.as_str() {
        "csv" => (DownloadFormat::Csv, "text/csv; charset=utf-8", "audit.csv"),
        "jsonl" => (DownloadFormat::JsonLines, "application/jsonl; charset=utf-8", "audit.jsonl"),
        _ => return Err(Error::invalid([FieldError::new("format", "must be `csv` or `jsonl`")])),
    };
    let ExportQuery { tenant, actor, action, resource, since, until, .. } = query;
    let filter =
        AuditListQuery { tenant, actor, action, resource, since, until, limit: None, cursor: None }.filter()?;
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(store.download(filter, form))).into_response())
}

/// Verify audit chains
///
/// Verifies all chains, or that of one tenant or of the app.
#[utoipa::path(get, path = "/verify", operation_id = "verify_audit_chains", params(VerifyQuery), responses(
    (status = 200, body = ChainStates),
    (status = 422, body = ErrorEnvelope, description = "A parameter is unknown or invalid."),
))]
async fn verify(State(store): State<AuditStore>, Query(query): Query<VerifyQuery>) -> Result<Json<ChainStates>, Error> {
    let chains = match query.tenant {
        Some(text) => vec![chain_of(&text)?],
        None => store.chains().await?,
    };
    let mut items = Vec::with_capacity(chains.len());
    for chain in chains {
        items.push(store.chain_state(chain).await?);
    }
    Ok(Json(ChainStates { intact: items.iter().all(|state| state.intact), items }))
}
