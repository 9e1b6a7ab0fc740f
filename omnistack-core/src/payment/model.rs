//! Customers, checkouts, payments, refunds and invoices at a provider.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::subscription::TrialEndBehavior;
use crate::{clock::Timestamp, money::Money};

/// A customer to create at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCustomer {
    /// The app's reference, such as the id of the tenant. The provider stores it with the customer.
    pub reference: String,
    /// The name on invoices.
    pub name: Option<String>,
    /// The address of mails of the provider.
    pub email: Option<String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// A customer at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCustomer {
    /// The id at the provider.
    pub id: String,
}

/// The subject of a checkout: what its payer pays for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutKind {
    /// A subscription. The reference of the checkout is also that of the subscription.
    Subscription {
        /// The id of the price at the provider.
        price: String,
        /// The number of units, such as seats.
        quantity: u64,
        /// The end of the trial, if there is one.
        trial_end: Option<Timestamp>,
        /// The behaviour at the end of a trial that the customer can begin without a payment method. `None` if the
        /// checkout asks for one. Providers whose subscriptions always have a payment method ask for one.
        trial_end_behavior: Option<TrialEndBehavior>,
        /// The code of a coupon at the provider.
        coupon: Option<String>,
    },
    /// A payment. The reference of the checkout is also that of the payment.
    Payment {
        /// The amount.
        amount: Money,
        /// The text that the payer sees.
        description: String,
    },
    /// A payment method for later payments.
    PaymentMethod,
}

/// A checkout to create: a page of the provider on which a customer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCheckout {
    /// The app's reference.
    pub reference: String,
    /// The id of the customer at the provider.
    pub customer: String,
    /// The subject.
    pub kind: CheckoutKind,
    /// The page to which the customer returns after paying.
    pub success_url: String,
    /// The page to which the customer returns otherwise.
    pub cancel_url: String,
    /// When the page stops accepting a payment.
    pub expires_at: Timestamp,
    /// Further values that the provider stores with the objects.
    pub metadata: BTreeMap<String, String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// The status of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutStatus {
    /// The customer has not paid yet.
    Open,
    /// The customer has paid, or has begun a trial.
    Complete,
    /// The page accepts no payment any more.
    Expired,
}

/// A checkout at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCheckout {
    /// The id at the provider.
    pub id: String,
    /// The page. `None` unless the checkout is open.
    pub url: Option<String>,
    /// The status.
    pub status: CheckoutStatus,
    /// The app's reference.
    pub reference: Option<String>,
    /// The subscription that was created.
    pub subscription: Option<String>,
    /// The payment that was created.
    pub payment: Option<String>,
    /// When the page stops accepting a payment.
    pub expires_at: Option<Timestamp>,
}

/// A kind of payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PaymentMethodKind {
    /// A card.
    Card,
    /// A SEPA direct debit.
    SepaDebit,
    /// A bank transfer.
    BankTransfer,
    /// A wallet, such as Apple Pay.
    Wallet,
    /// An account at PayPal.
    Paypal,
    /// The Unified Payments Interface of India.
    Upi,
    /// Net banking, as in India.
    NetBanking,
    /// Another kind.
    Other,
}

/// The payment method of a payment.
#[derive(Clone, PartialEq, Eq)]
pub enum PaymentMethodSource {
    /// A token that the provider's page or library made of the payer's details, or the id of a stored payment method.
    /// It is of this provider only. Secret: not logged.
    Token(String),
    /// The default payment method of the customer.
    CustomerDefault,
    /// The payer chooses it on a page of the provider.
    ChosenByPayer,
}

/// Shows no token.
impl fmt::Debug for PaymentMethodSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::CustomerDefault => "CustomerDefault",
            Self::ChosenByPayer => "ChosenByPayer",
        })
    }
}

/// The time at which a payment takes the money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// At once.
    #[default]
    Automatic,
    /// When the app captures the payment, which it only authorises.
    Manual,
}

/// A payment to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayment {
    /// The app's reference, by which the payment can be found when the response was lost. Unique for each payment.
    pub reference: String,
    /// The amount.
    pub amount: Money,
    /// The id of the customer at the provider.
    pub customer: Option<String>,
    /// The kind of payment method.
    pub method: PaymentMethodKind,
    /// The payment method.
    pub source: PaymentMethodSource,
    /// When the money is taken.
    pub capture: CaptureMode,
    /// The text for the payer.
    pub description: Option<String>,
    /// The address to which receipts are sent.
    pub email: Option<String>,
    /// The page to which the payer returns after an authentication.
    pub return_url: Option<String>,
    /// Further values that the provider stores with the payment.
    pub metadata: BTreeMap<String, String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// The status of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The payer must act, such as on a page of the provider.
    RequiresAction,
    /// The provider processes the payment; its result comes later.
    Processing,
    /// The money is reserved, and not taken yet.
    Authorized,
    /// The money was taken.
    Succeeded,
    /// The payment failed or was declined. No money was moved.
    Failed,
    /// The payment was canceled. No money was moved.
    Canceled,
}

