//! Tests that a failed build reports all problems, each with a fix.

mod features;
mod paths;
mod plans;
mod schemas;

use axum::routing::{get, post};
use omnistack_core::{
    app::{App, AppBuilder, DevIdentity},
    config::{Config, PublicUrl},
    credits::CreditAccounts,
    crypto::KeyRing,
    db::{Db, Migration},
    identity::{AccessLevel, Authenticate, Authenticator, Identity, Require},
    module::{Api, Context, Mount, Slot},
};
use utoipa_axum::routes;

use super::support::{InlineModule, module, routes};

fn builder(settings: &[(&str, &str)]) -> AppBuilder {
    let memory = [("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "test")];
    App::builder(Config::from_pairs(memory.into_iter().chain(settings.iter().copied())))
}

#[track_caller]
fn refused(builder: AppBuilder, expected: &str) {
    let text = builder.build().err().map(|error| error.to_string()).unwrap_or_default();
    // The type name contains the path of the test binary.
    let text = text.replace(std::any::type_name::<Payments>(), "Payments");
    assert_eq!(text.trim_end(), expected.trim(), "\n{text}\n");
}

fn hello() -> Api {
    Api::new().hidden("/hello", get(|| async { "hello" }))
}

fn named(name: &'static str, mount: Mount, api: Api) -> InlineModule {
    module(name, move |registry| {
        registry.routes(mount.clone(), api.clone(), |_| Ok(()));
    })
}

#[tokio::test]
async fn an_app_without_problems_is_built() {
    builder(&[]).build().unwrap();
    App::builder(Config::default()).build().unwrap();
    builder(&[("APP_ENV", "production")]).build().unwrap();
}

#[tokio::test]
async fn an_address_with_a_path_is_refused() {
    refused(builder(&[("PUBLIC_URL", "https://example.com/app/")]), "
the app can't be built: 1 problem

  - core: `PUBLIC_URL` (from the program): `https://example.com/app/` has the path `/app`, and the app is served at the root of its host; use `https://example.com`, or another host
      fix: set PUBLIC_URL in the environment, .env or omnistack.toml
");
}

#[tokio::test]
async fn every_bad_setting_is_named() {
    let settings = [
        ("APP_ENV", "produciton"),
        ("HTTP_TIMEOUT", "long"),
        ("HTTP_BODY_LIMIT", "a lot"),
        ("PORT", "eighty"),
        ("HTTP_RATE_LIMIT", "5/fortnight"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, everybody"),
        ("DATABASE_MAX_CONNECTIONS", "-1"),
    ];
    refused(builder(&settings), "
the app can't be built: 7 problems

  - core: `APP_ENV` (from the program): expected `development`, `test` or `production`
      fix: set APP_ENV in the environment, .env or omnistack.toml
  - core: `DATABASE_MAX_CONNECTIONS` (from the program): `-1` is not a whole number
      fix: set DATABASE_MAX_CONNECTIONS in the environment, .env or omnistack.toml
  - core: `PORT` (from the program): `eighty` is not a number from 0 to 65535
      fix: set PORT in the environment, .env or omnistack.toml
  - core: `HTTP_BODY_LIMIT` (from the program): `a lot` is not a size: write a number with its unit, e.g. 512KiB, 10MiB, 1GiB
      fix: set HTTP_BODY_LIMIT in the environment, .env or omnistack.toml
  - core: `HTTP_TIMEOUT` (from the program): `long` is not a duration: write a number with its unit, e.g. 30s, 5m, 1h 30m, 250ms
      fix: set HTTP_TIMEOUT in the environment, .env or omnistack.toml
  - core: `HTTP_RATE_LIMIT` (from the program): `5/fortnight` is not a rate: use a rate such as 100/minute, 5/hour burst 2, 100/minute sliding
      fix: set HTTP_RATE_LIMIT in the environment, .env or omnistack.toml
  - core: `TRUSTED_PROXIES` (from the program): `everybody` is not a network, e.g. 10.0.0.0/8
      fix: set TRUSTED_PROXIES in the environment, .env or omnistack.toml
");
}

#[tokio::test]
async fn a_database_that_is_none_is_one_problem() {
    let needs_db = module("notes", |registry| {
        registry.require::<Db>().routes(Mount::public("/notes"), Api::<Db>::new(), Context::get::<Db>);
    });
    refused(
        builder(&[("DATABASE_URL", "mysql://localhost/app")]).with(needs_db),
        "
the app can't be built: 1 problem

  - core: `DATABASE_URL`: expected a postgres://… or sqlite:… URL
      fix: set it to postgres://… or sqlite:path/to/file.db
",
    );
}

#[tokio::test]
async fn a_bad_setting_brings_no_problem_of_another() {
    let needs_db = module("notes", |registry| _ = registry.require::<Db>());
    refused(
        builder(&[("PORT", "eighty")]).with(needs_db),
        "
the app can't be built: 1 problem

  - core: `PORT` (from the program): `eighty` is not a number from 0 to 65535
      fix: set PORT in the environment, .env or omnistack.toml
",
    );
}

#[tokio::test]
async fn a_guarded_route_needs_somebody_who_knows_callers() {
    for (mount, at) in [
        (Mount::app("/hello"), "/api/v1/app/hello"),
        (Mount::admin("/hello"), "/api/v1/admin/hello"),
        (Mount::machine("/hello").v2(), "/api/v2/machine/hello"),
        (Mount::root("/v1/hello", AccessLevel::Machine), "/v1/hello"),
    ] {
        let expected = format!(
            "
the app can't be built: 1 problem

  - test: mounts routes for signed-in callers at {at}, but no module authenticates callers
      fix: add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or `.with(DevIdentity::default())` while developing
"
        );
        refused(builder(&[]).with(routes(mount, hello())), &expected);
    }
}

#[tokio::test]
async fn a_mount_without_users_asks_for_none_in_person() {
    let expected = "
the app can't be built: 1 problem

  - test: /api/v1/public/hello is a mount with `in_person`, which its access level `public` does not support
      fix: use `Mount::app` or `Mount::admin`, or remove `in_person`
";
    refused(builder(&[]).with(routes(Mount::public("/hello").in_person(), hello())), expected);
}

#[tokio::test]
async fn the_development_identity_is_refused_in_production() {
    for (environment, refused) in [("development", false), ("test", false), ("production", true), ("prod", true)] {
        let built = builder(&[("APP_ENV", environment), ("DEV_TOKEN", "x")]).with(DevIdentity::default()).build();
        let text = built.err().map(|error| error.to_string()).unwrap_or_default();
        let expected = "the app can't be built: 1 problem\n\n  - dev-identity: `APP_ENV` is production, and the development \
                        identity admits every caller who has its token\n      fix: replace `DevIdentity` with a module that \
                        authenticates your users, or unset `APP_ENV`";
        assert_eq!(text, if refused { expected } else { "" }, "{environment}");
    }
}

#[derive(Clone)]
struct Payments;

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

#[tokio::test]
async fn without_an_address_for_users_the_app_is_at_its_own() {
    for (settings, expected) in [
        (&[][..], "http://127.0.0.1:8080"),
        (&[("PORT", "8137")][..], "http://127.0.0.1:8137"),
        (&[("PORT", "8137"), ("HOST", "0.0.0.0")][..], "http://127.0.0.1:8137"),
        (&[("PORT", "8137"), ("PUBLIC_URL", "https://app.example.com")][..], "https://app.example.com"),
    ] {
        let app = builder(settings).build().unwrap();
        let url: PublicUrl = app.context().get().unwrap();
        assert_eq!(url.as_str(), expected);
        // A browser that has loaded the document from elsewhere calls that place.
        let document: serde_json::Value = serde_json::from_slice(app.openapi()).unwrap();
        let server = if expected.starts_with("https") { expected } else { "/" };
        assert_eq!(document["servers"][0]["url"], server);
    }
}

#[tokio::test]
async fn migrations_are_numbered_upwards() {
    const fn migration(name: &'static str) -> Migration {
        Migration { name, postgres: "", sqlite: "" }
    }
    const GOOD: &[Migration] = &[migration("0001_a"), migration("0002_b"), migration("0010_c")];
    const BAD: &[Migration] = &[migration("0002_b"), migration("0001_a"), migration("0002_again"), migration("late")];
    builder(&[]).with(module("good", |registry| _ = registry.migrations(GOOD))).build().unwrap();
    refused(
        builder(&[]).with(module("bad", |registry| _ = registry.migrations(BAD))),
        "
the app can't be built: 3 problems

  - bad: migration `0001_a` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
  - bad: migration `0002_again` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
  - bad: migration `late` must have a number larger than 2
      fix: begin each migration's name with a number larger than the previous one: `0002_archive`
",
    );
}

#[tokio::test]
async fn a_migration_history_belongs_to_one_list_of_migrations() {
    const fn migration(name: &'static str) -> Migration {
        Migration { name, postgres: "", sqlite: "" }
    }
    const SHARED: &[Migration] = &[migration("0001_a")];
    const OTHER: &[Migration] = &[migration("0001_b")];
    let shared = |name, migrations| module(name, move |registry| _ = registry.shared_migrations("stars", migrations));
    let app = builder(&[]).with(shared("sun", SHARED)).with(shared("moon", SHARED)).build().unwrap();
    let ran = app.migrate().await.unwrap();
    assert_eq!(ran.iter().filter(|(history, _)| *history == "stars").collect::<Vec<_>>(), [&("stars", "0001_a")]);
    refused(
        builder(&[]).with(shared("sun", SHARED)).with(module("stars", |registry| _ = registry.migrations(OTHER))),
        "
the app can't be built: 1 problem

  - stars: the migration history `stars` exists already
      fix: list all migrations of a module in one call, or rename the module
",
    );
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_refused() {
    for (name, text) in [
        ("LOG_LEVEL", "warning"),
        ("LOG_LEVEL", "verbose"),
        ("LOG_LEVEL", "info,omnistack::db"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/start"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://a.example.com https://b.example.com"),
        ("JOBS_POLL", "0s"),
        ("JOBS_LEASE", "0s"),
        ("JOBS_CONCURRENCY", "0"),
        ("EVENTS_POLL", "0s"),
        ("EVENTS_CONCURRENCY", "0"),
        ("DATABASE_MAX_CONNECTIONS", "0"),
        ("DATABASE_ACQUIRE_TIMEOUT", "0s"),
        ("DATABASE_STATEMENT_TIMEOUT", "0s"),
        ("HTTP_TIMEOUT", "0s"),
        ("HTTP_HEADER_TIMEOUT", "0s"),
        ("HTTP_BODY_LIMIT", "0B"),
        ("HTTP_CLIENT_TIMEOUT", "0s"),
        ("IDEMPOTENCY_LEASE", "0s"),
        ("IDEMPOTENCY_RETENTION", "0s"),
        ("CACHE_SIZE", "0B"),
    ] {
        let problems = builder(&[(name, text)]).build().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            problems.contains("1 problem\n") && problems.contains(&format!("`{name}`")),
            "{name}={text}: {problems}"
        );
    }
}

#[tokio::test]
async fn a_setting_with_a_secret_never_shows_it() {
    for (name, text) in [
        ("DATABASE_URL", "postgres://app:S3CRET pass@db/app"),
        ("DATABASE_URL", "postgres://app:S3CRET@db:port/app"),
        ("DATABASE_URL", "mysql://app:S3CRET@db/app"),
        ("DATABASE_URL", "postgres://app:x@db/app?sslpassword=S3CRET&sslmode=S3CRET"),
        ("TENANT_DATABASE_URL", "postgres://app:S3CRET pass@db/app"),
        ("REDIS_URL", "redis://:S3CRET pass@cache"),
        ("REDIS_URL", "S3CRET"),
        ("SECRET_KEYS", "k1:S3CRET"),
        ("SECRET_KEYS", "S3CRET"),
    ] {
        let problems = builder(&[(name, text)]).build().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!problems.contains("S3CRET"), "{name}={text}: {problems}");
    }
}

#[tokio::test]
async fn problems_of_all_kinds_come_together() {
    omnistack_core::settings! {
        /// Settings of billing.
        struct BillingSettings {
            /// The API key of the payment provider.
            key: omnistack_core::SecretString = "BILLING_KEY";
            /// The length of a trial in days.
            trial_days: u16 = "BILLING_TRIAL_DAYS", default "14", range "0"..="365";
        }
    }
    let billing = module("billing", |registry| {
        if let Some(settings) = registry.config::<BillingSettings>() {
            _ = (settings.key, settings.trial_days);
        }
        registry.report_problem("has no plan", "call `.plans(…)`").require::<Vec<u8>>();
    });
    let app = builder(&[("BILLING_TRIAL_DAYS", "a few"), ("HTTP_TIMEOUT", "30")]);
    refused(app.with(billing).with(routes(Mount::app(""), hello())), "
the app can't be built: 6 problems

  - core: `HTTP_TIMEOUT` (from the program): `30` is not a duration: write a number with its unit, e.g. 30s, 5m, 1h 30m, 250ms
      fix: set HTTP_TIMEOUT in the environment, .env or omnistack.toml
  - billing: `BILLING_KEY`: must be set (secret). The API key of the payment provider.
      fix: set BILLING_KEY in the environment, .env or omnistack.toml
  - billing: `BILLING_TRIAL_DAYS` (from the program): `a few` is not a number from 0 to 65535
      fix: set BILLING_TRIAL_DAYS in the environment, .env or omnistack.toml
  - billing: has no plan
      fix: call `.plans(…)`
  - test: mounts routes for signed-in callers at /api/v1/app, but no module authenticates callers
      fix: add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or `.with(DevIdentity::default())` while developing
  - billing: needs `alloc::vec::Vec<u8>`, which no module provides
      fix: add the module that provides `alloc::vec::Vec<u8>`, or provide one with `registry.provide(…)`
");
}
