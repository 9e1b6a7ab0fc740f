//! Payments: many payment providers behind one API, with failover and cost comparison.
//!
//! The module [`Payments`] takes payments of tenants through their own accounts at payment services, and provides the
//! app's own accounts to the module of billing, which sells plans. The contract of providers is in
//! [`omnistack_core::payment`]; this crate has the providers, the router, the ledger, the routes and the jobs.
//!
//! ```
//! use omnistack_core::{app::App, config::Config, payment::PaymentProviders};
//! use omnistack_payments::{PaymentLedger, Payments};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! let app = App::builder(config).with(Payments::from_env()).build()?;
//! // Without credentials in the settings, payments are made by the built-in fake, which moves no money.
//! let providers: PaymentProviders = app.context().get().unwrap();
//! assert_eq!(providers.default_provider().map(|provider| provider.name()), Some("fake"));
//! let payments: PaymentLedger = app.context().get().unwrap();
//! # let _ = payments;
//! # Ok(())
//! # }
//! ```
//!
//! # A payment takes money at most once
//!
//! A payment is stored before a provider is asked, and the result afterwards. Each call has an idempotency key and a
//! reference, by which the payment is found if the response was lost.
//!
//! | the provider | the payment | next |
//! |---|---|---|
//! | has taken the money | `succeeded` | the ledger has its entries |
//! | declines it, or rejects the request | `failed` | the next provider is asked if it may succeed |
//! | can't be reached | `failed` | the next provider is asked |
//! | does not answer conclusively | `unknown` | the provider is asked for the reference until it is known; no other attempt begins |
//! | answers after a forced attempt that both have taken the money | `overpaid` | a refund is proposed |
//!
//! # Services, providers and the router
//!
//! A [`PaymentService`] is a company at which an app or a tenant can have an account, and creates the provider of an
//! account from its credentials: Stripe (feature `stripe`), PayPal (`paypal`), Razorpay (`razorpay`), and the built-in
//! fake ([`FakeBank`]), which declines, delays, disputes and loses responses as real ones do. [`PaymentAccounts`] has
//! the accounts of tenants, whose credentials are sealed, and which send webhooks to URLs of their own.
//! [`PaymentRouter`] chooses among them by currency, country, payment method, amount, rules of the tenant, health and
//! estimated fee.
//!
//! # The ledger
//!
//! Each change of money, lost disputes and fees included, has entries in a double-entry ledger that sum to zero in each
//! currency. Data of tests and real
//! data are never mixed.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod analytics;
mod credentials;
mod fake;
mod module;
mod payment;
#[cfg(feature = "paypal")]
mod paypal;
#[cfg(any(feature = "paypal", feature = "razorpay"))]
mod provider_api;
#[cfg(feature = "razorpay")]
mod razorpay;
mod router;
mod service;
mod settings;
#[cfg(feature = "stripe")]
mod stripe;
mod webhook_keys;
mod wire;

pub use credentials::PaymentAccounts;
pub use fake::{FakeBank, FakeFault, FakeProvider, FakeService};
pub use module::Payments;
pub use payment::{
    AttemptState, DisputeState, MinorAmount, Payment, PaymentAttempt, PaymentDispute, PaymentDisputeId, PaymentFailure,
    PaymentId, PaymentLedger, PaymentRefund, PaymentRefundId, PaymentRequest, PaymentRetry, PaymentState,
    ProviderChange, RefundProposal, RefundRequest, RefundState,
};
#[cfg(feature = "paypal")]
pub use paypal::PayPalService;
#[cfg(feature = "razorpay")]
pub use razorpay::{RazorpayCallback, RazorpayService};
pub use router::{AccountHealth, PaymentRouter, RouteCandidate, RouteQuestion};
pub use service::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService};
#[cfg(feature = "stripe")]
pub use stripe::StripeService;
