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
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for the state that several replicas share |
//! | `auth` | no | accounts, sessions, tenants, teams: [`auth`] |
//! | `passkeys` | no | `auth`, and signing in with passkeys |
//! | `email` | no | mail by SMTP, Resend and SendGrid |
//! | `contact` | no | `email`, and a contact form |
//! | `sms` | no | text messages by Twilio; with `auth`, second factors by SMS |
//! | `storage` | no | files in a directory or a bucket: [`storage`] |
//! | `cloudinary` | no | files stored at Cloudinary |
//! | `thumbnails` | no | thumbnails of images |
//! | `flags` | no | feature flags, evaluated in the process |
//! | `openfeature` | no | the feature flags as an OpenFeature provider; not in `full` |
//! | `full` | no | all features but `openfeature` |

#[cfg(feature = "auth")]
pub use omnistack_auth as auth;
pub use omnistack_core::*;
#[cfg(feature = "flags")]
pub use omnistack_flags as flags;
#[cfg(feature = "contact")]
pub use omnistack_messaging::contact;
#[cfg(feature = "email")]
pub use omnistack_messaging::email;
#[cfg(feature = "sms")]
pub use omnistack_messaging::sms;
#[cfg(feature = "storage")]
pub use omnistack_storage as storage;

/// The items that most files of an app need.
pub mod prelude {
    pub use omnistack_core::{
        app::{App, DevIdentity},
        async_trait,
        clock::{Clock, Timestamp},
        crud::{self, Column, Crud, Resource, RowValues, Scope},
        db::{Db, Tx},
        events::{Delivery, Event, Events, Subscriber},
        http::{Error, Json, Meta, Patch, Path, Query},
        id::Id,
        idempotency::Idempotency,
        identity::{AccessLevel, Identity, TenantId, UserId},
        jobs::{Cron, Job, JobContext, JobError, Jobs},
        migrations,
        module::{Api, Context, MissingDependency, Module, Mount, Registry, Slot},
    };
}
