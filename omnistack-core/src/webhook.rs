//! Webhooks: the contract between providers, the app's inbox, and the tenants that receive the app's own events.
//!
//! # In
//!
//! A [`WebhookSource`] knows one provider: how a request is verified, and what its event is called. A
//! [`WebhookHandler`] processes the events of a source. Modules register both:
//!
//! ```
//! use omnistack_core::{
//!     async_trait,
//!     jobs::JobError,
//!     module::{Module, Registry},
//!     webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookTx},
//! };
//!
//! struct CountPayments;
//!
//! #[async_trait]
//! impl WebhookHandler for CountPayments {
//!     async fn handle(&self, _: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
//!         tx.get().await?.query("update totals set payments = payments + 1").execute().await?;
//!         Ok(WebhookOutcome::Processed)
//!     }
//! }
//!
//! struct Payments;
//!
//! impl Module for Payments {
//!     fn name(&self) -> &'static str {
//!         "payments"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.webhook_handler("stripe", "charge.*", |_| Ok(CountPayments));
//!     }
//! }
//! ```
//!
//! The [`WebhookInbox`] receives the requests. The one of the feature `webhooks` stores each request before it answers,
//! and processes it afterwards, in order and once. Without that feature, the inbox processes a request before it
//! answers, and relies on the provider to send it again after a failure.
//!
//! # Out
//!
//! A [`WebhookEvent`] is a type of event that tenants can subscribe to. [`WebhookPublisher::publish_in`] publishes one
//! in the caller's transaction. Without the feature `webhooks`, nothing is sent.

mod endpoint_disabled;
mod inbox;
mod inline;
#[cfg(not(feature = "key-ring"))]
mod no_samples;
mod publisher;
mod registration;
mod rejection;
#[cfg(feature = "key-ring")]
mod sample;
mod source;
mod sources;
mod standard;

pub use crate::data_environment::DataEnvironment;
pub use endpoint_disabled::{EndpointDisabledReason, WebhookEndpointDisabled};
pub use inbox::{IncomingWebhook, ReceiveWebhook, WebhookId, WebhookInbox, WebhookReceipt, WebhookStatus};
pub use publisher::{ForwardToWebhooks, PublishWebhook, WebhookPublisher};
pub use rejection::WebhookRejection;
pub use source::{
    InboundWebhook, MissedWebhooks, SourceEvent, WebhookHandler, WebhookOutcome, WebhookRequest, WebhookSource,
    WebhookTx,
};
pub use sources::WebhookSources;
pub use standard::{InvalidStandardSecret, StandardHeaders, StandardSecret, TIMESTAMP_TOLERANCE, is_recent};

pub use crate::webhook_event::{WebhookCatalogue, WebhookEvent, WebhookEventType};

pub(crate) use inline::InlineModule;
#[cfg(not(feature = "key-ring"))]
pub(crate) use no_samples::SampleKeys;
pub(crate) use registration::WebhookRegistrations;
#[cfg(feature = "key-ring")]
pub(crate) use sample::SampleKeys;
