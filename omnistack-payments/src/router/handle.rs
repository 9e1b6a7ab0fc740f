//! SIGNATURES (the bodies follow).

/// A payment for which an account is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuestion {
    /// The amount.
    pub amount: Money,
    /// The kind of payment method.
    pub method: PaymentMethodKind,
    /// The country of the payer, as ISO 3166-1 alpha-2 in capitals, if it is known.
    pub country: Option<String>,
    /// The only service to consider, if the caller names one.
    pub provider: Option<String>,
}

/// An account that can take a payment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteCandidate {
    /// The name of the service.
    pub service: String,
    /// The tenant's account there.
    pub provider: Arc<dyn PaymentProvider>,
    /// The estimated fee. `None` if the service has no public price for the payment.
    pub fee: Option<Money>,
    /// Why the account has its place in the order.
    pub reason: String,
    /// The health of the account.
    pub health: AccountHealth,
}

/// pub(crate) use router::{PaymentRouter, RouteCandidate, RouteQuestion, AccountHealth}
#[derive(Clone)]
pub struct PaymentRouter(Arc<RouterParts>);

impl PaymentRouter {
    /// In order: the first is to be tried first. Empty if the tenant has no account that can take the payment.
    pub async fn candidates(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        question: &RouteQuestion,
    ) -> Result<Vec<RouteCandidate>, Error>;

    /// Records the result of a call to an account, for its health. `error` is `None` after a success. Declines count
    /// as a success: the account answered.
    pub fn record(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        service: &str,
        error: Option<&PaymentError>,
        duration: Duration,
    );

    /// Fee by the public prices of a service, for the report of costs elsewhere. `None` if unknown.
    pub fn estimate_fee(&self, service: &str, question: &RouteQuestion) -> Option<Money>;

    /// The names of all services of the app.
    pub fn services(&self) -> Vec<&'static str>;
}
