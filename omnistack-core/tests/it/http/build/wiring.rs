//! Tests of values that modules need and provide.

use omnistack_core::{
    credits::CreditAccounts,
    crypto::KeyRing,
    db::Db,
    identity::{Authenticate, Authenticator, Identity, Require},
    module::{Context, Slot},
};
use utoipa_axum::routes;

use super::*;

struct Nobody;

#[async_trait::async_trait]
impl Authenticate for Nobody {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<Identity>, omnistack_core::http::Error> {
        Ok(None)
    }
}

#[tokio::test]
async fn what_is_missing_or_there_twice_is_named() {
    let payments = || module("billing", |registry| _ = registry.provide(Payments));
    let other = module("paypal", |registry| _ = registry.provide(Payments));
    let auth = module("auth", |registry| _ = registry.provide(Authenticator::new(Nobody)));
    let needy = module("orders", |registry| _ = registry.require::<String>());
    refused(
        builder(&[]).with(payments()).with(other).with(payments()).with(needy).with(auth).with(DevIdentity::default()),
        "
the app can't be built: 4 problems

  - paypal: provides `Payments`, which module `billing` also provides
      fix: remove one of the modules `billing` and `paypal`
  - billing: was added twice
      fix: remove one `.with(…)` of module `billing`
  - dev-identity: provides `omnistack::identity::Authenticator`, which module `auth` also provides
      fix: remove one of the modules `auth` and `dev-identity`
  - orders: needs `alloc::string::String`, which no module provides
      fix: add the module that provides `alloc::string::String`, or provide one with `registry.provide(…)`
",
    );
}

#[tokio::test]
async fn what_wiring_misses_is_named_wherever_it_is_missed() {
    let routes = module("routes", |registry| {
        registry.routes(Mount::public("/orders"), Api::<Payments>::new(), |ctx| ctx.get::<Payments>());
    });
    let layer = module("layer", |registry| {
        registry.layer(Slot::Route, |ctx| ctx.get::<Payments>().map(|_| tower::layer::util::Identity::new()));
    });
    let health = module("health", |registry| {
        registry.health("orders", |ctx| ctx.get::<Payments>().map(|_| || async { Ok(()) }));
    });
    let service = module("service", |registry| {
        registry.background_service("orders", |ctx| ctx.get::<Payments>().map(|_| |_| async { Ok(()) }));
    });
    let value = module("value", |registry| {
        registry.provide_from(|ctx| ctx.get::<Payments>().map(|_| 7_u8));
    });
    // What is made of the value that can't be made, and a second use in one module, are no further problems.
    let derived = module("derived", |registry| {
        registry
            .provide_from(|ctx| ctx.get::<u8>().map(u16::from))
            .health("numbers", |ctx| ctx.get::<u16>().map(|_| || async { Ok(()) }));
    });
    let error = builder(&[])
        .with(routes)
        .with(layer)
        .with(health)
        .with(service)
        .with(value)
        .with(derived)
        .with(module("twice", |registry| {
            for _ in 0..2 {
                registry.count(|ctx| ctx.get::<Payments>().map(|_| || async { Ok(Vec::new()) }));
            }
        }))
        .build()
        .unwrap_err();
    let mut modules: Vec<_> = error.0.iter().map(|problem| problem.module).collect();
    modules.sort_unstable();
    assert_eq!(modules, ["health", "layer", "routes", "service", "twice", "value"], "{error}");
    for problem in &error.0 {
        assert!(problem.what.starts_with("needs `") && problem.what.contains("Payments"), "{problem}");
        assert!(problem.fix.starts_with("add the module that provides `"), "{problem}");
    }
}

#[tokio::test]
async fn all_that_one_state_and_its_routes_miss_is_named_at_once() {
    let shop = module("shop", |registry| {
        let api = Api::<(Payments, String)>::new().require(Require::feature("shop"), routes!(hello_described));
        registry.routes(Mount::app("/shop"), api, Context::get_all::<(Payments, String)>);
    });
    let mail = module("newsletter", |registry| {
        registry.require::<Db>().require::<CreditAccounts>();
    });
    refused(
        builder(&[("HTTP_TIMEOUT", "long")]).with(shop).with(mail),
        "
the app can't be built: 5 problems

  - core: `HTTP_TIMEOUT` (from the program): `long` is not a duration: write a number with its unit, e.g. 30s, 5m, 1h 30m, 250ms
      fix: set HTTP_TIMEOUT in the environment, .env or omnistack.toml
  - shop: mounts routes for signed-in callers at /api/v1/app/shop, but no module authenticates callers
      fix: add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or `.with(DevIdentity::default())` while developing
  - newsletter: needs `omnistack::credits::CreditAccounts`, which no module provides
      fix: add `.with(Billing::from_env())`, of the feature `billing`
  - shop: needs `Payments`, which no module provides
      fix: add the module that provides `Payments`, or provide one with `registry.provide(…)`
  - shop: needs `alloc::string::String`, which no module provides
      fix: add the module that provides `alloc::string::String`, or provide one with `registry.provide(…)`
",
    );
}

#[utoipa::path(get, path = "/", responses((status = 204)))]
async fn hello_described() -> omnistack_core::http::StatusCode {
    omnistack_core::http::StatusCode::NO_CONTENT
}

#[tokio::test]
async fn values_that_are_made_of_each_other_are_named() {
    let shop = module("shop", |registry| {
        registry
            .provide_from(|ctx| ctx.get::<u8>().map(u16::from))
            .provide_from(|ctx| ctx.get::<u16>().map(|number| number.to_be_bytes()[1]));
    });
    refused(
        builder(&[]).with(shop),
        "
the app can't be built: 2 problems

  - shop: creates `u16` from `u8`, which is created from `u16`
      fix: create one of them without the other
  - shop: creates `u8` from `u16`, which is created from `u8`
      fix: create one of them without the other
",
    );
}

#[tokio::test]
async fn a_value_that_core_makes_on_demand_asks_to_be_required() {
    let sealing = module("sealing", |registry| {
        registry.health("keys", |ctx| ctx.get::<KeyRing>().map(|_| || async { Ok(()) }));
    });
    refused(
        builder(&[]).with(sealing),
        "
the app can't be built: 1 problem

  - sealing: needs `omnistack::crypto::KeyRing`, which no module provides
      fix: call `registry.require::<KeyRing>()` in the module
",
    );
    // Without keys, the setting is the only problem.
    let sealing = module("sealing", |registry| {
        registry.require::<KeyRing>().health("keys", |ctx| ctx.get::<KeyRing>().map(|_| || async { Ok(()) }));
    });
    let problems = builder(&[("SECRET_KEYS", "none")]).with(sealing).build().unwrap_err();
    assert!(problems.0.len() == 1 && problems.0[0].module == "core", "{problems}");
}
