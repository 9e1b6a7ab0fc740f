//! A module with a permission of its own, for a feature of a plan; and the plans of an app without billing.

use std::sync::Arc;

use omnistack::{
    identity::{Plan, PlanNeed, PlanSource, PlanUpgrade},
    prelude::*,
};

// ANCHOR: permissions
/// The exports module.
#[derive(Debug)]
pub struct Exports;

impl Module for Exports {
    fn name(&self) -> &'static str {
        "exports"
    }

    fn register(&self, registry: &mut Registry) {
        let mount = Mount::app("/exports").permissions("exports");
        let api = Api::new().require(Require::feature("exports"), routes!(export));
        registry.permissions(["exports:deleted"]).routes(mount, api, |ctx| ctx.get::<Db>());
    }
}

/// The rows to export.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
struct NewExport {
    /// Whether deleted projects are exported too. Needs the permission `exports:deleted`.
    #[serde(default)]
    with_deleted: bool,
}

/// Export the names of the projects
#[utoipa::path(post, path = "/", operation_id = "export_projects", request_body = NewExport,
    responses((status = 200, body = Vec<String>)))]
async fn export(
    caller: Identity,
    State(db): State<Db>,
    Json(new): Json<NewExport>,
) -> Result<Json<Vec<String>>, Error> {
    let tenant = caller.require_tenant()?;
    let sql = if new.with_deleted {
        caller.require("exports:deleted")?;
        "select name from projects where tenant_id = $1 order by name"
    } else {
        "select name from projects where tenant_id = $1 and deleted_at is null order by name"
    };
    let mut tx = db.tenant(tenant).begin_read().await?;
    let names: Vec<(String,)> = tx.query(sql).bind(tenant).fetch_all().await?;
    Ok(Json(names.into_iter().map(|(name,)| name).collect()))
}
// ANCHOR_END: permissions

// ANCHOR: plans
/// The plans of an app that is sold by contract, with the tenants that have one.
#[derive(Clone, Debug)]
pub struct Contracts(pub Arc<[TenantId]>);

#[async_trait]
impl PlanSource for Contracts {
    async fn plan(&self, tenant: TenantId) -> Result<Arc<Plan>, Error> {
        let plan = if self.0.contains(&tenant) {
            Plan::new("contract").feature("*")
        } else {
            Plan::new("free").limit("projects", 2)
        };
        Ok(Arc::new(plan))
    }

    fn upgrade(&self, _current: &Plan, _need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        Some(PlanUpgrade { plan: "contract".into(), name: "Contract".into() })
    }
}

impl Module for Contracts {
    fn name(&self) -> &'static str {
        "contracts"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide(Entitlements::new(self.clone()));
    }
}
// ANCHOR_END: plans
