//! Payments, their attempts and their refunds.

use std::{collections::BTreeMap, fmt};

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    id::Id,
    identity::{ApiKeyId, TenantId},
    money::Money,
    payment::{CaptureMode, PaymentMethodKind, PaymentMethodSource},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::machine::{AttemptState, DisputeState, PaymentState, RefundState};

/// The id of a payment.
pub type PaymentId = Id<Payment>;
/// The id of a refund.
pub type PaymentRefundId = Id<PaymentRefund>;
/// The id of a dispute.
pub type PaymentDisputeId = Id<PaymentDispute>;

/// A payment to take.
///
/// ```
/// use omnistack_core::{data_environment::DataEnvironment, identity::TenantId, money::Money};
/// use omnistack_payments::PaymentRequest;
///
/// fn order(tenant: TenantId, order: &str, amount: Money, card: &str) -> PaymentRequest {
///     PaymentRequest::new(tenant, format!("order/{order}"), amount)
///         .environment(DataEnvironment::Test)
///         .token(card)
///         .description(format!("Order {order}"))
/// }
/// # let _ = order;
/// ```
#[derive(Clone)]
#[must_use]
pub struct PaymentRequest {
    pub(super) tenant: TenantId,
    pub(super) key: String,
    pub(super) amount: Money,
    pub(super) environment: Option<DataEnvironment>,
    pub(super) method: PaymentMethodKind,
    pub(super) source: RequestedSource,
    pub(super) capture: CaptureMode,
    pub(super) country: Option<String>,
    pub(super) description: Option<String>,
    pub(super) email: Option<String>,
    pub(super) return_url: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) api_key: Option<ApiKeyId>,
}

impl PaymentRequest {
    /// Creates a payment by card whose money is taken at once. `key` names what is paid, with 1 to 300 characters: a
    /// second payment of the tenant with the same key is the first one.
    pub fn new(tenant: TenantId, key: impl Into<String>, amount: Money) -> Self {
        Self {
            tenant,
            key: key.into(),
            amount,
            environment: None,
            method: PaymentMethodKind::Card,
            source: RequestedSource::default(),
            capture: CaptureMode::Automatic,
            country: None,
            description: None,
            email: None,
            return_url: None,
            metadata: BTreeMap::new(),
            api_key: None,
        }
    }

    /// Sets the environment. Without one, it is that of the named service or, without a name, `live` if the tenant has
    /// an account there.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Sets the kind of payment method.
    pub fn method(mut self, method: PaymentMethodKind) -> Self {
        self.method = method;
        self
    }

    /// Sets the only service that may take the payment.
    pub fn provider(mut self, service: impl Into<String>) -> Self {
        self.source.provider = Some(service.into());
        self
    }

    /// Sets the token of the payment method, for each service without a token of its own.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.source.token = Some(token.into());
        self
    }

    /// Adds the token of the payment method at a service. With such tokens and without [`token`](Self::token), only
    /// their services may take the payment.
    pub fn service_token(mut self, service: impl Into<String>, token: impl Into<String>) -> Self {
        self.source.tokens.insert(service.into(), token.into());
        self
    }

    /// Sets when the money is taken.
    pub fn capture(mut self, capture: CaptureMode) -> Self {
        self.capture = capture;
        self
    }

    /// Sets the country of the payer, as ISO 3166-1 alpha-2 in capitals.
    pub fn country(mut self, country: impl Into<String>) -> Self {
        self.country = Some(country.into());
        self
    }

    /// Sets the text for the payer.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the address to which the provider sends receipts.
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Sets the page to which the payer returns after an authentication.
    pub fn return_url(mut self, url: impl Into<String>) -> Self {
        self.return_url = Some(url.into());
        self
    }

    /// Adds a value that is stored with the payment, here and at the provider.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Sets the API key by which the payment was requested, for reports.
    pub fn api_key(mut self, key: impl Into<Option<ApiKeyId>>) -> Self {
        self.api_key = key.into();
        self
    }
}

/// Shows no token and no address.
impl fmt::Debug for PaymentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PaymentRequest");
        shown.field("tenant", &self.tenant).field("key", &self.key).field("amount", &self.amount);
        shown.field("environment", &self.environment).field("method", &self.method).field("source", &self.source);
        shown.finish_non_exhaustive()
    }
}

