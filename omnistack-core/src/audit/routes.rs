//! The entries for operators.

use axum::extract::State;
use garde::Validate;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{AuditFilter, AuditRecord, AuditStore, Chain};
use crate::{
    app::{Api, Module, Mount, Registry},
    clock::Timestamp,
    http::{Error, ErrorEnvelope, FieldProblem, Json, MAX_PAGE_SIZE, Page, PageRequest, Query},
    identity::UserId,
};

/// `GET /api/v1/admin/audit`: the entries of every tenant and of the app, for operators.
///
/// A module of its own, because not every app has operators: `.with(AuditApi)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditApi;

impl Module for AuditApi {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::admin("/audit"), Api::new().routes(routes!(list)), |ctx| ctx.get::<AuditStore>());
    }
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only of this tenant, by its id; `app` for the app's own.
    #[garde(skip)]
    tenant: Option<String>,
    /// Only of what this user did.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<UserId>,
    /// Only of actions that begin so: `project.`.
    #[garde(skip)]
    action: Option<String>,
    /// Only of what was done to exactly this: `project:0190…`.
    #[garde(skip)]
    resource: Option<String>,
    /// Only what was recorded at this moment or later.
    #[garde(skip)]
    since: Option<Timestamp>,
    /// Only what was recorded before this moment.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// Entries at most.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(skip)]
    cursor: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<AuditFilter, Error> {
        let mut filter = match self.tenant.as_deref() {
            None => AuditFilter::all_chains(),
            Some("app") => AuditFilter::of(Chain::App),
            Some(id) => AuditFilter::of(Chain::Tenant(
                id.parse().map_err(|_| Error::invalid([FieldProblem::new("tenant", "must be a UUID, or `app`")]))?,
            )),
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

/// Lists audit entries, newest first.
#[utoipa::path(get, path = "/", operation_id = "audit_list", params(ListQuery), responses(
    (status = 200, body = Page<AuditRecord>),
    (status = 422, body = ErrorEnvelope, description = "A parameter is unknown or of the wrong form."),
))]
async fn list(
    State(store): State<AuditStore>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<AuditRecord>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(store.list(&query.filter()?, limit, query.cursor.as_deref()).await?))
}
