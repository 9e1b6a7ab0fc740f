//! The unified events.

use omnistack_core::{
    clock::Timestamp,
    webhook::{DataEnvironment, InboundWebhook, WebhookEvent},
};
use serde::Serialize;
use utoipa::ToSchema;

/// End of the names of the sources of tenants' accounts, such as `stripe-account`.
const ACCOUNT_SUFFIX: &str = "-account";

/// Returns the name of the provider that has sent a webhook, such as `stripe`.
fn provider_of(webhook: &InboundWebhook) -> String {
    webhook.source.strip_suffix(ACCOUNT_SUFFIX).unwrap_or(&webhook.source).to_owned()
}

/// Returns the provider's id of an event. In the inbox, that of a tenant's account begins with the id of the tenant.
fn event_id_of(webhook: &InboundWebhook) -> String {
    let id = webhook.event.id.as_str();
    let account = webhook.tenant.filter(|_| webhook.source.ends_with(ACCOUNT_SUFFIX));
    let of_account = account.and_then(|tenant| id.strip_prefix(format!("{tenant}:").as_str()));
    of_account.unwrap_or(id).to_owned()
}

/// A payment, in the same form for every provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PaymentData {
    /// The provider, such as `stripe`.
    #[schema(example = "stripe")]
    pub provider: String,
    /// Whether real money was moved. Providers send their tests too: check that it is `live`.
    pub environment: DataEnvironment,
    /// The id of the provider's event.
    pub event_id: String,
    /// The id of the payment at the provider; for Google Play, a hash of the token of the purchase.
    pub payment_id: Option<String>,
    /// The amount in the smallest unit of the currency, such as cents. The amount of a refund is that of this refund,
    /// not of all refunds of the payment.
    pub amount: Option<i64>,
    /// The currency, as ISO 4217 in upper case.
    pub currency: Option<String>,
    /// The id of the customer at the provider.
    pub customer_id: Option<String>,
    /// When the event occurred.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
}

/// A subscription, in the same form for every provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct SubscriptionData {
    /// The provider, such as `stripe`.
    #[schema(example = "stripe")]
    pub provider: String,
    /// Whether real money is moved. Providers send their tests too: check that it is `live`.
    pub environment: DataEnvironment,
    /// The id of the provider's event.
    pub event_id: String,
    /// The id of the subscription at the provider; for Google Play, a hash of the token of the purchase.
    pub subscription_id: Option<String>,
    /// The status as the provider names it.
    pub status: Option<String>,
    /// The id of the customer at the provider.
    pub customer_id: Option<String>,
    /// When the event occurred.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
}

impl PaymentData {
    /// Returns what every webhook states about a payment.
    pub(super) fn of(webhook: &InboundWebhook, payment_id: Option<String>) -> Self {
        let event = &webhook.event;
        Self {
            provider: provider_of(webhook),
            environment: event.environment,
            event_id: event_id_of(webhook),
            payment_id,
            amount: None,
            currency: None,
            customer_id: None,
            occurred_at: event.occurred_at,
        }
    }

    fn example() -> Self {
        Self {
            provider: "stripe".to_owned(),
            environment: DataEnvironment::Live,
            event_id: "evt_1QX2".to_owned(),
            payment_id: Some("pi_3QX2".to_owned()),
            amount: Some(2_900),
            currency: Some("EUR".to_owned()),
            customer_id: Some("cus_Q1".to_owned()),
            occurred_at: Some(Timestamp::from_micros(1_893_456_000_000_000)),
        }
    }
}

impl SubscriptionData {
    /// Returns what every webhook states about a subscription.
    pub(super) fn of(webhook: &InboundWebhook, subscription_id: Option<String>) -> Self {
        let event = &webhook.event;
        Self {
            provider: provider_of(webhook),
            environment: event.environment,
            event_id: event_id_of(webhook),
            subscription_id,
            status: None,
            customer_id: None,
            occurred_at: event.occurred_at,
        }
    }

    fn example() -> Self {
        Self {
            provider: "stripe".to_owned(),
            environment: DataEnvironment::Live,
            event_id: "evt_1QX3".to_owned(),
            subscription_id: Some("sub_1QX2".to_owned()),
            status: Some("active".to_owned()),
            customer_id: Some("cus_Q1".to_owned()),
            occurred_at: Some(Timestamp::from_micros(1_893_456_000_000_000)),
        }
    }
}

/// Declares a unified event: its data with a type of its own.
macro_rules! unified {
    ($($(#[$doc:meta])* $name:ident($data:ident), $kind:literal, $description:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub $data);

        impl WebhookEvent for $name {
            const TYPE: &'static str = $kind;
            const DESCRIPTION: &'static str = $description;

            fn example() -> Self {
                Self($data::example())
            }
        }
    )+};
}

unified! {
    /// The event that a payment has succeeded.
    PaymentSucceeded(PaymentData), "payment.succeeded", "A payment has succeeded.";
    /// The event that a payment has failed.
    PaymentFailed(PaymentData), "payment.failed", "A payment has failed, or was declined.";
    /// The event that a payment was refunded.
    PaymentRefunded(PaymentData), "payment.refunded", "A payment was refunded, wholly or in part.";
    /// The event that a subscription has begun.
    SubscriptionCreated(SubscriptionData), "subscription.created", "A subscription has begun.";
    /// The event that a subscription was renewed.
    SubscriptionRenewed(SubscriptionData), "subscription.renewed", "A subscription was renewed for another period.";
    /// The event that a subscription was changed.
    SubscriptionUpdated(SubscriptionData), "subscription.updated", "The plan or status of a subscription has changed.";
    /// The event that a subscription has ended.
    SubscriptionCanceled(SubscriptionData), "subscription.canceled", "A subscription has ended.";
}
