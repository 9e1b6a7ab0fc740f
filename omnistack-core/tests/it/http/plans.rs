//! Tests of routes that require a feature or a limit of the tenant's plan.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use axum::{
    Extension, Router,
    body::Body,
    routing::{get, post},
};
use omnistack_core::{
    http::{Error, StatusCode},
    id::Id,
    identity::{
        EntitlementLayer, Entitlements, Identity, LimitedResources, Permissions, Plan, PlanNeed, PlanSource,
        PlanUpgrade, Require, TenantId, TenantPlan,
    },
    module::{Api, Mount},
};
use omnistack_testkit::TestApp;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use utoipa_axum::routes;
use uuid::Uuid;

use super::support::{module, start};

/// The same plan for every tenant, either in memory or not, and a catalogue of larger plans.
struct OnePlan {
    plan: Arc<Plan>,
    is_cached: bool,
}

#[async_trait]
impl PlanSource for OnePlan {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(self.plan.clone())
    }

    fn cached_plan(&self, _: TenantId) -> Option<Arc<Plan>> {
        self.is_cached.then(|| self.plan.clone())
    }

    fn upgrade(&self, _: &Plan, need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        match need {
            PlanNeed::Feature("sso") => Some(PlanUpgrade { plan: "enterprise".into(), name: "Enterprise".into() }),
            PlanNeed::Limit { name: "projects", amount: ..=100 } => {
                Some(PlanUpgrade { plan: "pro".into(), name: "Professional".into() })
            }
            _ => None,
        }
    }
}

#[utoipa::path(get, path = "/sso", responses((status = 204)))]
async fn sso() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[utoipa::path(post, path = "/projects", responses((status = 204)))]
async fn create_project() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn plan_key(TenantPlan(plan): TenantPlan) -> String {
    plan.key.clone()
}

const SSO: &str = "/api/v1/app/sso";
const PROJECTS: &str = "/api/v1/app/projects";

/// Starts an app whose tenants have a plan, and so many projects.
async fn app(plan: Plan, is_cached: bool, projects: &Arc<AtomicU64>) -> TestApp {
    let projects = projects.clone();
    let all = module("projects", move |registry| {
        let projects = projects.clone();
        let api = Api::<()>::new()
            .require(Require::feature("sso"), routes!(sso))
            .require(Require::permission("projects:write").and_limit("projects"), routes!(create_project));
        let with_plan = || Api::<Entitlements>::new().hidden("/plan", get(plan_key));
        registry
            .limited_resource("projects", move |_| {
                Ok(move |_| {
                    let count = projects.load(Ordering::SeqCst);
                    async move { Ok(count) }
                })
            })
            .routes(Mount::app(""), api, |_| Ok(()))
            .routes(Mount::app(""), with_plan(), |ctx| ctx.get::<Entitlements>())
            .routes(Mount::public(""), with_plan(), |ctx| ctx.get::<Entitlements>());
    });
    let entitlements = Entitlements::new(OnePlan { plan: Arc::new(plan), is_cached });
    start(|app| app.with(all).replace(entitlements)).await
}

fn free() -> Plan {
    Plan::new("free").feature("export").limit("projects", 3)
}

fn resources(app: &TestApp) -> LimitedResources {
    app.app().context().get().unwrap()
}

fn details(body: &Value) -> (&Value, &Value) {
    (&body["error"]["message"], &body["error"]["details"])
}

#[tokio::test]
async fn a_feature_must_be_in_the_plan() {
    for is_cached in [false, true] {
        for plan in [Plan::new("pro").feature("sso"), Plan::new("all").feature("*")] {
            app(plan, is_cached, &Arc::default()).await.user().get(SSO).await.expect(204);
        }
        let app = app(free(), is_cached, &Arc::default()).await;
        let refused = app.user().get(SSO).await.expect_error(403, "FEATURE_NOT_IN_PLAN").json();
        let message = json!("the plan `free` does not include `sso`; change to the plan `enterprise`");
        let upgrade = json!({ "plan": "enterprise", "name": "Enterprise" });
        let expected = json!({ "feature": "sso", "plan": "free", "upgrade": upgrade });
        assert_eq!(details(&refused), (&message, &expected));
    }
}

