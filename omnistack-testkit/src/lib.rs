//! Helpers for testing OmniStack apps, modules and providers.
//!
//! - [`TestApp`] starts a set of modules on a fresh database, with a clock that the test sets, and creates clients
//!   for any number of callers.
//! - [`on_each_database!`] runs one test on SQLite and on PostgreSQL. [`TestPostgres`] is a PostgreSQL server for one
//!   test, which the test can stop and kill.
//! - [`on_each_cache!`] runs one test on an in-process cache and on Redis. [`TestRedis`] is a Redis server for one
//!   test, which the test can kill and freeze.
//! - [`email_conformance!`] generates the tests that every [`EmailProvider`](omnistack_core::email::EmailProvider)
//!   must pass. [`smtp`] is a mail server that records the mails it receives.
//! - `sms_conformance!`, `storage_conformance!` and `vector_conformance!` generate the tests that every SMS provider,
//!   storage provider and vector engine must pass.
//! - [`payments`] has wire fakes of payment providers.
//! - [`llm`] has a mock provider of models, whose streams a test controls byte by byte.
//! - [`crash`] kills a process after each of its statements in turn, to test the state after a crash.
//! - [`mock_server`] is a mock HTTP server that sends scripted responses byte by byte, to test code that calls other
//!   services.
//!
//! ```
//! use omnistack_core::module::{Api, Module, Mount, Registry};
//! use omnistack_core::{http::{Json, StatusCode}, identity::Identity};
//! use omnistack_testkit::{TestApp, TestDatabase};
//! use utoipa_axum::routes;
//!
//! struct Me;
//!
//! impl Module for Me {
//!     fn name(&self) -> &'static str {
//!         "me"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.routes(Mount::app("/me"), Api::new().routes(routes!(me)), |_| Ok(()));
//!     }
//! }
//!
//! /// Get the caller's user id
//! #[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
//! async fn me(caller: Identity) -> Json<String> {
//!     Json(caller.user.to_string())
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Me)).await;
//! let alice = app.user();
//! let answer = alice.get("/api/v1/app/me").await;
//! assert_eq!(answer.expect(StatusCode::OK).json(), alice.identity().unwrap().user.to_string());
//! app.anonymous().get("/api/v1/app/me").await.expect(StatusCode::UNAUTHORIZED);
//! # }
//! ```
//!
//! # Features
//!
//! State the features that the app has: then `cargo test` compiles none of its dependencies a second time.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | tests on SQLite |
//! | `postgres` | no | [`TestDatabase::postgres`], [`TestPostgres`], and the tests on PostgreSQL of [`on_each_database!`] |
//! | `redis` | no | [`TestRedis`], and the tests on Redis of [`on_each_cache!`] |
//! | `email` | no | the sent mails at `/dev/mailbox` of the test app |
//! | `sms` | no | `sms_conformance!` |
//! | `storage` | no | `storage_conformance!` |
//! | `ai` | no | `vector_conformance!` |
//!
//! # Templates
//!
//! The tables of an app are created once, in a template, and copied for each test, which takes a tenth of the time of
//! the migrations. The templates of PostgreSQL are databases named `omnistack_template_…` on the server of
//! `TEST_DATABASE_URL`, those of SQLite are files in `omnistack-templates` in the temporary folder. They can be deleted
//! while no test runs.
//!
//! # Environment variables
//!
//! `cargo xtask test` starts the servers and sets these variables. A test that needs a variable which is not set
//! fails with a message that names it; no test is skipped.
//!
//! | variable | value | used by |
//! |---|---|---|
//! | `TEST_DATABASE_URL` | the URL of a PostgreSQL role that can create databases | [`TestDatabase::postgres`] |
//! | `TEST_POSTGRES_BIN` | the folder of `initdb` and `postgres` | [`TestPostgres`] |
//! | `TEST_POSTGRES_USER` | the user to run PostgreSQL as, if the tests run as root | [`TestPostgres`] |
//! | `TEST_REDIS_URL` | the URL of a Redis server | [`TestCache::redis`] |
//! | `TEST_REDIS_BIN` | the path of `redis-server` | [`TestRedis`] |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test fails by a panic with a message")]

