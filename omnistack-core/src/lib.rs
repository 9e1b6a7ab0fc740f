//! The core of OmniStack: what every module of a SaaS backend needs.
//!
//! A backend is an [`App`](app::App) made of [`Module`](app::Module)s. This crate holds what they share:
//!
//! | module | what it is for |
//! |---|---|
//! | [`app`] | the builder, the `Module` trait, the command line, the server |
//! | [`config`] | typed settings that document themselves |
//! | [`db`] | one database API for PostgreSQL and SQLite |
//! | [`cache`] | cached values, locks, and one computation of a value for all replicas |
//! | [`crud`] | create, read, update, delete and list for a table, in under 80 lines |
//! | [`http`] | errors, extractors, lists, layers |
//! | [`http::idempotency`] | the stored response for a request that the client retries |
//! | [`identity`] | the authenticated caller and the tenant of a request |
//! | [`jobs`] | background jobs, stored in the database |
//! | [`events`] | committed events, delivered in order to subscribers |
//! | [`health`] | readiness and liveness |
//! | [`crypto`] | random tokens, signatures, secrets sealed at rest |
//! | [`audit`] | audit entries, in hash chains that show tampering |
//! | [`email`] | mail: one message, several providers, templates, sent by jobs |
//! | `contact` | a contact form: visitors write, operators read (feature `contact`) |
//! | `flags` | feature flags, evaluated in the process (feature `flags`) |
//! | `sms` | text messages, sent by jobs at most once (feature `sms`) |
//! | [`usage`] | usage events for billing |
//! | [`resilience`] | retry, timeout, circuit breaker, bulkhead and fallback for calls to providers |
//! | [`pubsub`] | messages to all replicas, not stored, delivered at most once |
//! | [`trace`] | the W3C trace context of a request, propagated to its jobs |
//! | [`clock`], [`id`] | time and identifiers |
//! | [`text`] | text with limits as types: validation, schema and column at once |
//! | [`name`] | validation of the names that users give to themselves, teams and keys |
//!
//! Dependencies run one way: this crate depends on no feature crate, and feature crates depend only on this one. What
//! a feature crate needs from another is a small type or trait here: [`Identity`](identity::Identity),
//! [`Entitlements`](identity::Entitlements),
//! [`UsageSink`](usage::UsageSink), [`AuditLog`](audit::AuditLog), [`Mailer`](email::Mailer),
//! [`PubSub`](pubsub::PubSub).
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for the state that several replicas share |
//! | `email` | no | mail by SMTP, Resend and SendGrid |
//! | `contact` | no | `email`, and a contact form |
//! | `flags` | no | feature flags |
//! | `openfeature` | no | the feature flags as an OpenFeature provider |
//! | `sms` | no | text messages by Twilio |
//! | `http-client` | no | the client for calls to providers; other features turn it on |

pub mod app;
pub mod audit;
pub mod cache;
pub mod clock;
pub mod config;
#[cfg(feature = "contact")]
pub mod contact;
pub mod crud;
pub mod crypto;
pub mod db;
pub mod email;
pub mod events;
#[cfg(feature = "flags")]
pub mod flags;
pub mod health;
pub mod http;
pub mod id;
pub mod identity;
pub mod jobs;
pub mod log;
pub mod name;
pub mod pubsub;
#[cfg(feature = "redis")]
pub mod redis;
pub mod resilience;
#[cfg(feature = "sms")]
pub mod sms;
pub mod text;
pub mod trace;
pub mod usage;

mod failure;
mod relay;

/// The attribute for `impl Module` and `impl Job`, whose methods are async.
pub use async_trait::async_trait;
pub use failure::{Result, RunError};
pub use secrecy::{ExposeSecret, SecretString};
