//! Tests of flags for callers: routes, the extractor, required flags and exposures.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omnistack_core::{
    ShutdownToken,
    app::{App, DevIdentity},
    flag_variant::{FlagSubject, FlagVariants},
    http::{Error, Json},
    id::Id,
    identity::{Entitlements, Plan, PlanSource, Require, TenantId},
    module::{Api, Module, Mount, Registry},
};
use omnistack_flags::{
    CallerFlags, FeatureFlags, FlagDefinition, FlagExposure, FlagRule, FlagSet, FlagVariant, Flags, TenantOverride,
    flag, flag_gate,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;
use tokio::time::{Duration, timeout};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{APP, app, flags, make, operator};

/// A module that evaluates flags in every way.
struct FlagsModule;

impl Module for FlagsModule {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new()
            .routes(routes!(ask))
            .require(flag("new-ui"), routes!(shown))
            .require(Require::permission("secrets:read").and_gate(flag_gate("new-ui")), routes!(guarded));
        registry.routes(Mount::app("/asking"), api, |ctx| ctx.get::<Flags>());
        let open = Api::new().require(flag("open"), routes!(open));
        registry.routes(Mount::public("/asking"), open, |_| Ok(()));
    }
}

#[utoipa::path(get, path = "/", responses((status = 200, body = bool)))]
async fn ask(flags: CallerFlags) -> Json<bool> {
    Json(flags.is_on("new-ui"))
}

#[utoipa::path(get, path = "/shown", responses((status = 204)))]
async fn shown() -> http::StatusCode {
    http::StatusCode::NO_CONTENT
}

#[utoipa::path(get, path = "/guarded", responses((status = 204)))]
async fn guarded() -> http::StatusCode {
    http::StatusCode::NO_CONTENT
}

#[utoipa::path(get, path = "/open", responses((status = 204)))]
async fn open() -> http::StatusCode {
    http::StatusCode::NO_CONTENT
}

#[derive(Clone, Default)]
struct Plans(Arc<Mutex<Option<&'static str>>>);

#[async_trait]
impl PlanSource for Plans {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        let plan = *self.0.lock().unwrap();
        plan.map(|key| Arc::new(Plan::new(key))).ok_or_else(|| Error::unavailable("PLANS_AWAY", "plans are away"))
    }
}

