//! Wallets as the credits that other modules charge.

use async_trait::async_trait;
use omnistack_core::{
    credits::{CreditCharge, CreditSource},
    db::Tx,
    http::Error,
};

use super::{credits::Credits, handle::Wallets, model::UseCredits};

#[async_trait]
impl CreditSource for Wallets {
    async fn charge_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        let amount = Credits::from_millionths(charge.millionths);
        let request = UseCredits::new(charge.tenant, charge.key, amount).environment(charge.environment);
        self.use_in(tx, request.description(charge.description)).await.map(drop)
    }

    async fn return_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        let amount = Credits::from_millionths(charge.millionths);
        // The method of the handle, which has the same name.
        Self::return_in(self, tx, charge.tenant, charge.environment, &charge.key, amount).await.map(drop)
    }
}