/// The service and the payment method that a caller asks for.
#[derive(Clone, Default)]
pub(super) struct RequestedSource {
    pub(super) provider: Option<String>,
    pub(super) token: Option<String>,
    /// Tokens by service.
    pub(super) tokens: BTreeMap<String, String>,
}

impl RequestedSource {
    /// Returns the payment method at a service. Returns `None` if the caller has tokens, and none for this service.
    pub(super) fn at(&self, service: &str) -> Option<PaymentMethodSource> {
        match self.tokens.get(service).or(self.token.as_ref()) {
            Some(token) => Some(PaymentMethodSource::Token(token.clone())),
            None if self.tokens.is_empty() => Some(PaymentMethodSource::ChosenByPayer),
            None => None,
        }
    }
}

/// Shows the services, without the tokens.
impl fmt::Debug for RequestedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RequestedSource");
        shown.field("provider", &self.provider).field("token", &self.token.is_some());
        shown.field("tokens", &self.tokens.keys()).finish()
    }
}

/// Another attempt to take a payment.
#[derive(Clone, Debug)]
#[must_use]
pub struct PaymentRetry {
    pub(super) key: String,
    pub(super) source: RequestedSource,
    pub(super) force: bool,
    pub(super) return_url: Option<String>,
}

impl PaymentRetry {
    /// Creates an attempt. `key` names it, with 1 to 300 characters: a second one with the same key changes nothing.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), source: RequestedSource::default(), force: false, return_url: None }
    }

    /// Sets the only service that may take the payment.
    pub fn provider(mut self, service: impl Into<String>) -> Self {
        self.source.provider = Some(service.into());
        self
    }

    /// Sets the token of the payment method.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.source.token = Some(token.into());
        self
    }

    /// Sets the page to which the payer returns after an authentication.
    pub fn return_url(mut self, url: impl Into<String>) -> Self {
        self.return_url = Some(url.into());
        self
    }

    /// Begins the attempt although an earlier one may have taken the money. If it has, the payment is overpaid.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }
}

/// A refund to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RefundRequest {
    pub(super) key: String,
    pub(super) amount: Option<i64>,
    pub(super) attempt: Option<i32>,
    pub(super) reason: Option<String>,
}

impl RefundRequest {
    /// Creates a refund of what is proposed or, without a proposal, of all that is left of the payment. `key` names it,
    /// with 1 to 300 characters: a second refund with the same key is the first one.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), amount: None, attempt: None, reason: None }
    }

    /// Sets the amount, in minor units of the payment's currency.
    pub fn amount(mut self, minor: i64) -> Self {
        self.amount = Some(minor);
        self
    }

    /// Sets the number of the attempt whose money is sent back.
    pub fn attempt(mut self, number: i32) -> Self {
        self.attempt = Some(number);
        self
    }

    /// Sets the reason, for the provider's records.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

/// An amount in minor units, such as cents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct MinorAmount {
    /// The number of minor units.
    pub amount: i64,
    /// The ISO 4217 code of the currency.
    pub currency: String,
}

impl MinorAmount {
    pub(crate) fn new(amount: i64, currency: impl Into<String>) -> Self {
        Self { amount, currency: currency.into() }
    }
}

/// The reason why a payment, an attempt or a refund has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PaymentFailure {
    /// The code, such as `insufficient_funds` or `provider_unavailable`.
    pub code: String,
    /// The message.
    pub message: String,
}

impl PaymentFailure {
    pub(super) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// A change of a payment at its provider that has no result yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderChange {
    /// The money is being captured.
    Capture,
    /// The payment is being canceled.
    Cancel,
}

impl ProviderChange {
    /// Returns the change as it is stored and shown, such as `capture`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Cancel => "cancel",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Capture, Self::Cancel].into_iter().find(|change| change.as_str() == text)
    }
}

/// A refund that makes up for what was paid too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct RefundProposal {
    /// The number of the attempt whose money should be sent back.
    pub attempt: i32,
    /// The amount in minor units.
    pub amount: i64,
}

impl RefundProposal {
    pub(super) const fn new(attempt: i32, amount: i64) -> Self {
        Self { attempt, amount }
    }
}

