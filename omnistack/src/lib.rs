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
//! | `e-invoice` | no | `billing`, and e-invoices by EN 16931: XRechnung and Factur-X |
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
//! | `full` | no | all features but `openfeature` |

//! # Derive macros
//!
//! The [`prelude`] has the derive macros `Serialize`, `Deserialize`, `Validate`, `ToSchema` and `IntoParams`, in the
//! versions that OmniStack uses. What they expand to names their crates:
//!
//! | derive | of | in a module that imports the prelude |
//! |---|---|---|
//! | `ToSchema`, `IntoParams`, `#[utoipa::path]` | utoipa | needs no dependency |
//! | `Serialize`, `Deserialize` | serde | needs a dependency on `serde`, or `#[serde(crate = "omnistack::serde")]` |
//! | `Validate` | garde | needs a dependency on `garde`: it has no option for another path |
//! | [`FromRow`](db::FromRow) | sqlx | needs a dependency on `sqlx`, without features: it has no option for another path |
//!
//! State the versions that OmniStack uses: axum 0.8, garde 0.23, serde 1, sqlx 0.9, utoipa 6, utoipa-axum 0.3, uuid 1. A type that derives from another
//! version does not implement the trait that OmniStack requires.

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
pub use {garde, serde, sqlx, utoipa, uuid};

/// The items that most files of an app need.
pub mod prelude {
    pub use std::time::Duration;

    // The derive macros expand to paths into their crates: see the crate's documentation.
    pub use garde::{self, Validate};
    pub use serde::{self, Deserialize, Serialize};
    pub use utoipa::{self, IntoParams, ToSchema};

    pub use omnistack_core::{
        app::{App, DevIdentity},
        async_trait,
        clock::{Clock, Timestamp},
        crud::{self, Column, Crud, Resource, RowValues, Scope},
        db::{Db, FromRow, Tx},
        events::{Delivery, Event, Events, Subscriber},
        http::{Error, Json, Meta, Patch, Path, Query},
        id::Id,
        idempotency::Idempotency,
        identity::{AccessLevel, Identity, TenantId, UserId},
        jobs::{Cron, Job, JobContext, JobError, Jobs},
        migrations,
        module::{Api, Context, MissingDependency, Module, Mount, Registry, Slot},
        text::{Name, Text},
    };
}
