//! The objects of the fake as they are stored.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CaptureMode, CheckoutStatus, DeclineReason, PaymentError, PaymentMethodKind, PaymentStatus,
        ProviderEventObject, ProviderInvoiceStatus, ProviderSubscriptionStatus, TrialEndBehavior,
    },
    webhook::DataEnvironment,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::timing::{INCOMPLETE_LIFETIME, TRIAL_NOTICE};

/// A type of stored objects.
pub(super) trait FakeObject: Serialize + DeserializeOwned + Send + Sync {
    /// The name of the type in the database, which also begins each id.
    const KIND: &'static str;

    fn id(&self) -> &str;

    /// Returns the app's reference.
    fn reference(&self) -> Option<&str> {
        None
    }

    /// Returns the object that it belongs to.
    fn parent(&self) -> Option<&str> {
        None
    }

    /// Returns when the object changes by itself.
    fn due_at(&self) -> Option<Timestamp> {
        None
    }
}

/// A customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeCustomer {
    pub(super) id: String,
    pub(super) reference: String,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) methods: Vec<FakeMethod>,
    pub(super) default_method: Option<String>,
}

/// A stored card of a customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeMethod {
    pub(super) id: String,
    /// The token of the test card.
    pub(super) token: String,
    pub(super) expires: (u8, u16),
}

impl FakeCustomer {
    /// Returns the token of the card that is charged by default.
    pub(super) fn default_token(&self) -> Option<&str> {
        let default = self.default_method.as_deref()?;
        self.methods.iter().find(|method| method.id == default).map(|method| method.token.as_str())
    }
}

impl FakeObject for FakeCustomer {
    const KIND: &'static str = "customer";

    fn id(&self) -> &str {
        &self.id
    }

    fn reference(&self) -> Option<&str> {
        Some(&self.reference)
    }
}

/// The subject of a checkout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckoutSubject {
    Subscription {
        price: String,
        quantity: u64,
        trial_end: Option<Timestamp>,
        /// `None` if the page asks for a card.
        trial_end_behavior: Option<TrialEndBehavior>,
        coupon: Option<String>,
    },
    Payment {
        amount: Money,
        description: String,
    },
    PaymentMethod,
}

/// A checkout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeCheckout {
    pub(super) id: String,
    pub(super) reference: String,
    pub(super) customer: String,
    pub(super) subject: CheckoutSubject,
    pub(super) success_url: String,
    pub(super) cancel_url: String,
    pub(super) status: CheckoutStatus,
    pub(super) subscription: Option<String>,
    pub(super) payment: Option<String>,
    pub(super) expires_at: Timestamp,
}

impl FakeObject for FakeCheckout {
    const KIND: &'static str = "checkout";

    fn id(&self) -> &str {
        &self.id
    }

    fn reference(&self) -> Option<&str> {
        Some(&self.reference)
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn due_at(&self) -> Option<Timestamp> {
        (self.status == CheckoutStatus::Open).then_some(self.expires_at)
    }
}

/// The reason of a failed payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FakeDecline {
    pub(super) reason: DeclineReason,
    pub(super) code: String,
    pub(super) message: String,
}

impl FakeDecline {
    /// Returns the error of the request.
    pub(super) fn into_error(self) -> PaymentError {
        PaymentError::Declined { reason: self.reason, code: Some(self.code), message: self.message }
    }
}

/// A payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakePayment {
    pub(super) id: String,
    pub(super) reference: Option<String>,
    pub(super) customer: Option<String>,
    pub(super) subscription: Option<String>,
    pub(super) invoice: Option<String>,
    pub(super) checkout: Option<String>,
    /// The token of the test card. `None` until the payer chooses one.
    pub(super) token: Option<String>,
    pub(super) method: PaymentMethodKind,
    pub(super) capture: CaptureMode,
    pub(super) status: PaymentStatus,
    pub(super) amount: Money,
    /// Minor units that were taken.
    pub(super) captured: i64,
    /// Minor units that were sent back.
    pub(super) refunded: i64,
    /// Minor units of the fee.
    pub(super) fee: i64,
    pub(super) decline: Option<FakeDecline>,
    pub(super) description: Option<String>,
    pub(super) return_url: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    /// The number of refunds that were asked for.
    pub(super) refund_count: u32,
    pub(super) disputed: bool,
    /// Whether the payer has the money back after a lost dispute.
    #[serde(default)]
    pub(super) is_charged_back: bool,
    /// When the payment changes by itself.
    pub(super) due_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

impl FakeObject for FakePayment {
    const KIND: &'static str = "payment";

    fn id(&self) -> &str {
        &self.id
    }

    fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    fn parent(&self) -> Option<&str> {
        self.subscription.as_deref().or(self.customer.as_deref())
    }

    fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }
}

/// A refund, which succeeds at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeRefund {
    pub(super) id: String,
    pub(super) reference: String,
    pub(super) payment: String,
    pub(super) amount: Money,
    pub(super) reason: Option<String>,
}

impl FakeObject for FakeRefund {
    const KIND: &'static str = "refund";