/// A payment. Amounts are in minor units of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct Payment {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: PaymentId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The state.
    pub status: PaymentState,
    /// The amount.
    pub amount: i64,
    /// The ISO 4217 code of the currency.
    pub currency: String,
    /// The amount that was taken.
    pub captured: i64,
    /// The amount that was sent back.
    pub refunded: i64,
    /// The amount that payers have got back by lost disputes.
    pub charged_back: i64,
    /// The fees of the providers that are known so far, those of disputes too, by currency.
    pub fees: Vec<MinorAmount>,
    /// The kind of payment method.
    pub method: PaymentMethodKind,
    /// When the money is taken.
    pub capture: CaptureMode,
    /// The country of the payer.
    #[schema(required)]
    pub country: Option<String>,
    /// The text for the payer.
    #[schema(required)]
    pub description: Option<String>,
    /// The values that were stored with the payment.
    pub metadata: BTreeMap<String, String>,
    /// The service that takes the payment.
    #[schema(required)]
    pub provider: Option<String>,
    /// The id of the payment at the service.
    #[schema(required)]
    pub provider_payment_id: Option<String>,
    /// The page on which the payer must act.
    #[schema(required)]
    pub action_url: Option<String>,
    /// The reason of a failure.
    #[schema(required)]
    pub error: Option<PaymentFailure>,
    /// The refund that makes up for what was paid too much.
    #[schema(required)]
    pub refund_proposal: Option<RefundProposal>,
    /// The attempts, in their order.
    pub attempts: Vec<PaymentAttempt>,
    /// The refunds, the oldest first.
    pub refunds: Vec<PaymentRefund>,
    /// The disputes, the oldest first.
    pub disputes: Vec<PaymentDispute>,
    /// The API key by which the payment was requested.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub api_key_id: Option<ApiKeyId>,
    /// The time of the request.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// An attempt to take a payment at a service. Amounts are in minor units of the payment's currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PaymentAttempt {
    /// The number, counted from 1.
    pub number: i32,
    /// The name of the service.
    pub provider: String,
    /// The reference by which the service knows the attempt.
    pub reference: String,
    /// The id of the payment at the service.
    #[schema(required)]
    pub provider_payment_id: Option<String>,
    /// The state.
    pub status: AttemptState,
    /// Whether it was begun although an earlier attempt may have taken the money.
    pub forced: bool,
    /// The amount that was taken.
    pub captured: i64,
    /// The amount that was sent back.
    pub refunded: i64,
    /// The amount that payers have got back by lost disputes.
    pub charged_back: i64,
    /// The change at the service that has no result yet.
    #[schema(required)]
    pub pending_change: Option<ProviderChange>,
    /// The reason of a failure.
    #[schema(required)]
    pub error: Option<PaymentFailure>,
    /// The time of the call.
    pub started_at: Timestamp,
    /// The duration of the call in milliseconds.
    #[schema(required)]
    pub duration_ms: Option<i64>,
}

/// A refund of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PaymentRefund {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: PaymentRefundId,
    /// The number of the attempt whose money is sent back.
    pub attempt: i32,
    /// The state.
    pub status: RefundState,
    /// The amount in minor units of the payment's currency.
    pub amount: i64,
    /// The reason.
    #[schema(required)]
    pub reason: Option<String>,
    /// The id of the refund at the service.
    #[schema(required)]
    pub provider_refund_id: Option<String>,
    /// The reason of a failure.
    #[schema(required)]
    pub error: Option<PaymentFailure>,
    /// The time of the request.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// A dispute of a payment: the payer demands the money back, through the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PaymentDispute {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: PaymentDisputeId,
    /// The number of the attempt whose money is demanded back.
    pub attempt: i32,
    /// The id of the dispute at the service.
    pub provider_dispute_id: String,
    /// The state.
    pub status: DisputeState,
    /// The amount in minor units of its currency.
    pub amount: i64,
    /// The ISO 4217 code of the currency. A dispute in another currency than that of the payment is not in the ledger.
    pub currency: String,
    /// The fee of the dispute, if the service has stated one.
    #[schema(required)]
    pub fee: Option<MinorAmount>,
    /// The time at which it was first known.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}