on_each_database! {
    async fn callers_see_what_is_on_for_them(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (ada, bob) = (app.user(), app.user());
        let user = ada.identity().unwrap().user.to_string();
        make(&app, FlagDefinition::new("b").rule(FlagRule::users([user])).variant(FlagVariant::new("blue", 1).text("sky"))).await;
        let mut secret = FlagDefinition::new("a");
        secret.server_only = true;
        make(&app, secret).await;
        let on = json!({ "key": "b", "enabled": true, "reason": "rule",
            "variant": { "name": "blue", "payload": { "type": "string", "value": "sky" } } });
        assert_eq!(ada.get(APP).await.expect(200).json(), json!({ "items": [on] }));
        assert_eq!(ada.get(format!("{APP}/b")).await.expect(200).json(), on);
        let off = json!({ "key": "b", "enabled": false, "reason": "no_rule", "variant": null });
        assert_eq!(bob.get(format!("{APP}/b")).await.expect(200).json(), off);
        let tenant = bob.identity().unwrap().tenant.unwrap();
        let given = TenantOverride { enabled: true, variant: None };
        flags(&app).set_tenant_override("b", tenant, Some(given), &operator()).await.unwrap();
        assert_eq!(bob.get(format!("{APP}/b")).await.expect(200).json()["reason"], "override");
        for hidden in ["a", "nothing"] {
            ada.get(format!("{APP}/{hidden}")).await.expect_error(404, "NOT_FOUND");
        }
        app.anonymous().get(APP).await.expect(401);
    }

    async fn a_route_is_there_for_those_who_have_its_flag(database: TestDatabase) {
        let app = app(database, |app| app.with(FlagsModule)).await;
        let (ada, bob) = (app.user(), app.user());
        let user = ada.identity().unwrap().user.to_string();
        make(&app, FlagDefinition::new("new-ui").rule(FlagRule::users([user]))).await;
        for (caller, on) in [(&ada, true), (&bob, false)] {
            assert_eq!(caller.get("/api/v1/app/asking").await.expect(200).json(), on);
            for path in ["shown", "guarded"] {
                let answer = caller.get(format!("/api/v1/app/asking/{path}")).await;
                if on { answer.expect(204) } else { answer.expect_error(404, "NOT_FOUND") };
            }
        }
        app.anonymous().get("/api/v1/app/asking/shown").await.expect(401);
        app.anonymous().get("/api/v1/public/asking/open").await.expect(404);
        make(&app, FlagDefinition::new("open")).await;
        app.anonymous().get("/api/v1/public/asking/open").await.expect(204);
        flags(&app).set_kill_switch("open", true, &operator()).await.unwrap();
        app.anonymous().get("/api/v1/public/asking/open").await.expect(404);
    }

    async fn plans_decide(database: TestDatabase) {
        let plans = Plans::default();
        let app = app(database, |app| app.replace(Entitlements::new(plans.clone()))).await;
        make(&app, FlagDefinition::new("export").rule(FlagRule::plans(["pro"]))).await;
        let caller = app.user();
        for (plan, on) in [(Some("free"), false), (Some("pro"), true), (None, false)] {
            *plans.0.lock().unwrap() = plan;
            assert_eq!(caller.get(format!("{APP}/export")).await.expect(200).json()["enabled"], on, "{plan:?}");
        }
    }

    async fn other_modules_get_the_variant_of_a_user_or_else_of_a_tenant(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let two = FlagDefinition::new("model").variant(FlagVariant::new("old", 1)).variant(FlagVariant::new("new", 1));
        make(&app, two).await;
        make(&app, FlagDefinition::new("off").rule(FlagRule::users(["7"])).variant(FlagVariant::new("new", 1))).await;
        make(&app, FlagDefinition::new("plain")).await;
        let port: FlagVariants = app.app().context().get().unwrap();
        let plan = Plan::new("test");
        let of = |flag: &str, tenant, user| port.variant(flag, FlagSubject { tenant, user, plan: &plan });
        let tenant = Id::from_uuid(Uuid::nil());
        let of_users = || -> Vec<Option<String>> {
            (0..24).map(|number| of("model", tenant, Some(Id::from_uuid(Uuid::from_u128(number))))).collect()
        };
        let of_tenants = || -> Vec<Option<String>> {
            (0..24).map(|number| of("model", Id::from_uuid(Uuid::from_u128(number)), None)).collect()
        };
        for found in [of_users(), of_tenants()] {
            for name in ["old", "new"] {
                assert!(found.contains(&Some(name.to_owned())), "{found:?}");
            }
        }
        assert_eq!((of_users(), of_tenants()), (of_users(), of_tenants()));
        for flag in ["off", "plain", "unknown"] {
            assert_eq!(of(flag, tenant, None), None, "{flag}");
        }
    }

    async fn exposures_are_told_once_in_a_while(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let mut noted = FlagDefinition::new("noted").variant(FlagVariant::new("blue", 1));
        noted.exposures = true;
        make(&app, noted).await;
        make(&app, FlagDefinition::new("plain")).await;
        let mut told = app.events().subscribe::<FlagExposure>();
        let shutdown = ShutdownToken::new();
        let asking = async {
            let caller = app.user();
            let user = caller.identity().unwrap().user;
            for _ in 0..3 {
                for key in ["noted", "plain"] {
                    caller.get(format!("{APP}/{key}")).await.expect(200);
                }
                caller.get(APP).await.expect(200);
            }
            let other = app.user();
            other.get(format!("{APP}/noted")).await.expect(200);
            let mut next = async || timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
            let first = next().await;
            let variant = first.variant.as_deref();
            assert_eq!((first.flag.as_str(), first.enabled, variant, first.user), ("noted", true, Some("blue"), user));
            assert_eq!(next().await.user, other.identity().unwrap().user, "each once");
            app.clock().advance(Duration::from_secs(3600));
            caller.get(format!("{APP}/noted")).await.expect(200);
            assert_eq!(next().await.user, user, "and again after a while");
            shutdown.cancel();
        };
        tokio::join!(app.app().run_workers(shutdown.clone()), asking);
    }
}

#[tokio::test]
async fn an_app_without_flags_has_no_routes_that_ask_for_them() {
    let config = TestDatabase::sqlite().config();
    let error = App::builder(config).with(DevIdentity::default()).with(FlagsModule).build().unwrap_err().to_string();
    assert!(error.contains("Flags"), "{error}");
}

#[tokio::test]
async fn attributes_of_the_apps_own() {
    let read = FeatureFlags::default().attributes(|request| {
        let country = request.headers.get("x-country").and_then(|value| value.to_str().ok());
        country.map(|country| vec![("country".to_owned(), country.to_owned())]).unwrap_or_default()
    });
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(read)).await;
    let state = json!({ "key": "north", "rules": [{ "constraints": [
        { "attribute": "country", "operator": "in", "values": ["NO"] },
        { "attribute": "environment", "operator": "in", "values": ["test"] },
        { "attribute": "remoteAddress", "operator": "in_network", "values": ["127.0.0.0/8"] }] }] });
    app.operator().post(super::ADMIN, state).await.expect(201);
    let ask = || app.user().get(format!("{APP}/north"));
    assert_eq!(ask().header("x-country", "NO").await.expect(200).json()["enabled"], true);
    assert_eq!(ask().await.expect(200).json()["enabled"], false);
}

#[tokio::test]
async fn fixed_flags_stand_in_for_tests() {
    let fixed = FlagSet::new([FlagDefinition::new("new-ui")]);
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        let flags = Flags::fixed(fixed, omnistack_core::clock::Clock::system());
        app.with(FeatureFlags::default()).replace(flags)
    })
    .await;
    assert_eq!(app.user().get(format!("{APP}/new-ui")).await.expect(200).json()["enabled"], true);
    app.operator().post(super::ADMIN, json!({ "key": "x" })).await.expect_error(409, "FLAGS_FIXED");
}
