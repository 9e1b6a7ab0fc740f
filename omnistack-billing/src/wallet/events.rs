//! The events of wallets.

use omnistack_core::{events::Event, identity::TenantId, usage::DataEnvironment, webhook::WebhookEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::credits::Credits;

/// The id of the tenant in the examples of the events.
const EXAMPLE_TENANT: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);

/// Event: a tenant's credits run low. The balance is below the one that the tenant has set. It occurs once, until the
/// balance is no longer low.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct WalletLow {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The balance.
    pub balance: Credits,
}

impl WalletLow {
    pub(super) fn new(tenant: TenantId, environment: DataEnvironment, balance: Credits) -> Self {
        Self { tenant, environment, balance }
    }
}

impl Event for WalletLow {
    const NAME: &'static str = "wallet.low";

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.environment)
    }
}

impl WebhookEvent for WalletLow {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "The balance of the wallet is below the one that the tenant has set.";

    fn example() -> Self {
        Self::new(TenantId::from_uuid(EXAMPLE_TENANT), DataEnvironment::Live, Credits::from_millionths(4_250_000))
    }
}

/// Event: an automatic top-up was declined, such as by the tenant's bank. It is not tried again until the balance was
/// no longer low.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct WalletTopUpDeclined {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The credits that were to be added.
    pub amount: Credits,
    /// The reason.
    pub reason: String,
}

impl WalletTopUpDeclined {
    pub(super) fn new(tenant: TenantId, environment: DataEnvironment, amount: Credits, reason: String) -> Self {
        Self { tenant, environment, amount, reason }
    }
}

impl Event for WalletTopUpDeclined {
    const NAME: &'static str = "wallet.top_up_declined";

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.environment)
    }
}

impl WebhookEvent for WalletTopUpDeclined {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "An automatic top-up of the wallet was declined.";

    fn example() -> Self {
        let tenant = TenantId::from_uuid(EXAMPLE_TENANT);
        Self::new(tenant, DataEnvironment::Live, Credits::from(50), "the card has expired".to_owned())
    }
}
