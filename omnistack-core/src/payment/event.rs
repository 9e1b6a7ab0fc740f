//! Events of providers.

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, data_environment::DataEnvironment, events::Event, identity::TenantId};

/// The object that an event of a provider is about. The event is a trigger: the app asks the provider for the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProviderEventObject {
    /// A checkout.
    Checkout(String),
    /// A payment.
    Payment(String),
    /// A refund of a payment: the id of the payment, and of the refund if it is stated.
    Refund {
        /// The id of the payment.
        payment: String,
        /// The id of the refund.
        refund: Option<String>,
    },
    /// A dispute of a payment.
    Dispute {
        /// The id of the dispute.
        id: String,
        /// The id of the payment.
        payment: Option<String>,
        /// Whether the dispute is decided, and then whether the app has won.
        won: Option<bool>,
    },
    /// A subscription.
    Subscription(String),
    /// An invoice, and the subscription that it bills.
    Invoice {
        /// The id of the invoice.
        id: String,
        /// The id of the subscription.
        subscription: Option<String>,
    },
    /// A customer, such as because a payment method was added.
    Customer(String),
}

impl ProviderEventObject {
    /// Returns the id of the object whose changes must be processed in order: a subscription for its invoices, a
    /// payment for its refunds and disputes.
    pub fn root(&self) -> &str {
        match self {
            Self::Checkout(id) | Self::Payment(id) | Self::Subscription(id) | Self::Customer(id) => id,
            Self::Refund { payment, .. } => payment,
            Self::Dispute { id, payment, .. } => payment.as_ref().unwrap_or(id),
            Self::Invoice { id, subscription } => subscription.as_ref().unwrap_or(id),
        }
    }
}

/// Event: a payment provider reports that one of its objects has changed. The module of payments publishes it when the
/// webhook of the provider is processed; subscribers ask the provider for the object. Events of one object are delivered
/// in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderEvent {
    /// The name of the provider.
    pub provider: String,
    /// The id of the event.
    pub id: String,
    /// The type as the provider names it, such as `invoice.paid`.
    pub kind: String,
    /// The object.
    pub object: ProviderEventObject,
    /// The app's reference, if the event states it.
    pub reference: Option<String>,
    /// The environment.
    pub environment: DataEnvironment,
    /// When the event occurred.
    pub occurred_at: Option<Timestamp>,
    /// The tenant whose own account has sent the event. `None` for an event that the app's own secret has verified. An
    /// event of a tenant says nothing of other tenants, nor of what tenants pay to the app.
    #[serde(default)]
    pub account: Option<TenantId>,
}

impl Event for ProviderEvent {
    const NAME: &'static str = "payments.provider_event";

    fn key(&self) -> String {
        match self.account {
            // No tenant holds the events of another up.
            Some(account) => format!("{}:{account}:{}", self.provider, self.object.root()),
            None => format!("{}:{}", self.provider, self.object.root()),
        }
    }
}
