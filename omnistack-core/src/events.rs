//! What has happened, told to whoever subscribed: never lost, never invented, in order.
//!
//! An [`Event`] is a serde struct with a key. [`Events::publish_in`] writes it in the caller's transaction, with one delivery
//! for each subscriber, so that it is told exactly when what it tells of is true. A [`Subscriber`] is registered by a module
//! and does its work in the transaction that acknowledges the delivery: its rows and the acknowledgement commit together.
//!
//! ```
//! use omnistack_core::{
//!     app::{Module, Registry},
//!     events::{Delivery, Event, Subscriber},
//!     jobs::JobError,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct ProjectCreated { project: String }
//!
//! impl Event for ProjectCreated {
//!     const NAME: &'static str = "project.created";
//!
//!     fn key(&self) -> String {
//!         self.project.clone()
//!     }
//! }
//!
//! /// Counts projects: exactly once each.
//! struct Count;
//!
//! #[async_trait::async_trait]
//! impl Subscriber for Count {
//!     type Event = ProjectCreated;
//!
//!     async fn handle(&self, _: ProjectCreated, delivery: &mut Delivery) -> Result<(), JobError> {
//!         let tx = delivery.tx().await?;
//!         tx.query("update totals set projects = projects + 1").execute().await?;
//!         Ok(())
//!     }
//! }
//!
//! struct Totals;
//!
//! impl Module for Totals {
//!     fn name(&self) -> &'static str {
//!         "totals"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.on("count-projects", |_| Ok(Count));
//!     }
//! }
//! ```
//!
//! [`Enqueue`] makes a job of each event, [`Forward`] a message for [`pubsub`](crate::pubsub). [`Events::subscribe`] tells this
//! process, at best.
//!
//! # What is promised
//!
//! - **All or nothing.** An event exists when its transaction commits, and then for every subscriber the app had.
//! - **At least once, and exactly once within the database.** A handler may run again after a crash or an error; what it wrote
//!   through [`Delivery::tx`] is there once.
//! - **In order.** A subscriber gets the events of one key in the order in which their transactions committed, one after another.
//!   Different keys go side by side.
//! - **A failure holds back its key alone,** and for that subscriber alone: until it succeeds, or an operator skips it.
//!
//! An event nobody subscribes to is not stored. A subscriber gets what is published by processes that know it, from then on.

mod dispatcher;
mod event;
mod handle;
pub(crate) mod http;
mod listeners;
mod ready;
mod settings;
mod store;
mod subscriber;

pub use dispatcher::Dispatcher;
pub use event::{Event, EventId};
pub use handle::{Events, PublishError};
pub use ready::{Enqueue, Forward};
pub use settings::EventSettings;
pub use store::{DeliveryFilter, DeliveryInfo, DeliveryState, SubscriberInfo};
pub use subscriber::{Delivery, Subscriber};

pub(crate) use subscriber::Handler;
