//! Events: facts that were committed, delivered to subscribers at least once and in order.
//!
//! An [`Event`] is a serde struct with a key. [`Events::publish_in`] stores it in the caller's transaction, with
//! one delivery for each subscriber, so that it is delivered exactly if the transaction commits. A module
//! registers a [`Subscriber`]. It works in the transaction that acknowledges the delivery: its rows and the
//! acknowledgement commit together.
//!
//! ```
//! use omnistack_core::{module::{Module, Registry}, events::{Delivery, Event, Subscriber}, jobs::JobError};
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
//! /// Counts each project exactly once.
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
//!         registry.subscribe("count-projects", |_| Ok(Count));
//!     }
//! }
//! ```
//!
//! [`EnqueueJob`] enqueues a job for each event, [`ForwardToTopic`] publishes it as a [`pubsub`](crate::pubsub)
//! message, [`Registry::publish_to_realtime`](crate::module::Registry::publish_to_realtime) sends it to connected
//! clients. [`Events::subscribe`] delivers to listeners in this process, at most once.
//!
//! # Guarantees
//!
//! - **All or nothing.** An event exists if its transaction commits, and then for every subscriber the app had.
//! - **At least once, and exactly once within the database.** A handler may run again after a crash or an error;
//!   rows it wrote through [`Delivery::tx`] are stored once.
//! - **In order.** A subscriber receives the events of one key one after another, in the order in which their
//!   transactions committed. Events with different keys are delivered concurrently.
//! - **A failure holds back only its key,** and only for that subscriber: until the delivery succeeds or an
//!   operator skips it.
//!
//! An event without subscribers is not stored. A subscriber receives the events that are published by processes
//! in which it is registered, from its registration on.

mod adapters;
mod deletion;
mod dispatcher;
mod event;
mod handle;
mod http;
mod in_process;
mod realtime;
mod registration;
mod settings;
mod store;
mod subscriber;

pub(crate) use adapters::topic_message;
pub use adapters::{EnqueueJob, ForwardToTopic};
pub use deletion::{TenantDeleted, UserDeleted};
pub use dispatcher::{Dispatcher, DispatcherBuilder};
pub use event::{Event, EventId};
pub use handle::{Events, PublishError};
pub use realtime::ForwardToRealtime;
pub(crate) use realtime::deliver_once;
pub use settings::EventSettings;
pub use store::{DeliveryFilter, DeliveryInfo, DeliveryState, SubscriberInfo};
pub use subscriber::{Delivery, Subscriber};

pub(crate) use http::EventsModule;
pub(crate) use registration::SubscriberRegistrations;
pub(crate) use subscriber::SubscriberHandler;
