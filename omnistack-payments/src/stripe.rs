//! Stripe: payments, subscriptions that Stripe bills, and reports of usage.
//!
//! Requests are those of async-stripe's client core: its [`RequestBuilder`](stripe_client_core::RequestBuilder), its
//! idempotency keys, and the version of the API that it is generated for. They are sent by the app's HTTP client, and
//! the responses are read as [`StripeObject`]s, because the types of async-stripe demand every field of an object: the
//! error of a declined card contains the whole payment, and a field that Stripe adds or removes there would turn a
//! decline into an unknown outcome.
//!
//! | term of the port | object of Stripe |
//! |---|---|
//! | customer | customer |
//! | checkout | checkout session |
//! | payment | payment intent, or a checkout session if the payer chooses the payment method |
//! | refund, dispute, invoice | refund, dispute, invoice |
//! | subscription | subscription, with flexible billing |
//! | report of usage | meter event |
//! | reference | `omnistack_reference` in the metadata |
//!
//! # Lost responses
//!
//! A payment is made in two calls: the first creates it, and the second confirms it. Only the second moves money. If the
//! response to the first is lost, nothing was charged. If the response to the second is lost, the payment exists, so
//! [`find_payment`](omnistack_core::payment::PaymentProvider::find_payment) finds it in Stripe's list, which is
//! consistent, unlike its search. A payment that was created and not confirmed is canceled then, so that a confirmation
//! that is still on its way can't take the money later. So both of its answers are certain.

mod api;
mod checkout;
mod discount;
mod dispute;
mod error;
mod event;
mod fees;
mod object;
mod payment;
mod payment_method;
mod provider;
mod service;
mod subscription;
mod subscription_change;
mod webhook;

pub use service::StripeService;

/// The name of the service, of its providers and of its webhooks.
const NAME: &str = "stripe";

/// The beginning of the keys of an object's metadata that are of this module.
const OWN_NAMES: &str = "omnistack_";

/// The key of an object's metadata with the app's reference.
const REFERENCE: &str = "omnistack_reference";
