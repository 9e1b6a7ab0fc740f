//! Tests of settings that are wrong.

use omnistack_core::{config::PublicUrl, db::Db, module::Context};

use super::*;

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
