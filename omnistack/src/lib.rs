//! A whole SaaS backend from crates.
//!
//! Add `omnistack`, switch on the features you want, hand modules to the builder, and own the rest as plain axum:
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
//! With nothing set it runs on SQLite and in one process; `DATABASE_URL` and `REDIS_URL` let the same program grow.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for what several replicas share |
//! | `auth` | no | accounts, sessions, tenants, teams: [`auth`] |
//! | `passkeys` | no | `auth`, and signing in with passkeys |
//! | `email` | no | mail by SMTP, Resend and SendGrid |
//! | `contact` | no | `email`, and a contact form |
//! | `sms` | no | text messages by Twilio; with `auth`, codes by them |
//! | `storage` | no | files in a directory or a bucket: [`storage`] |
//! | `cloudinary` | no | files at Cloudinary |
//! | `thumbnails` | no | thumbnails of pictures |
//! | `flags` | no | feature flags, evaluated in the process |
//! | `openfeature` | no | feature flags as a provider of OpenFeature; not in `full` |
//! | `full` | no | all of them |

#[cfg(feature = "auth")]
pub use omnistack_auth as auth;
pub use omnistack_core::*;
#[cfg(feature = "storage")]
pub use omnistack_storage as storage;

/// What most files of an app need.
pub mod prelude {
    pub use omnistack_core::{
        app::{Api, App, Audience, Ctx, Missing, Module, Mount, Registry, Slot},
        async_trait,
        clock::{Clock, Timestamp},
        crud::{self, Column, Crud, Fields, Resource, Scope},
        db::{Db, Tx},
        events::{Delivery, Event, Events, Subscriber},
        http::{Error, Idempotency, Json, Meta, Patch, Path, Query},
        id::Id,
        identity::{DevIdentity, Identity, TenantId, UserId},
        jobs::{Cron, Job, JobCtx, JobError, Jobs},
        migrations,
    };
}