    fn id(&self) -> &str {
        &self.id
    }

    fn reference(&self) -> Option<&str> {
        Some(&self.reference)
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.payment)
    }
}

/// A dispute of a payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeDispute {
    pub(super) id: String,
    pub(super) payment: String,
    pub(super) amount: Money,
    pub(super) won: Option<bool>,
    pub(super) created_at: Timestamp,
}

impl FakeObject for FakeDispute {
    const KIND: &'static str = "dispute";

    fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.payment)
    }
}

/// The reason for an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InvoiceReason {
    /// The first period of a subscription.
    Create,
    /// A further period.
    Cycle,
    /// A change of a subscription.
    Update,
}

/// An invoice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeInvoice {
    pub(super) id: String,
    pub(super) number: String,
    pub(super) customer: String,
    pub(super) subscription: String,
    pub(super) reason: InvoiceReason,
    pub(super) status: ProviderInvoiceStatus,
    pub(super) total: Money,
    /// Minor units of the subscription's credit that have reduced the total.
    pub(super) credit: i64,
    /// Minor units that were paid.
    pub(super) paid: i64,
    pub(super) period: (Timestamp, Timestamp),
    pub(super) attempts: u32,
    /// The payment that waits for its result.
    pub(super) payment: Option<String>,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

impl FakeObject for FakeInvoice {
    const KIND: &'static str = "invoice";

    fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn due_at(&self) -> Option<Timestamp> {
        self.next_attempt_at.filter(|_| self.status == ProviderInvoiceStatus::Open)
    }
}

/// A change of a subscription that waits for its payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PendingChange {
    pub(super) price: String,
    pub(super) quantity: u64,
    /// The time from which the change counts.
    pub(super) at: Timestamp,
    pub(super) invoice: String,
    pub(super) expires_at: Timestamp,
}

/// A subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeSubscription {
    pub(super) id: String,
    pub(super) reference: Option<String>,
    pub(super) customer: String,
    pub(super) status: ProviderSubscriptionStatus,
    pub(super) item: String,
    pub(super) price: String,
    pub(super) quantity: u64,
    pub(super) coupon: Option<String>,
    /// The time from which periods are counted, and the number of the current one.
    pub(super) anchor: Timestamp,
    pub(super) period_number: i64,
    pub(super) period: (Timestamp, Timestamp),
    pub(super) trial_end: Option<Timestamp>,
    pub(super) trial_end_behavior: TrialEndBehavior,
    /// Whether the end of the trial was announced.
    pub(super) trial_announced: bool,
    pub(super) cancel_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) collection_paused: bool,
    pub(super) latest_invoice: Option<String>,
    pub(super) pending: Option<PendingChange>,
    /// The price and quantity from the next period on.
    pub(super) scheduled: Option<(String, u64)>,
    /// Minor units that the next invoices are reduced by.
    pub(super) credit: i64,
    /// The checkout that waits for the first payment.
    pub(super) checkout: Option<String>,
    pub(super) version: i64,
    pub(super) created_at: Timestamp,
}

impl FakeObject for FakeSubscription {
    const KIND: &'static str = "subscription";

    fn id(&self) -> &str {
        &self.id
    }

    fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn due_at(&self) -> Option<Timestamp> {
        use ProviderSubscriptionStatus as S;
        let next = match self.status {
            S::Canceled | S::IncompleteExpired => return None,
            S::Incomplete => Some(self.created_at + INCOMPLETE_LIFETIME),
            S::Trialing if self.trial_announced => self.trial_end,
            S::Trialing => self.trial_end.map(|end| end - TRIAL_NOTICE),
            S::Active | S::PastDue | S::Unpaid => Some(self.period.1),
            S::Paused => None,
        };
        let expiry = self.pending.as_ref().map(|pending| pending.expires_at);
        next.into_iter().chain(expiry).chain(self.cancel_at).min()
    }
}

/// A session of the page for customers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakePortal {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) return_url: String,
}

impl FakeObject for FakePortal {
    const KIND: &'static str = "portal";

    fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

/// Usage that was reported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeMeterReport {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) meter: String,
    pub(super) value: String,
    pub(super) at: Timestamp,
}

impl FakeObject for FakeMeterReport {
    const KIND: &'static str = "meter_report";

    fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

/// The result of a request with an idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyResult {
    /// The request has created or changed the object with this id.
    Object(String),
    /// The payment was declined.
    Declined(FakeDecline),
}

/// An idempotency key that was used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeKey {
    pub(super) id: String,
    /// The hash of the request.
    pub(super) request: String,
    pub(super) result: KeyResult,
}

impl FakeObject for FakeKey {
    const KIND: &'static str = "key";

    fn id(&self) -> &str {
        &self.id
    }
}

/// An event, in the form in which the app receives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FakeEvent {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) created: Timestamp,
    pub(super) environment: DataEnvironment,
    pub(super) object: ProviderEventObject,
    pub(super) reference: Option<String>,
}

impl FakeObject for FakeEvent {
    const KIND: &'static str = "event";

    fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Option<&str> {
        Some(self.object.root())
    }
}
