//! Webhooks: an inbox for every provider, and signed webhooks to tenants.
//!
//! The module [`Webhooks`] receives the webhooks of payment providers, app stores, identity providers and code hosts,
//! and sends the app's own events to the endpoints of tenants. The contract of both directions is in
//! [`omnistack_core::webhook`]; this crate has the tables, the routes and the jobs.
//!
//! ```
//! use omnistack_core::{app::App, config::Config, webhook::WebhookSources};
//! use omnistack_webhooks::Webhooks;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! let app = App::builder(config)
//!     .with(Webhooks::from_env())
//!     .set("WEBHOOKS_STRIPE_SECRETS", "whsec_example")
//!     .build()?;
//! let sources: WebhookSources = app.context().get().unwrap();
//! assert_eq!(sources.names(), ["stripe"]);
//! assert!(app.routes().iter().any(|route| route.path == "/api/v1/public/webhooks/{source}"));
//! # Ok(())
//! # }
//! ```
//!
//! # In
//!
//! A source exists if its settings are set. A request is verified with the source, over the raw bytes; then the bytes
//! are stored, once for each event of a provider, and the provider gets its response. After that, the handlers of all
//! modules process the webhook in one transaction, which also records the result.
//!
//! | | rule |
//! |---|---|
//! | repetitions | an event is stored once; an operator can replay it, so handlers tolerate a second call |
//! | order | webhooks of one object are processed as they were received, those of others at the same time |
//! | failures | twenty attempts in about nine hours; then it is failed, and later ones continue |
//! | forged requests | nothing is stored; they are counted, and their address is limited |
//!
//! [`GenericSource`] is a source for any sender that signs with HMAC. [`AppleVerifier`], [`RazorpayCheckout`] and
//! [`github_payload`] are for handlers and routes of the app.
//!
//! # Out
//!
//! [`WebhookPublisher`](omnistack_core::webhook::WebhookPublisher) publishes an event in the caller's transaction, with
//! a delivery for each endpoint of the tenant that receives its type. One process at a time leases an endpoint and
//! sends its deliveries, so a slow receiver delays no other, and a rate per second is exact for all replicas.
//!
//! A delivery has eight attempts in about 28 hours. An endpoint that responds with 410, or fails for five days, is
//! disabled, which is the event [`WebhookEndpointDisabled`](omnistack_core::webhook::WebhookEndpointDisabled). What is published meanwhile is skipped, and is sent by
//! `recover` only. URLs of tenants lead to public addresses only.
//!
//! Requests are signed as Standard Webhooks specifies, with a shared secret (`v1`) or with Ed25519 (`v1a`). [`sign`]
//! and [`SigningKey`] sign, [`WebhookVerifier`] verifies in a receiver.
//!
//! # Between them
//!
//! The bridge translates webhooks of Stripe, PayPal, Razorpay, Apple and Google Play to unified events such as
//! [`PaymentSucceeded`] and publishes them to the tenant that the webhook belongs to. A tenant's program then sees the
//! same event from every provider.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bridge;
mod dashboard;
#[doc(hidden)]
pub mod fuzzing;
mod inbox;
mod module;
mod outbound;
mod signing;
mod sources;

pub use bridge::{
    PaymentData, PaymentFailed, PaymentRefunded, PaymentSucceeded, SubscriptionCanceled, SubscriptionCreated,
    SubscriptionData, SubscriptionRenewed, SubscriptionUpdated,
};
pub use module::Webhooks;
pub use omnistack_core::app_store::AppleVerifier;
pub use signing::{InvalidWebhookKey, SigningKey, SigningScheme, VerifiedMessage, WebhookVerifier, sign};
pub use sources::{
    FetchPayPalCertificate, GenericSource, GenericSourceError, HmacAlgorithm, PayPalAuthorities, PayPalSource,
    RazorpayCheckout, SignatureEncoding, github_payload,
};
