//! A complete SaaS backend, built from crates.
//!
//! Add `omnistack`, enable the features you need, add modules to the builder, and write the rest as plain axum code:
//!
//! ```no_run
//! use omnistack::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> omnistack::Result<()> {
//!     App::from_env().with(DevIdentity::default()).run().await
//! }
//! ```
//!
//! Without any settings the app uses SQLite and runs in one process. Set `DATABASE_URL` to use PostgreSQL and
//! `REDIS_URL` to run several replicas.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `docs-page` | yes | the page `/docs`, which shows the OpenAPI document |
//! | `cli` | yes | the whole command line, with its help; without it, the commands `serve`, `worker`, `migrate`, `openapi`, `routes`, `config` and `doctor` |
//! | `compression` | yes | compression of responses with gzip |
//! | `config-file` | yes | settings from the file `omnistack.toml` |
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for the state that several replicas share |
//! | `auth` | no | accounts, sessions, tenants, teams: [`auth`] |
//! | `passkeys` | no | `auth`, and signing in with passkeys |
//! | `password-import` | no | `auth`, and password hashes of Devise, Laravel and Better Auth: they are replaced at the next sign-in |
//! | `email` | no | mail by SMTP, Resend and SendGrid |
//! | `contact` | no | `email`, and a contact form |
//! | `sms` | no | text messages by Twilio; with `auth`, second factors by SMS |
//! | `storage` | no | files in a directory or a bucket: [`storage`] |
//! | `cloudinary` | no | files stored at Cloudinary |
//! | `thumbnails` | no | thumbnails of images |
//! | `flags` | no | feature flags, evaluated in the process |
//! | `observability` | no | metrics, traces, error analytics and service health: [`observability`] |
//! | `otlp-grpc` | no | `observability`, and traces by OTLP over gRPC |
//! | `sentry` | no | `observability`, and reports of errors to Sentry |
//! | `webhooks` | no | an inbox for webhooks of providers, and signed webhooks to tenants: [`webhooks`] |
//! | `billing` | no | plans, entitlements, usage and credits: [`billing`] |
//! | `invoice-pdf` | no | `billing`, and invoices as PDF |
//! | `e-invoice` | no | `billing`, and e-invoices by EN 16931: XRechnung and CII |
//! | `factur-x` | no | `invoice-pdf`, `e-invoice`, and invoices as Factur-X (ZUGFeRD) |
//! | `payments` | no | payments by many providers behind one API, and a fake one: [`payments`] |
//! | `stripe` | no | `payments`, and payments by Stripe |
//! | `paypal` | no | `payments`, and payments by PayPal |
//! | `razorpay` | no | `payments`, and payments by Razorpay |
//! | `realtime` | no | messages to connected clients by WebSocket and SSE, and notifications: [`realtime`] |
//! | `realtime-client` | no | `realtime`, and its client for Rust programs |
//! | `ai` | no | an AI gateway: models of many providers behind one API, vectors, fixes of code: [`ai`] |
//! | `mcp` | no | `ai`, and operations of the app as tools of agents |
//! | `qdrant` | no | `ai`, and vectors in Qdrant |
//! | `github` | no | `ai`, and fixes of code as pull requests on GitHub |
//! | `openfeature` | no | the feature flags as an OpenFeature provider; not in `full` |
//! | `backup` | no | [`backup`]: backups of the databases and files, and their restore |
//! | `key-ring` | no | `crypto::KeyRing`: secrets that are sealed at rest; features that need it turn it on |
//! | `multipart` | no | `http::Multipart`: forms with files; features that need it turn it on |
//! | `billing-ports` | no | [`money`], [`usage`], [`payment`]; features that need them turn it on |
//! | `full` | no | all features but `openfeature` |
//!
//! # Rooms
//!
//! A room is a module of this crate. Everything of `omnistack-core` is here, and a room for each feature.
//!
//! | room | what it is for |
//! |---|---|
//! | [`app`] | the builder, the command line, the server |
//! | [`module`] | the contract between an app and its modules: what a module registers, mounts, access levels |
//! | [`prelude`] | the items that most files of an app need |
//! | [`config`] | typed settings that document themselves |
//! | [`crud`] | create, read, update, delete and list for a table: pagination, filters, search, soft delete |
//! | [`db`] | SQL for PostgreSQL and SQLite, transactions, the isolation of tenants |
//! | [`http`] | errors, extractors, pagination, CORS, layers, versions |
//! | [`identity`] | callers, tenants, permissions, plans, what a route requires |
//! | [`auth`] | accounts, sessions and their refresh tokens, second factors, teams, roles, API keys, impersonation |
//! | [`jobs`] | background jobs and schedules, stored in the database |
//! | [`events`] | events that commit with a transaction, delivered in order to subscribers |
//! | [`webhook`], [`webhooks`] | the contract of webhooks; the inbox, and webhooks to tenants |
//! | [`realtime`], [`notification`] | messages to connected clients; notifications of users |
//! | [`email`], [`sms`], [`contact`] | mail with templates, text messages, a contact form |
//! | [`storage`] | files in a directory or a bucket, uploads, signed URLs, thumbnails |
//! | [`flags`], [`flag_variant`] | feature flags; the port by which modules ask for their variants |
//! | [`billing`], [`usage`], [`credits`] | plans, subscriptions, invoices; amounts that tenants use; prepaid credits |
//! | [`payments`], [`payment`], [`money`] | payments by many providers; their contract; amounts of money |
//! | [`app_store`] | verification of what the App Store signs |
//! | [`ai`] | models behind one door, prompts, vectors, fixes, tools of agents |
//! | [`audit`] | audit entries, in hash chains that show tampering |
//! | [`cache`], [`pubsub`] | cached values and locks; messages to all replicas |
//! | [`idempotency`] | the stored response for a request that a client retries |
//! | [`rate_limit`] | the layer that limits the requests of a caller |
//! | [`resilience`] | retry, fallback and circuit breaker for calls to providers |
//! | [`crypto`] | random tokens, signatures, sealed secrets |
//! | [`observability`], [`metrics`], [`trace`], [`log`] | metrics, traces, error analytics, service health; their names and their contexts; the log |
//! | [`health`] | readiness and liveness |
//! | [`backup`], [`maintenance`], [`seed`] | backups and their restore; the pause of an app; rows for development |
//! | [`tenant_export`] | what modules hand out of a tenant |
//! | [`outbox`] | messages that commit with a transaction |
//! | [`clock`], [`id`], [`text`], [`number`], [`name`] | time, identifiers, text, names and numbers with limits as types |
//! | [`usage_threshold`], [`billing_notice`], [`error_event`] | events about limits and subscriptions; the observer of errors |
//! | [`dashboard`], [`data_environment`] | numbers that modules count; whether data is live or of a test |
//! | [`redis`] | the connection to Redis, for modules that need more than the ports above |
//!
//! # Crates that you meet by name
//!
//! | crate | version | as | when an app needs a dependency of its own |
//! |---|---|---|---|
//! | axum | 0.8 | [`axum`], in the prelude | for features of axum such as `ws`; its types are those of `omnistack::axum` |
//! | garde | 0.23 | [`garde`], in the prelude | for `#[derive(Validate)]`: it has no option for another path |
//! | serde | 1 | [`serde`], in the prelude | for `#[derive(Serialize, Deserialize)]`, or write `#[serde(crate = "omnistack::serde")]` |
//! | sqlx | 0.9 | [`sqlx`] | for `#[derive(FromRow)]`, without features: it has no option for another path |
//! | utoipa | 6.0 | [`utoipa`], in the prelude | never in a module that imports the prelude |
//! | utoipa-axum | 0.3 | [`utoipa_axum`], `routes!` in the prelude | never in a module that imports the prelude |
//! | uuid | 1 | [`uuid`] | for features of uuid |
//! | tokio | 1 | | for `#[tokio::main]`, with the features `macros` and `rt-multi-thread` |
//!
//! Derive macros expand to paths into their crates, which is why some need a dependency. State the versions of this
//! table: a type that derives from another version does not implement the trait that OmniStack requires. A feature
//! that an app adds to such a crate compiles it, and what depends on it, again.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "ai")]
pub use omnistack_ai as ai;
#[cfg(feature = "auth")]
pub use omnistack_auth as auth;
#[cfg(feature = "billing")]
pub use omnistack_billing as billing;
pub use omnistack_core::*;
#[cfg(feature = "flags")]
pub use omnistack_flags as flags;
#[cfg(feature = "contact")]
pub use omnistack_messaging::contact;
#[cfg(feature = "email")]
pub use omnistack_messaging::email;
#[cfg(any(feature = "email", feature = "sms"))]
pub use omnistack_messaging::outbox;
#[cfg(feature = "sms")]
pub use omnistack_messaging::sms;
#[cfg(feature = "observability")]
pub use omnistack_observability as observability;
#[cfg(feature = "payments")]
pub use omnistack_payments as payments;
#[cfg(feature = "realtime")]
pub use omnistack_realtime as realtime;
#[cfg(feature = "storage")]
pub use omnistack_storage as storage;
#[cfg(feature = "webhooks")]
pub use omnistack_webhooks as webhooks;
pub use {axum, garde, serde, sqlx, utoipa, utoipa_axum, uuid};

/// The items that most files of an app need.
pub mod prelude {
    pub use std::time::Duration;

    // The macros expand to paths into their crates: see the crate's documentation.
    pub use axum::{self, extract::State};
    pub use garde::{self, Validate};
    pub use serde::{self, Deserialize, Serialize};
    pub use utoipa::{self, IntoParams, ToSchema};
    pub use utoipa_axum::routes;

    pub use omnistack_core::{
        app::{App, DevIdentity},
        async_trait,
        audit::{AuditEntry, AuditLog},
        clock::{Clock, Timestamp},
        crud::{self, Column, Crud, Resource, RowValues, Scope},
        db::{Db, FromRow, Tx},
        events::{Delivery, Event, Events, Subscriber},
        http::{Error, Json, Meta, Patch, Path, Query, StatusCode},
        id::Id,
        idempotency::Idempotency,
        identity::{AccessLevel, Entitlements, Identity, Require, TenantId, UserId},
        jobs::{Cron, Job, JobContext, JobError, Jobs, NewJob},
        migrations,
        module::{Api, Context, MissingDependency, Module, Mount, Registry, Slot},
        number::Integer,
        text::{Name, Text},
    };
}
