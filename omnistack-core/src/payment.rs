//! The port for payments: the contract of payment providers, and the handle that finds the one of an app.
//!
//! A [`PaymentProvider`] is an account at a company that moves money, such as Stripe, in one environment: it takes
//! payments, and can bill subscriptions. The module of payments provides the app's own accounts as [`PaymentProviders`],
//! and the module of billing sells plans through them.
//!
//! # Rules of the contract
//!
//! - Each call has a deadline, so a call always ends.
//! - An error says whether the call took effect: see [`PaymentError`]. A timeout is [`PaymentError::Unknown`], never a
//!   failure: the caller looks for its *reference* ([`PaymentProvider::find_payment`]) before it does anything else.
//! - Each call that changes something has an idempotency key. The same key twice has one effect.
//! - Amounts are [`Money`](crate::money::Money). The provider converts them exactly to the form of its API, or refuses
//!   with [`PaymentError::Rejected`].
//! - Events of a provider are triggers: the app asks for the current object when one arrives.

mod error;
mod event;
mod model;
mod provider;
mod providers;
mod subscription;

pub use error::{DeclineReason, PaymentError};
pub use event::{ProviderEvent, ProviderEventObject};
pub use model::{
    CaptureMode, CardExpiry, CheckoutKind, CheckoutStatus, DisputePage, NewCheckout, NewCustomer, NewPayment,
    NewRefund, PaymentMethodKind, PaymentMethodSource, PaymentStatus, ProviderCheckout, ProviderCustomer,
    ProviderDispute, ProviderInvoice, ProviderInvoiceStatus, ProviderPayment, ProviderRefund, RefundStatus,
    StoredPaymentMethod,
};
pub use provider::{PaymentProvider, ProviderFeature, ProviderProfile};
pub use providers::PaymentProviders;
pub use subscription::{
    CancelTime, ChangePreview, ChangeTime, DiscountDuration, DiscountReduction, MeterReport, MeterReportOutcome,
    NewProviderSubscription, ProviderSubscription, ProviderSubscriptionStatus, SubscriptionChange,
    SubscriptionDiscount, SubscriptionItem, TrialEndBehavior,
};
