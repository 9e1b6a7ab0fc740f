//! Tests of OmniStack apps, yours as much as ours.
//!
//! - [`TestApp`] starts a set of modules on a fresh database, with a clock that moves when told to, and gives clients for
//!   as many callers as a test needs.
//! - [`on_each_database!`] runs one test on SQLite and on PostgreSQL.
//!   [`TestPostgres`] is a server of the test's own, to be stopped and killed.
//! - [`on_each_cache!`] runs one test on a cache in the process and on Redis; [`TestRedis`] is a Redis of the test's own, to be
//!   killed and frozen.
//! - [`email_conformance!`] asks of a mail provider what every one must do, and [`smtp`] is a mail server that keeps what it is
//!   sent.
//! - [`sms_conformance!`] asks the same of a provider of text messages.
//! - `storage_conformance!`, of the feature `storage`, asks of a storage provider what every one must do.
//! - [`upstream`] is an HTTP server that answers as scripted, byte by byte, for tests of what calls out.
//!
//! ```
//! use omnistack_core::app::{Api, Module, Mount, Registry};
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
//! /// Tells who is calling.
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
//! PostgreSQL is found by `TEST_DATABASE_URL`, a role that may create databases; `cargo xtask test` starts a server and
//! sets it. Redis is found by `TEST_REDIS_URL`, and the program of a Redis of one's own by `TEST_REDIS_BIN`. A test that needs
//! one and has none fails and says so: nothing is skipped silently.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test that can't go on panics, and says why")]

mod app;
mod cache;
mod client;
mod database;
pub mod email;
mod mails;
mod postgres;
mod redis;
pub mod sms;
pub mod smtp;
#[cfg(feature = "storage")]
pub mod storage;
pub mod upstream;

pub use app::TestApp;
pub use cache::TestCache;
pub use client::{Answer, Client, RequestBuilder};
pub use database::TestDatabase;
pub use mails::Mails;
pub use postgres::TestPostgres;
pub use redis::{Monitor, TestRedis};

/// Runs one test body on SQLite and on PostgreSQL, as two tests: `name::sqlite` and `name::postgres`.
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

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body($crate::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body($crate::TestDatabase::postgres().await).await;
            }
        }
    )+};
}

/// Runs one test body on a cache in the process and on Redis, as two tests: `name::in_process` and `name::redis`.
///
/// ```
/// use omnistack_testkit::{TestCache, on_each_cache};
/// use std::time::Duration;
///
/// on_each_cache! {
///     async fn what_is_set_is_there_for_its_time(test: TestCache) {
///         test.cache().set("planet", "Mars", Duration::from_millis(50)).await;
///         assert_eq!(test.cache().get::<String>("planet").await.as_deref(), Some("Mars"));
///         test.pass(Duration::from_millis(50)).await;
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

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                body($crate::TestCache::redis()).await;
            }
        }
    )+};
}