mod app;
mod cache;
mod client;
pub mod conformance;
#[cfg(unix)]
pub mod crash;
mod database;
pub mod email;
pub mod llm;
mod mailbox;
pub mod mock_server;
pub mod payments;
#[cfg(feature = "postgres")]
mod postgres;
mod random;
#[cfg(feature = "redis")]
mod redis;
mod sent_mails;
#[cfg(feature = "sms")]
pub mod sms;
pub mod smtp;
#[cfg(feature = "storage")]
pub mod storage;
#[cfg(test)]
mod tests;
#[cfg(feature = "ai")]
pub mod vectors;

pub use app::TestApp;
pub use cache::TestCache;
pub use client::{TestClient, TestRequest, TestResponse};
pub use database::TestDatabase;
#[cfg(feature = "postgres")]
pub use postgres::TestPostgres;
#[cfg(feature = "redis")]
pub use redis::{CommandMonitor, TestRedis};
pub use sent_mails::SentMails;

/// Generates two tests from one body, `name::sqlite` and `name::postgres`, each on a fresh [`TestDatabase`]. There is a
/// test for each database whose feature is on.
///
/// ```
/// use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
///
/// on_each_database! {
///     async fn health_is_public(database: TestDatabase) {
///         let app = TestApp::start(database, |app| app).await;
///         app.anonymous().get("/health").await.expect_ok();
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_each_database {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: $kind:ty) $body:block)+) => {$(
        $(#[$attribute])*
        #[cfg(test)]
        mod $name {
            use super::*;

            async fn body($database: $kind) $body

            $crate::__with_sqlite! {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    body($crate::TestDatabase::sqlite()).await;
                }
            }

            $crate::__with_postgres! {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    body($crate::TestDatabase::postgres()).await;
                }
            }
        }
    )+};
}

/// Generates two tests from one body, `name::in_process` and `name::redis`, each on an empty [`TestCache`]. Without the
/// feature `redis` there is only the first.
///
/// ```
/// use omnistack_testkit::{TestCache, on_each_cache};
/// use std::time::Duration;
///
/// on_each_cache! {
///     async fn what_is_set_is_there_for_its_time(test: TestCache) {
///         test.cache().set("planet", "Mars", Duration::from_millis(50)).await;
///         assert_eq!(test.cache().get::<String>("planet").await.as_deref(), Some("Mars"));
///         test.advance(Duration::from_millis(50)).await;
///         assert_eq!(test.cache().get::<String>("planet").await, None);
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_each_cache {
    ($($(#[$attribute:meta])* async fn $name:ident($test:ident: $kind:ty) $body:block)+) => {$(
        $(#[$attribute])*
        #[cfg(test)]
        mod $name {
            use super::*;

            async fn body($test: $kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                body($crate::TestCache::in_process()).await;
            }

            $crate::__with_redis! {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn redis() {
                    body($crate::TestCache::redis()).await;
                }
            }
        }
    )+};
}

// The expansion of `on_each_database!` can't ask for a feature: it would be that of the crate with the test. So these macros
// keep or drop their input by the features of this crate.

#[cfg(feature = "sqlite")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_sqlite {
    ($($input:tt)*) => { $($input)* };
}

#[cfg(not(feature = "sqlite"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_sqlite {
    ($($input:tt)*) => {};
}

#[cfg(feature = "postgres")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_postgres {
    ($($input:tt)*) => { $($input)* };
}

#[cfg(not(feature = "postgres"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_postgres {
    ($($input:tt)*) => {};
}

#[cfg(feature = "redis")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_redis {
    ($($input:tt)*) => { $($input)* };
}

#[cfg(not(feature = "redis"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_redis {
    ($($input:tt)*) => {};
}