impl PaymentStatus {
    /// Returns the status as it is stored, such as `requires_action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequiresAction => "requires_action",
            Self::Processing => "processing",
            Self::Authorized => "authorized",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Returns whether no further change of the status is possible.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

/// A payment at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPayment {
    /// The id at the provider.
    pub id: String,
    /// The app's reference.
    pub reference: Option<String>,
    /// The status.
    pub status: PaymentStatus,
    /// The amount.
    pub amount: Money,
    /// The amount that was taken so far.
    pub captured: Money,
    /// The sum of all refunds.
    pub refunded: Money,
    /// The fee of the provider, if it is known.
    pub fee: Option<Money>,
    /// The page on which the payer must act.
    pub action_url: Option<String>,
    /// The reason of a failure.
    pub failure: Option<String>,
    /// The subscription that the payment is for.
    pub subscription: Option<String>,
    /// When the payment was created.
    pub created_at: Timestamp,
}

/// A refund to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefund {
    /// The app's reference.
    pub reference: String,
    /// The amount.
    pub amount: Money,
    /// The reason, for the provider's records.
    pub reason: Option<String>,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// The status of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The provider processes the refund.
    Pending,
    /// The money was sent back.
    Succeeded,
    /// The refund failed: the money was not sent back.
    Failed,
}

impl RefundStatus {
    /// Returns the status as it is stored, such as `pending`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A refund at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRefund {
    /// The id at the provider.
    pub id: String,
    /// The app's reference.
    pub reference: Option<String>,
    /// The status.
    pub status: RefundStatus,
    /// The amount.
    pub amount: Money,
}

/// The last month in which a card is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardExpiry {
    /// The month, from 1 to 12.
    #[schema(minimum = 1, maximum = 12)]
    pub month: u8,
    /// The year.
    pub year: u16,
}

/// A payment method that a provider has stored for a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoredPaymentMethod {
    /// The id at the provider.
    pub id: String,
    /// The kind.
    pub kind: PaymentMethodKind,
    /// The text for the customer, such as `Visa …4242`.
    pub label: String,
    /// The last month in which the card is valid; `None` if it is no card.
    #[schema(required)]
    pub expires: Option<CardExpiry>,
    /// Whether it is the default of the customer.
    pub is_default: bool,
}

/// The status of a provider's invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderInvoiceStatus {
    /// The invoice can still change.
    Draft,
    /// The invoice waits for its payment.
    Open,
    /// The invoice is paid.
    Paid,
    /// The invoice is void.
    Void,
    /// The provider no longer tries to collect it.
    Uncollectible,
}

/// An invoice of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderInvoice {
    /// The id at the provider.
    pub id: String,
    /// The number that the customer sees.
    pub number: Option<String>,
    /// The status.
    pub status: ProviderInvoiceStatus,
    /// The subscription that is billed.
    pub subscription: Option<String>,
    /// The total, with taxes.
    pub total: Money,
    /// The amount that was paid.
    pub paid: Money,
    /// The billed period.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The number of attempts to collect it.
    pub attempts: u32,
    /// When the provider attempts to collect it again.
    pub next_attempt_at: Option<Timestamp>,
    /// The page on which the customer can pay it.
    pub hosted_url: Option<String>,
    /// The URL of the provider's PDF.
    pub pdf_url: Option<String>,
    /// When the invoice was created.
    pub created_at: Timestamp,
}

/// A dispute of a payment: the payer asks the bank for the money back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDispute {
    /// The id at the provider.
    pub id: String,
    /// The payment.
    pub payment: Option<String>,
    /// The amount that the payer wants back; after a lost dispute, the amount that the payer has got.
    pub amount: Money,
    /// The fee that the provider has charged for the dispute so far, if it states one. It can be sent back to zero.
    pub fee: Option<Money>,
    /// Whether the dispute is decided, and then whether the app has won. A lost dispute can still be won later.
    pub won: Option<bool>,
}

/// A page of the disputes of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisputePage {
    /// The disputes. Those that the provider states in an unknown form are left out.
    pub disputes: Vec<ProviderDispute>,
    /// The token of the next page. `None` if this is the last one.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let shown = format!("{:?}", PaymentMethodSource::Token("pm_secret".to_owned()));
        assert_eq!(shown, "Token");
    }
}