#[tokio::test]
async fn a_limit_must_allow_one_more() {
    for is_cached in [false, true] {
        let projects = Arc::new(AtomicU64::new(2));
        let app = app(free(), is_cached, &projects).await;
        let user = app.user();
        user.post(PROJECTS, ()).await.expect(204);
        let (resources, tenant) = (resources(&app), user.identity().unwrap().tenant.unwrap());
        assert_eq!(resources.names(), ["projects"]);
        assert_eq!(resources.count("projects", tenant).await.unwrap(), Some(2));
        assert_eq!(resources.count("reports", tenant).await.unwrap(), None);
        for (used, upgrade) in [(3, Some("pro")), (99, Some("pro")), (100, None)] {
            projects.store(used, Ordering::SeqCst);
            let refused = user.post(PROJECTS, ()).await.expect_error(402, "PLAN_LIMIT_REACHED").json();
            let what_to_do = match upgrade {
                Some(plan) => format!("change to the plan `{plan}`"),
                None => "contact the operator of the app for more".to_owned(),
            };
            let message = format!("the plan `free` allows 3 of `projects`, and {used} are used; {what_to_do}");
            let mut expected = json!({ "limit": "projects", "used": used, "allowed": 3, "plan": "free" });
            if let Some(plan) = upgrade {
                expected["upgrade"] = json!({ "plan": plan, "name": "Professional" });
            }
            assert_eq!(details(&refused), (&json!(message), &expected));
        }
    }
    for is_cached in [false, true] {
        let app = app(Plan::new("unlimited"), is_cached, &Arc::new(AtomicU64::new(1_000))).await;
        app.user().post(PROJECTS, ()).await.expect(204);
    }
}

#[tokio::test]
async fn the_caller_is_checked_before_the_plan() {
    let app = app(free(), true, &Arc::new(AtomicU64::new(3))).await;
    let identity = || Identity::user(Id::from_uuid(Uuid::new_v4()));
    let tenant = Id::from_uuid(Uuid::new_v4());
    app.anonymous().post(PROJECTS, ()).await.expect_error(401, "UNAUTHORIZED");
    let reader = app.client_as(identity().for_tenant(tenant).with_permissions("*:read".parse().unwrap()));
    reader.post(PROJECTS, ()).await.expect_error(403, "PERMISSION_DENIED");
    let without_tenant = app.client_as(identity().with_permissions(Permissions::all()));
    without_tenant.post(PROJECTS, ()).await.expect_error(403, "TENANT_REQUIRED");
    without_tenant.get(SSO).await.expect_error(403, "TENANT_REQUIRED");
    app.user().post(PROJECTS, ()).await.expect_error(402, "PLAN_LIMIT_REACHED");
}

#[tokio::test]
async fn a_handler_reads_the_plan_of_its_caller() {
    let app = app(free(), false, &Arc::default()).await;
    assert_eq!(app.user().get("/api/v1/app/plan").await.expect(200).text(), "free");
    app.operator().get("/api/v1/app/plan").await.expect_error(403, "TENANT_REQUIRED");
    app.user().get("/api/v1/public/plan").await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn without_billing_every_plan_allows_everything() {
    let api = Api::<Entitlements>::new().hidden("/plan", get(plan_key)).require(Require::feature("sso"), routes!(sso));
    let all = module("test", move |registry| {
        registry.routes(Mount::app(""), api.clone(), |ctx| ctx.get::<Entitlements>());
    });
    let app = start(|app| app.with(all)).await;
    app.user().get(SSO).await.expect(204);
    assert_eq!(app.user().get("/api/v1/app/plan").await.expect(200).text(), "unlimited");
}

#[tokio::test]
async fn the_layer_works_in_a_plain_axum_app() {
    let entitlements = Entitlements::new(OnePlan { plan: Arc::new(free()), is_cached: true });
    let caller = Identity::user(Id::from_uuid(Uuid::new_v4())).for_tenant(Id::from_uuid(Uuid::new_v4()));
    let undeclared = EntitlementLayer::limit(entitlements.clone(), LimitedResources::default(), "projects");
    let unlimited = EntitlementLayer::limit(entitlements.clone(), LimitedResources::default(), "reports");
    for (layer, caller, status) in [
        (EntitlementLayer::feature(entitlements.clone(), "export"), Some(caller.clone()), 204),
        (EntitlementLayer::feature(entitlements.clone(), "export"), None, 401),
        (EntitlementLayer::feature(entitlements, "sso"), Some(caller.clone()), 403),
        (unlimited, Some(caller.clone()), 204),
        (undeclared, Some(caller), 500),
    ] {
        let mut router: Router = Router::new().route("/", post(StatusCode::NO_CONTENT)).layer(layer);
        if let Some(caller) = caller {
            router = router.layer(Extension(caller));
        }
        let request = http::Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), status);
    }
}
