//! The seam OmniStack's modules share.
//!
//! A backend is an [`App`](app::App) of [`Module`](app::Module)s. Core holds what every module needs and none should bring
//! along:
//!
//! | room | what it is for |
//! |---|---|
//! | [`app`] | the builder, the module contract, the command line, the server |
//! | [`config`] | typed settings that document themselves |
//! | [`db`] | one handle over PostgreSQL and SQLite |
//! | [`cache`] | what is costly to get, kept for a while; locks; one computation for all replicas |
//! | [`crud`] | the ordinary resource in under 100 lines |
//! | [`http`] | errors, extractors, lists, layers |
//! | [`http::idempotency`] | a request sent again is carried out once |
//! | [`identity`] | who is calling, and for which tenant |
//! | [`jobs`] | work done later, kept in the database |
//! | [`events`] | what has happened, told to whoever subscribed, in order |
//! | [`health`] | whether the app can serve |
//! | [`crypto`] | tokens, signatures, secrets sealed at rest |
//! | [`audit`] | who did what, in chains that show tampering |
//! | [`email`] | mail: one message, several providers, templates, sent by jobs |
//! | `contact` | a contact form: visitors write, operators read (feature `contact`) |
//! | `flags` | what is on for whom, decided in the process (feature `flags`) |
//! | `sms` | text messages: sent once, or not at all, by jobs (feature `sms`) |
//! | [`usage`] | what was used, for whoever counts it |
//! | [`resilience`] | retry, timeout, circuit breaker, bulkhead and fallback for calls to others |
//! | [`pubsub`] | telling whoever listens now, in every replica |
//! | [`trace`] | the W3C trace context of a request, passed on to its jobs |
//! | [`clock`], [`id`] | time and identifiers |
//! | [`name`] | what users may call themselves, teams and keys |
//!
//! Dependencies run one way: core knows no feature crate, and feature crates know only core. What one needs from another
//! is a small type or trait here: [`Identity`](identity::Identity), [`Entitlements`](identity::Entitlements),
//! [`UsageSink`](usage::UsageSink), [`AuditLog`](audit::AuditLog), [`Mailer`](email::Mailer),
//! [`Publisher`](pubsub::Publisher).
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite` | yes | SQLite, compiled in |
//! | `postgres` | no | PostgreSQL |
//! | `redis` | no | Redis for what several replicas share |
//! | `email` | no | mail by SMTP, Resend and SendGrid |
//! | `contact` | no | `email`, and a contact form |
//! | `flags` | no | feature flags |
//! | `openfeature` | no | feature flags as a provider of OpenFeature |
//! | `sms` | no | text messages by Twilio |
//! | `http-client` | no | the client for calls to others; other features turn it on |

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
pub mod trace;
pub mod usage;

mod failure;
mod relay;

/// For `impl Module` and `impl Job`, whose methods are async.
pub use async_trait::async_trait;
pub use failure::{Failure, Result};
pub use secrecy::{ExposeSecret, SecretString};
