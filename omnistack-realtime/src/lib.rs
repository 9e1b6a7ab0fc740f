//! Realtime: messages to connected clients by WebSocket and SSE, and notifications.
//!
//! The module [`Realtime`] keeps the connections of clients, and delivers what the app publishes to the subscribers of
//! its channels, in every replica. A client that was away for a moment gets what it has missed, or is told that it has
//! missed something. The protocol is compatible with the Centrifuge client protocol v2 in JSON, so clients exist for
//! JavaScript, Python, Go and Rust.
//!
//! ```
//! use omnistack_core::{app::{App, DevIdentity}, config::Config, realtime::{RealtimeChannel, RealtimePublisher}};
//! use omnistack_realtime::{ChannelRule, Channels, Realtime};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! let channels = Channels::new()
//!     .allow("room:{id}", |caller, _room| caller.can("rooms:read"))
//!     .rule(ChannelRule::new("job:{id}").subscribe(|_, _| true).latest_value());
//! let app = App::builder(config)
//!     .with(DevIdentity::default())
//!     .with(Realtime::from_env().channels(channels))
//!     .build()?;
//!
//! // A handler or a job publishes. The members of the tenant whose clients are subscribed get it.
//! let realtime: RealtimePublisher = app.context().get()?;
//! if let Some(tenant) = DevIdentity::identity().tenant {
//!     realtime.publish(RealtimeChannel::of_tenant(tenant, "room:42")?, &"hello").await?;
//! }
//! assert!(app.routes().iter().any(|route| route.path == "/api/v1/app/ws/ticket"));
//! # Ok(())
//! # }
//! ```
//!
//! # Channels
//!
//! A channel belongs to a tenant, to a user, to the operators, or to all users. It is private until a rule allows it:
//! see [`Channels`] and [`ChannelRule`]. A client sees only the channels of its tenant, whatever name it sends.
//!
//! | channel | subscribers |
//! |---|---|
//! | `user:ID` | the user |
//! | `tenant` | the members of the tenant |
//! | `broadcast` | all signed-in users |
//! | `operators` | the operators of the app |
//! | `room:{id}` and others | as the rules of the app say |
//!
//! # Publishing
//!
//! [`RealtimePublisher`] is in the context of every app. `publish` delivers now; `publish_in` delivers after the commit
//! of a transaction, exactly if it commits, and in the order of the commits. Both work in processes without
//! connections, such as workers.
//! [`Registry::publish_to_realtime`](omnistack_core::module::Registry::publish_to_realtime) sends a message for each
//! event of a type, and
//! [`ResourceMount::publish_to_realtime`](omnistack_core::crud::ResourceMount::publish_to_realtime) for each change of a
//! row.
//!
//! Ready feeds. The app allows all but the last one by a rule:
//!
//! | channel | messages |
//! |---|---|
//! | `job:{id}` | the progress of a job, from [`JobContext::progress`](omnistack_core::jobs::JobContext::progress) |
//! | `files` | a file was uploaded |
//! | `activity` | an entry in the tenant's audit log |
//! | `webhooks` | an attempt of a delivery, an endpoint that was disabled |
//! | `usage` | a share of a limit of the plan is used |
//! | `usage:{environment}` | the usage of the billing period, after each change, at most once a second |
//! | `operators` | the numbers of the dashboard, each time that they are counted |
//!
//! # Delivery
//!
//! The messages of a channel have numbers, and are kept for a while in its history. A client that reconnects names the
//! last one that it has got. It gets all that it has missed, or `recovered: false`, and then loads the state from the
//! app's API. A connection compares its position with that of the channel now and then, so a message that was lost on
//! the way is noticed. A client that reads slowly is disconnected and recovers; no message is dropped silently.
//!
//! With `REDIS_URL`, all replicas share channels, histories and presence. While Redis is away, each replica delivers to
//! its own connections.
//!
//! # Notifications
//!
//! Notifications are stored for each user, delivered live, by mail or both, as the user prefers, and sent as a digest
//! to users who are away. Their routes are under `/api/v1/app/notifications`.
//!
//! # Client
//!
//! The feature `client` adds `RealtimeClient`, a client for Rust programs. It reconnects, resumes its subscriptions and
//! gets new access tokens; its documentation has an example. Programs that only use the client need a feature of a
//! database too, `sqlite` or `postgres`, which they don't use.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod browser_client;
mod channel;
#[cfg(feature = "client")]
mod client;
mod engine;
mod feeds;
mod hub;
mod module;
mod notifications;
mod procedures;
mod protocol;
mod publisher;
mod settings;
mod sign_in;
mod transport;

pub use channel::{ChannelAccess, ChannelAction, ChannelOptions, ChannelRule, Channels};
#[cfg(feature = "client")]
pub use client::{
    ChannelPosition, ClientError, ClientOptions, ClientSubscription, HistoryMessage, HistoryRange, MessageHistory,
    PresenceCounts, PresentClient, RealtimeClient, SubscriptionEvent,
};
pub use module::Realtime;
pub use omnistack_core::realtime::{
    InvalidChannelName, MAX_CHANNEL_NAME_BYTES, PublishRealtime, RealtimeChannel, RealtimeMessage, RealtimePublisher,
    is_channel_name,
};
