//! The core of OmniStack: what every module of a SaaS backend needs.
//!
//! A backend is an [`App`](app::App) made of [`Module`](module::Module)s. This crate holds what they share:
//!
//! | module | what it is for |
//! |---|---|
//! | [`module`] | what a module implements and registers: the contract between an app and its modules |
//! | [`app`] | the builder, the command line, the server |
//! | [`config`] | typed settings that document themselves |
//! | [`db`] | one database API for PostgreSQL and SQLite, transactions, the isolation of tenants |
//! | [`cache`] | cached values, locks, and one computation of a value for all replicas |
//! | [`crud`] | create, read, update, delete and list for a table, with pagination, search and soft delete, in under 80 lines |
//! | [`http`] | errors, extractors, pagination, CORS, layers |
//! | [`idempotency`] | the stored response for a request that the client retries |
//! | [`rate_limit`] | the layer that limits the rate of requests |
//! | [`identity`] | the authenticated caller, tenants, permissions, and the plans of tenants |
//! | [`jobs`] | background jobs, stored in the database |
//! | [`events`] | committed events, delivered in order to subscribers |
//! | [`health`] | readiness and liveness |
//! | [`maintenance`] | periods in which only operators are served |
//! | [`crypto`] | random tokens, signatures, secrets sealed at rest |
//! | [`audit`] | audit entries, in hash chains that show tampering |
//! | `backup` | with the feature `backup`: backups of the databases and files, verified, and their restore |
//! | [`email`] | the contract of mail providers; `omnistack-messaging` has the providers |
//! | `usage` | with the feature `billing-ports`: usage events for billing |
//! | `money`, `payment` | with the feature `billing-ports`: amounts of money; the contract of payment providers |
//! | [`credits`] | the port for prepaid credits; `omnistack-billing` implements it |
//! | [`flag_variant`] | the port for variants of feature flags; `omnistack-flags` implements it |
//! | `usage_threshold` | with the feature `billing-ports`: the event that a tenant has used a share of a limit |
//! | `billing_notice` | with the feature `billing-ports`: the event of a notice to the owners of a tenant about its subscription |
//! | [`webhook`] | the contract of webhooks: providers that call the app, and events for tenants |
//! | [`seed`] | rows for development, which the command `seed` creates |
//! | [`resilience`] | retry, fallback and circuit breaker for calls to providers |
//! | [`notification`] | the contract of notifications to users; `omnistack-realtime` stores and delivers them |
//! | [`pubsub`] | messages to all replicas, not stored, delivered at most once |
//! | [`realtime`] | the port for messages to connected clients; `omnistack-realtime` delivers them |
//! | [`trace`] | the W3C trace context of a request, propagated to its jobs; its baggage |
//! | [`tenant_export`] | the rows that modules hand out when a tenant asks for its data |
//! | [`clock`], [`id`] | time and identifiers |
//! | [`text`], [`number`] | text and whole numbers with limits as types: validation, schema and column at once |
//! | [`name`] | validation of the names that users give to themselves, teams and keys |
//!
//! Dependencies run one way: this crate depends on no feature crate, and feature crates depend only on this one. What
//! a feature crate needs from another is a small type or trait here: [`Identity`](identity::Identity),
//! [`Entitlements`](identity::Entitlements),
//! `UsageSink`, [`AuditLog`](audit::AuditLog), [`Mailer`](email::Mailer),
//! [`PubSub`](pubsub::PubSub), [`RealtimePublisher`](realtime::RealtimePublisher).
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `docs-page` | yes | the page `/docs`, which shows the OpenAPI document |
//! | `cli` | yes | the whole command line, with its help and the commands `audit`, `health`, `jobs` and `webhooks` |
//! | `compression` | yes | compression of responses with gzip |
//! | `config-file` | yes | settings from the file `omnistack.toml` |
//! | `backup` | yes | backups; `omnistack` does not turn it on |
//! | `billing-ports` | yes | amounts of money, and the ports of usage and payments; `omnistack` does not turn it on, feature crates do |
//! | `multipart` | yes | the extractor of forms with files; `omnistack` does not turn it on, feature crates do |
//! | `key-ring` | by `backup` | secrets that are sealed at rest; feature crates turn it on |
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for the state that several replicas share |
//! | `http-client` | no | the client for calls to providers; feature crates turn it on |
//! | `signed-data` | no | verification of what providers sign with certificates; feature crates turn it on |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod app;
#[cfg(feature = "signed-data")]
pub mod app_store;
pub mod audit;
#[cfg(feature = "backup")]
pub mod backup;
#[cfg(not(feature = "backup"))]
#[path = "backup/settings.rs"]
mod backup;
#[cfg(feature = "billing-ports")]
pub mod billing_notice;
pub mod cache;
pub mod clock;
pub mod config;
pub mod credits;
pub mod crud;
pub mod crypto;
pub mod dashboard;
pub mod data_environment;
pub mod db;
pub mod email;
pub mod error_event;
pub mod events;
pub mod flag_variant;
pub mod health;
pub mod http;
pub mod id;
pub mod idempotency;
pub mod identity;
pub mod jobs;
pub mod log;
pub mod maintenance;
pub mod metrics;
pub mod module;
#[cfg(feature = "billing-ports")]
pub mod money;
pub mod name;
pub mod notification;
pub mod number;
#[cfg(feature = "billing-ports")]
pub mod payment;
pub mod pubsub;
pub mod rate_limit;
pub mod realtime;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(not(feature = "redis"))]
#[path = "redis/settings.rs"]
mod redis;
pub mod resilience;
pub mod seed;
pub mod tenant_export;
pub mod text;
pub mod trace;
#[cfg(feature = "billing-ports")]
pub mod usage;
#[cfg(feature = "billing-ports")]
pub mod usage_threshold;
pub mod webhook;

mod context;
mod run_error;
mod schema;
mod webhook_event;

/// The attribute for `impl Module` and `impl Job`, whose methods are async.
pub use async_trait::async_trait;
pub use run_error::{BoxError, Result, RunError};
pub use secrecy::{ExposeSecret, SecretString};

/// Token that asks background work to stop.
pub type ShutdownToken = tokio_util::sync::CancellationToken;
