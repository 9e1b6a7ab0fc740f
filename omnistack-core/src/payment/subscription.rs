//! Subscriptions at a provider, and usage that is reported to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{clock::Timestamp, money::Money};

/// The behaviour of a provider at the end of a trial if the customer has no payment method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialEndBehavior {
    /// Pauses the subscription.
    #[default]
    Pause,
    /// Cancels the subscription.
    Cancel,
    /// Creates an invoice, which is past due.
    CreateInvoice,
}

impl TrialEndBehavior {
    /// All behaviours.
    const ALL: [Self; 3] = [Self::Pause, Self::Cancel, Self::CreateInvoice];

    /// Returns the behaviour as it is stored, such as `create_invoice`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Cancel => "cancel",
            Self::CreateInvoice => "create_invoice",
        }
    }

    /// Returns the behaviour with a name as it is stored. Returns `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behavior| behavior.as_str() == name)
    }
}

/// A subscription to create without a checkout, for a customer with a payment method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProviderSubscription {
    /// The app's reference, by which the subscription can be found when the response was lost.
    pub reference: String,
    /// The id of the customer at the provider.
    pub customer: String,
    /// The id of the price at the provider.
    pub price: String,
    /// The number of units, such as seats.
    pub quantity: u64,
    /// The end of the trial, if there is one.
    pub trial_end: Option<Timestamp>,
    /// The behaviour at the end of the trial if the customer has no payment method.
    pub trial_end_behavior: TrialEndBehavior,
    /// The code of a coupon at the provider.
    pub coupon: Option<String>,
    /// Further values that the provider stores with the subscription.
    pub metadata: BTreeMap<String, String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// The status of a subscription at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderSubscriptionStatus {
    /// The first payment is not made yet.
    Incomplete,
    /// The first payment was not made in time. Final.
    IncompleteExpired,
    /// The customer tests the plan.
    Trialing,
    /// The subscription is paid.
    Active,
    /// A payment has failed, and the provider attempts it again.
    PastDue,
    /// A payment has failed, and the provider no longer attempts it.
    Unpaid,
    /// The trial has ended without a payment method.
    Paused,
    /// The subscription has ended. Final.
    Canceled,
}

impl ProviderSubscriptionStatus {
    /// Returns the status as it is stored, such as `past_due`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
        }
    }

    /// Returns whether a subscription never leaves this status.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }
}

/// A price in a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionItem {
    /// The id of the item at the provider.
    pub id: String,
    /// The id of the price at the provider.
    pub price: String,
    /// The number of units.
    pub quantity: u64,
    /// The current period of the item.
    pub period: Option<(Timestamp, Timestamp)>,
}

/// A discount of a subscription, such as that of a coupon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionDiscount {
    /// The reduction of an invoice.
    pub reduction: DiscountReduction,
    /// The invoices that are reduced.
    pub duration: DiscountDuration,
}

/// The reduction of an invoice by a discount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscountReduction {
    /// A share of the invoice in basis points (hundredths of a percent), at most 10,000.
    BasisPoints(u16),
    /// An amount.
    Amount(Money),
    /// A reduction that the provider does not state.
    Unknown,
}

/// The invoices that a discount reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscountDuration {
    /// One invoice. The provider removes the discount then.
    Once,
    /// The invoices before a time.
    Until(Timestamp),
    /// All invoices.
    Forever,
}

/// A subscription at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSubscription {
    /// The id at the provider.
    pub id: String,
    /// The app's reference.
    pub reference: Option<String>,
    /// The id of the customer at the provider.
    pub customer: String,
    /// The status.
    pub status: ProviderSubscriptionStatus,
    /// The prices, in the order of the provider. A change that waits for its payment is not among them.
    pub items: Vec<SubscriptionItem>,
    /// A change that takes effect when it is paid: the price and quantity, and when the change expires.
    pub pending_change: Option<(SubscriptionItem, Timestamp)>,
    /// The page on which the customer confirms a change, for providers that change nothing before that.
    pub action_url: Option<String>,
    /// The current period: from the earliest start to the latest end of the items.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The end of the trial.
    pub trial_end: Option<Timestamp>,
    /// When the subscription will end, in whatever form the provider states it.
    pub cancel_at: Option<Timestamp>,
    /// When the subscription ended.
    pub ended_at: Option<Timestamp>,
    /// Whether the collection of payments is paused; the status does not change then.
    pub collection_paused: bool,
    /// The discounts, in the order in which the provider applies them. The response to a change can leave their amounts
    /// out; [`PaymentProvider::subscription`](super::PaymentProvider::subscription) states them if the provider does.
    pub discounts: Vec<SubscriptionDiscount>,
    /// The newest invoice.
    pub latest_invoice: Option<String>,
    /// The provider's version of the object, if it has one: a later state has a greater one.
    pub version: Option<i64>,
    /// When the subscription was created.
    pub created_at: Timestamp,
}

/// The time at which a change of a subscription takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeTime {
    /// Now, and the difference is charged at once. The change takes effect when the payment succeeds. A provider
    /// without [`ProviderFeature::ImmediateChange`](super::ProviderFeature::ImmediateChange) charges the new price from
    /// the next period on, after the customer has confirmed the change on a page.
    Now {
        /// The time from which the difference is computed: that of the preview, so that the customer pays what was
        /// shown.
        proration_at: Timestamp,
    },
    /// At the end of the current period.
    PeriodEnd,
}

/// A change of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// The id of the new price at the provider.
    pub price: String,
    /// The new number of units.
    pub quantity: u64,
    /// When the change takes effect.
    pub when: ChangeTime,
    /// The page to which the customer returns, for providers whose customers confirm a change on a page.
    pub return_url: Option<String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// The costs of a change of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePreview {
    /// The amount that is charged now. `None` if the provider charges nothing before the next period, or does not state
    /// the difference before it charges it: then the change takes effect now.
    pub due_now: Option<Money>,
    /// The amount of each further period.
    pub next: Option<Money>,
    /// The time from which the difference is computed.
    pub proration_at: Timestamp,
    /// When the change takes effect.
    pub effective_at: Timestamp,
}

/// The time at which a subscription is canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelTime {
    /// Now.
    Now,
    /// At the end of the current period.
    PeriodEnd,
}

/// Usage that is reported to a provider, which bills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterReport {
    /// The name of the meter at the provider.
    pub meter: String,
    /// The id of the customer at the provider.
    pub customer: String,
    /// The quantity as a decimal number with at most 12 decimals.
    pub value: String,
    /// The id of the report. The provider counts a report once.
    pub identifier: String,
    /// When the usage took place.
    pub at: Timestamp,
}

/// The result of a report of usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterReportOutcome {
    /// The provider has counted the report.
    Counted,
    /// The provider had counted it before.
    AlreadyCounted,
}
